"""The command line's contract: keys, exit statuses, and one clear line for each mistake."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from studio import __version__
from studio.engine.inline import InlineEngine
from studio.engine.requests import Export
from studio.errors import ExportError
from studio.models.open import open_model
from studio.progress import Progress, Report
from studio.recipe.files import load_recipe
from studio.resources import Sample

Run = Callable[..., tuple[int, str, str]]


def recipe(folder: Path, text: str) -> Path:
    path = folder / "r.recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_inspect_lists_every_layer_with_what_can_be_done_to_it(answer: Any, digits: Sample):
    found = answer("inspect", digits.model)
    assert found["model"]["format"] == "onnx"
    assert found["model"]["bytes"] == digits.model.stat().st_size
    assert set(found["layers"][0]) == {"name", "kind", "shape", "params", "bytes", "macs", "methods"}
    assert set(found["layers"][0]["methods"]) == {"prune", "channels", "n_m", "rank", "quantize", "activations"}
    assert sum(layer["macs"] for layer in found["layers"]) == found["model"]["macs"]


def test_inspect_tells_on_request_what_each_method_could_save(answer: Any, studio: Run, two_layers: Path):
    found = {one["method"]: one for one in answer("inspect", two_layers, "--savings")["feasibility"]}
    assert found["prune"]["bytes_saved"] == found["prune"]["macs_saved"] == 0
    ratios = [found["prune"]["harmless"][name]["prune"]["ratio"] for name in ("first", "second")]
    assert found["prune"]["zeros"] == round(ratios[0] * 128) + round(ratios[1] * 64)
    _, out, _ = studio("inspect", two_layers)
    assert "prune: 2 of 2 layers; --savings looks at the weights to tell what it saves" in out


def test_inspect_tells_which_layers_lose_channels_together(answer: Any, digits: Sample):
    found = answer("inspect", digits.model)
    removable = {layer["name"] for layer in found["layers"] if layer["methods"]["channels"] == "ok"}
    assert removable == {name for group in found["groups"] for name in group["members"]}
    assert any(len(group["members"]) > 1 for group in found["groups"])


def test_both_formats_of_the_sample_have_the_same_layers(answer: Any, digits: Sample):
    onnx_layers = answer("inspect", digits.model)["layers"]
    pt2_layers = answer("inspect", digits.model.with_suffix(".pt2"))["layers"]
    assert onnx_layers == pt2_layers


def test_spectrum_gives_the_singular_values_that_numpy_gives(answer: Any, digits: Sample):
    found = answer("spectrum", digits.model, "--layer", "classifier")["layers"][0]
    weights = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(digits.model).graph.initializer}
    expected = np.linalg.svd(weights["classifier.weight"].astype(np.float64), compute_uv=False)
    assert found["singular_values"] == pytest.approx(expected, rel=1e-5)
    rows, columns = weights["classifier.weight"].shape
    assert found["break_even_rank"] == pytest.approx(rows * columns / (rows + columns))


def test_spectrum_of_all_layers_keeps_their_order(answer: Any, digits: Sample):
    found = answer("spectrum", digits.model)["layers"]
    assert [row["name"] for row in found] == [layer["name"] for layer in answer("inspect", digits.model)["layers"]]
    assert all(row["rank90"] <= row["rank99"] <= len(row["singular_values"]) for row in found)


def test_a_quick_spectrum_of_a_huge_layer_tells_the_ranks_that_surely_suffice(
    answer: Any, digits: Sample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("studio.analysis.spectrum_cache.user_cache_path", lambda name: tmp_path / name)
    monkeypatch.setattr("studio.analysis.spectrum._is_huge", lambda rows, columns: True)
    monkeypatch.setattr(
        "studio.analysis.spectrum.leading_values",
        lambda matrix: np.linalg.svd(matrix.detach().double().numpy(), compute_uv=False)[:3],
    )
    quick = answer("spectrum", digits.model, "--layer", "classifier", "--quick")["layers"][0]
    whole = answer("spectrum", digits.model, "--layer", "classifier")["layers"][0]
    assert quick["full_rank"] == whole["full_rank"] == len(whole["singular_values"])
    assert quick["singular_values"] == pytest.approx(whole["singular_values"][:3])
    energy = np.square(whole["singular_values"])
    assert quick["energy_found"] == pytest.approx(energy[:3].sum() / energy.sum())
    assert whole["rank99"] <= quick["rank99"] <= whole["full_rank"]
    assert whole["energy_found"] == 1.0


def test_evaluate_measures_the_model_and_a_recipe_beside_the_original(answer: Any, digits: Sample, tmp_path: Path):
    plain = answer("evaluate", digits.model, "--data", digits.test)
    assert plain["metric"]["name"] == "top1"
    assert plain["metric"]["samples"] == 1000
    assert plain["metric"]["low"] < plain["metric"]["value"] < plain["metric"]["high"]
    four = recipe(tmp_path, "default: {quantize: {weight_bits: 4}}\noptions: {fit: layer, calibration_samples: 8}\n")
    chosen = answer("evaluate", digits.model, "--data", digits.test, "--recipe", four, "--calibration", digits.train)
    assert chosen["original"]["metric"]["value"] == plain["metric"]["value"]
    assert chosen["bytes"] < plain["bytes"]


def test_compress_writes_a_file_that_keeps_its_promises(answer: Any, digits: Sample, tmp_path: Path):
    four = recipe(
        tmp_path,
        "default: {quantize: {weight_bits: 4, granularity: group, group_size: 16}}\n"
        "layers: {stem: {keep: true}}\noptions: {fit: layer, calibration_samples: 8}\n",
    )
    out = tmp_path / "small.onnx"
    arguments = ("--recipe", four, "--data", digits.test, "--calibration", digits.train, "--out", out)
    found = answer("compress", digits.model, *arguments)
    assert found["verified"] is True
    assert found["bytes"]["after"] == out.stat().st_size
    assert found["bytes"]["predicted"] == pytest.approx(found["bytes"]["after"], rel=0.005)
    assert found["nonzeros"] == found["params"] - sum(one["params"] - one["nonzeros"] for one in found["layers"])
    assert found["macs"] == sum(one["macs"] for one in found["layers"])
    assert found["metric"]["exported"] == pytest.approx(found["metric"]["preview"], abs=0.1)
    types = {tensor.name: tensor.data_type for tensor in onnx.load(out).graph.initializer}
    assert types["classifier.weight_quantized"] == onnx.TensorProto.INT4
    assert types["stem.weight"] == onnx.TensorProto.FLOAT


def test_compress_removes_channels_from_the_file(answer: Any, digits: Sample, tmp_path: Path):
    quarter = recipe(tmp_path, "default: {prune: {kind: channels, ratio: 0.25}}\n")
    out = tmp_path / "small.onnx"
    arguments = ("--recipe", quarter, "--data", digits.test, "--calibration", digits.train, "--out", out)
    found = answer("compress", digits.model, *arguments)
    assert found["bytes"]["predicted"] == found["bytes"]["after"] == out.stat().st_size
    assert found["metric"]["exported"] == pytest.approx(found["metric"]["preview"], abs=0.1)
    before = {layer["name"]: layer["shape"] for layer in answer("inspect", digits.model)["layers"]}
    after = {layer["name"]: layer["shape"] for layer in answer("inspect", out)["layers"]}
    assert after["stem"][0] == before["stem"][0] * 3 // 4
    assert after["classifier"] == [10, before["classifier"][1] * 3 // 4]


def test_export_without_data_is_verified_on_random_input(answer: Any, digits: Sample, tmp_path: Path):
    found = answer("export", digits.model.with_suffix(".pt2"), "--out", tmp_path / "again.onnx")
    assert found == {
        "out": str(tmp_path / "again.onnx"),
        "bytes": (tmp_path / "again.onnx").stat().st_size,
        "verified": True,
    }


def test_a_recipe_without_data_is_said_to_be_fitted_to_none(studio: Run, two_layers: Path, tmp_path: Path):
    recipe = tmp_path / "r.recipe.yaml"
    recipe.write_text("studio: 1\ndefault: {quantize: {weight_bits: 4}}\n", encoding="utf-8")
    said = "note: without data the recipe is carried out by the weights alone; --calibration D fits it to data.\n"
    assert studio("evaluate", two_layers, "--recipe", recipe)[2] == said
    recipe.write_text(recipe.read_text(encoding="utf-8") + "options: {data_aware: false}\n", encoding="utf-8")
    assert studio("evaluate", two_layers, "--recipe", recipe)[2] == ""


def bad_onnx(folder: Path, digits: Sample) -> Path:
    (folder / "text.onnx").write_text("I am no model.\n", encoding="utf-8")
    return folder / "text.onnx"


def truncated_onnx(folder: Path, digits: Sample) -> Path:
    (folder / "cut.onnx").write_bytes(digits.model.read_bytes()[:50_000])
    return folder / "cut.onnx"


@pytest.mark.parametrize("make", [bad_onnx, truncated_onnx])
def test_a_damaged_model_is_one_line_and_status_2(studio: Run, digits: Sample, tmp_path: Path, make: Any):
    path = make(tmp_path, digits)
    status, out, err = studio("inspect", path, "--json")
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert path.name in err


def test_a_missing_model_is_one_line_and_status_2(studio: Run, tmp_path: Path):
    status, _, err = studio("inspect", tmp_path / "none.onnx")
    assert status == 2
    assert err.count("\n") == 1


def test_an_unknown_layer_in_a_recipe_is_named_with_the_nearest(studio: Run, digits: Sample, tmp_path: Path):
    path = recipe(tmp_path, "layers: {stme: {keep: true}}\n")
    status, _, err = studio("compress", digits.model, "--recipe", path, "--out", tmp_path / "x.onnx")
    assert status == 2
    assert "Did you mean 'stem'?" in err
    assert not (tmp_path / "x.onnx").exists()


def test_data_of_the_wrong_shape_names_both_shapes(studio: Run, digits: Sample, tmp_path: Path):
    np.savez(tmp_path / "wide.npz", x=np.zeros((4, 32, 32, 3), np.uint8), y=np.zeros(4, np.int64))
    data = tmp_path / "wide.data.yaml"
    data.write_text("source: wide.npz\ninput: x\nlabel: y\nkind: image\nlayout: NHWC\nscale: 255\n", encoding="utf-8")
    status, _, err = studio("evaluate", digits.model, "--data", data)
    assert status == 2
    assert err.count("\n") == 1
    assert "32" in err
    assert "28" in err


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no write bit on Windows")
def test_a_folder_that_cannot_be_written_to_is_named_and_left_alone(studio: Run, digits: Sample, tmp_path: Path):
    """Root may write anywhere, so that a missing folder stands in for a closed one there."""
    folder = tmp_path / "closed"
    if os.geteuid() != 0:
        folder.mkdir(mode=0o500)
    status, _, err = studio("export", digits.model, "--out", folder / "x.onnx")
    assert status == 2
    assert err.count("\n") == 1
    assert str(folder) in err
    assert not (folder / "x.onnx").exists()


def test_an_export_never_replaces_the_model_it_came_from(studio: Run, digits: Sample, tmp_path: Path):
    model = tmp_path / "mine.onnx"
    model.write_bytes(digits.model.read_bytes())
    status, _, err = studio("export", model, "--out", model)
    assert status == 2
    assert "is the original model itself" in err
    assert model.read_bytes() == digits.model.read_bytes()


def test_distilling_towards_a_folder_that_is_not_there_is_refused_before_training(
    studio: Run, digits: Sample, tmp_path: Path
):
    status, _, err = studio("distill", digits.model, "--data", digits.train, "--out", tmp_path / "none" / "x.onnx")
    assert status == 2
    assert err.count("\n") == 1
    assert "does not exist" in err


def test_an_unknown_format_names_those_there_are(studio: Run, digits: Sample, tmp_path: Path):
    status, _, err = studio("export", digits.model, "--out", tmp_path / "x", "--format", "zip")
    assert status == 2
    assert "onnx" in err


def test_a_misspelt_command_is_told_with_the_nearest(studio: Run):
    status, _, err = studio("inspekt")
    assert status == 2
    assert "Did you mean 'inspect'?" in err


def test_a_window_without_a_display_is_one_line_and_status_2(studio: Run, monkeypatch: pytest.MonkeyPatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    status, _, err = studio()
    assert status == 2
    assert "no display" in err


def test_an_unknown_sample_names_those_there_are(studio: Run):
    status, _, err = studio("--sample", "letters")
    assert status == 2
    assert "digits" in err


def test_a_window_gets_the_skeleton_of_its_checkpoint(
    studio: Run, digits: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[dict[str, Any]] = []
    monkeypatch.setattr("studio.gui.app.run", lambda **files: opened.append(files) or 0)
    checkpoint = tmp_path / "digits.pth"
    checkpoint.touch()
    status, _, _ = studio(checkpoint, "--skeleton", digits.model)
    assert status == 0
    assert opened == [{"model": str(checkpoint), "sample": None, "skeleton": str(digits.model)}]
    status, _, err = studio(checkpoint, "--skeleton", tmp_path / "none.onnx")
    assert (status, "there is no file" in err) == (2, True)
    status, _, err = studio("--skeleton", digits.model)
    assert (status, "name the checkpoint too" in err) == (2, True)


def test_a_distillation_setting_out_of_range_is_named_as_its_option(studio: Run, digits: Sample, tmp_path: Path):
    arguments = ("--data", digits.train, "--out", tmp_path / "x.onnx", "--temperature", "0")
    status, _, err = studio("distill", digits.model, *arguments)
    assert status == 2
    assert "--temperature" in err
    status, _, err = studio("distill", digits.model, *arguments[:4], "--device", "abacus")
    assert status == 2
    assert "--device" in err


def test_the_version_is_the_packages(studio: Run):
    assert studio("--version") == (0, f"{__version__}\n", "")


def test_a_cancelled_command_ends_with_130(studio: Run, digits: Sample, monkeypatch: pytest.MonkeyPatch):
    from studio.engine.inline import InlineEngine

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(InlineEngine, "start", interrupted)
    status, out, _ = studio("inspect", digits.model, "--json")
    assert (status, out) == (130, "")


def test_weights_alone_are_measured_in_the_network_of_their_skeleton(
    studio: Run, digits: Sample, tmp_path: Path
) -> None:
    layers = open_model(digits.model).graph.state_dict()
    save_file({name: value.clone() for name, value in layers.items()}, tmp_path / "digits.safetensors")
    data = ["--data", digits.test, "--samples", "200", "--json"]
    status, whole, _ = studio("evaluate", digits.model, *data)
    assert status == 0
    status, filled, said = studio("evaluate", tmp_path / "digits.safetensors", "--skeleton", digits.model, *data)
    assert status == 0, said
    assert json.loads(filled)["metric"] == json.loads(whole)["metric"]
    status, _, said = studio("evaluate", tmp_path / "digits.safetensors", *data)
    assert status == 2
    assert "holds weights alone: choose its network (--skeleton FILE)" in said
    status, out, _ = studio("inspect", tmp_path / "digits.safetensors", "--json")
    assert status == 0
    found = json.loads(out)
    assert found["model"]["format"] == "safetensors"
    assert found["lacks"]["train"] == "the file holds weights alone: choose its network"
    assert {layer["name"] for layer in found["layers"]} >= {"stem", "stage1.0.conv1"}


def test_weights_alone_are_compressed_and_written_as_weights(studio: Run, tmp_path: Path) -> None:
    save_file({"fc.weight": torch.randn(64, 96), "fc.bias": torch.ones(64)}, tmp_path / "a.safetensors")
    recipe, out = tmp_path / "r.recipe.yaml", tmp_path / "b.safetensors"
    recipe.write_text("studio: 1\ndefault: {quantize: {weight_bits: 8}}\n")
    status, said, err = studio("compress", tmp_path / "a.safetensors", "--recipe", recipe, "--out", out, "--json")
    assert status == 0, err
    report = json.loads(said)
    assert report["bytes"]["after"] == out.stat().st_size
    assert report["metric"]["name"] == "weight_error"
    assert 0 < report["metric"]["exported"] == report["metric"]["preview"] < 1
    status, _, err = studio("export", tmp_path / "a.safetensors", "--format", "onnx", "--out", tmp_path / "c.onnx")
    assert status == 2
    assert "it can be written as safetensors, not as onnx" in err


def test_an_export_does_not_replace_the_skeleton(studio: Run, digits: Sample, tmp_path: Path) -> None:
    layers = open_model(digits.model).graph.state_dict()
    save_file({name: value.clone() for name, value in layers.items()}, tmp_path / "digits.safetensors")
    skeleton = tmp_path / "skeleton.onnx"
    skeleton.write_bytes(Path(digits.model).read_bytes())
    before = skeleton.read_bytes()
    status, _, said = studio("export", tmp_path / "digits.safetensors", "--skeleton", skeleton, "--out", skeleton)
    assert status == 2
    assert "name another file" in said
    assert skeleton.read_bytes() == before


def test_an_interrupted_distillation_is_kept_and_resumed_by_the_same_command(
    studio: Run, digits: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    @contextmanager
    def interrupting() -> Iterator[Report]:
        def report(progress: Progress) -> None:
            if progress.message.startswith("epoch"):
                steps.append(progress.done)
                if steps == [1, 2, 3]:
                    os.kill(os.getpid(), signal.SIGINT)

        yield report

    monkeypatch.setattr("studio.cli_engine.progress_bar", interrupting)
    recipe = tmp_path / "half.recipe.yaml"
    recipe.write_text("studio: 1\ndefault: {prune: {kind: unstructured, ratio: 0.95}}\n")
    out = tmp_path / "small.onnx"
    command = ["distill", digits.model, "--recipe", recipe, "--data", digits.train, "--eval", digits.test, "--out", out]
    command += ["--epochs", "1", "--batch-size", "512", "--clip-norm", "none", "--samples", "200"]

    status, _, said = studio(*command)
    assert status == 130
    assert "--resume goes on" in said
    status, _, said = studio(*command, "--resume", "--epochs", "2")
    assert status == 2
    assert "epochs differs (it was 1, now it is 2)" in said
    status, _, said = studio(*command)
    assert status == 2
    assert "small.onnx.training holds a run that was interrupted: --resume goes on with it" in said

    start = InlineEngine.start
    with monkeypatch.context() as refusing:

        def refused(engine: InlineEngine, request: Any, **rest: Any) -> Any:
            if isinstance(request, Export):
                raise ExportError("small.onnx: the file does not behave as the preview said.")
            return start(engine, request, **rest)

        refusing.setattr(InlineEngine, "start", refused)
        status, _, said = studio(*command, "--resume")
    assert status == 2
    assert "The run is kept in" in said  # what was learnt is not lost with the file
    learnt = steps[-1]
    status, printed, said = studio(*command, "--resume", "--json")
    assert status == 0, said
    assert json.loads(printed)["metric"]["after"] > json.loads(printed)["metric"]["before"]
    assert steps[: learnt - 1] == [1, 2, 3, *range(5, learnt + 1)]  # the fourth was reported to the one that stopped
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half.recipe.yaml", "small.onnx"]


def test_scan_prints_a_point_for_every_setting_and_goes_on_with_its_file(answer: Any, digits: Sample, tmp_path: Path):
    last, out = open_model(digits.model).info.layers[-1].name, tmp_path / "scan.json"
    options = ("--data", digits.test, "--calibration", digits.train, "--samples", 64, "--layers", last, "--out", out)
    found = answer("scan", digits.model, *options)
    assert {"layer", "method", "setting", "bytes", "value", "low", "high", "samples"} <= found["points"][0].keys()
    assert len(found["points"]) == 9
    assert found["seconds"] > 0
    assert answer("scan", digits.model, *options)["points"] == found["points"]


def test_latency_tells_the_whole_and_each_layer(answer: Any, two_layers: Path):
    found = answer("latency", two_layers, "--seconds", "0.05", "--batch", "2")
    assert set(found) == {"latency", "original", "faster", "threads", "batch", "runtime", "layers", "rest"}
    assert set(found["latency"]) == {"ms", "low", "high", "runs"}
    assert {layer["name"] for layer in found["layers"]} == {"first", "second"}
    taken = sum(layer["ms"] for layer in found["layers"]) + found["rest"]["ms"]
    assert taken == pytest.approx(found["latency"]["ms"])
    assert found["batch"] == 2


def test_a_batch_of_none_is_refused(studio: Run, digits: Sample):
    status, _, err = studio("latency", digits.model, "--batch", "0")
    assert (status, err.count("\n")) == (2, 1)
    assert "--batch" in err


def test_data_without_a_description_are_guessed_told_and_written_down(
    studio: Run, answer: Any, digits: Sample, tmp_path: Path
):
    arrays = digits.test.with_name("digits_test.npz")
    out = tmp_path / "digits.data.yaml"

    guess = answer("data", arrays, "--model", digits.model, "--out", out)
    status, _, told = studio("evaluate", digits.model, "--data", arrays, "--samples", 64, "--json")
    written = answer("evaluate", digits.model, "--data", out)

    assert (guess["description"]["kind"], guess["description"]["label"]) == ("image", "y")
    assert guess["description"]["source"] == str(arrays)
    assert guess["metric"]["value"] == written["metric"]["value"]
    assert guess["tried"][0]["value"] > 95
    assert status == 0
    assert "1,000 images, labelled" in told
    assert told.count("\n") == 1


@pytest.fixture(scope="module")
def scan_of_two(digits: Sample, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that locks all layers but two, at four bits."""
    path = tmp_path_factory.mktemp("search") / "start.recipe.yaml"
    layers = "{'*': {locked: true}, 'stage3.1.*': {locked: false}}"
    options = "{calibration_samples: 64, fit: layer}"
    path.write_text(f"default: {{quantize: {{weight_bits: 4}}}}\nlayers: {layers}\noptions: {options}\n")
    return path


def test_search_keeps_the_budget_and_what_is_locked(answer, digits: Sample, scan_of_two: Path, tmp_path: Path):
    out = tmp_path / "found.recipe.yaml"
    data = ("--data", digits.test, "--calibration", digits.train, "--samples", 128, "--scan", tmp_path / "scan.json")
    found = answer(
        "search", digits.model, *data, "--recipe", scan_of_two, "--lock", "stage3.1.conv1", "--target", "size=0.2",
        "--out", out,
    )  # fmt: skip
    assert {"recipe", "bytes", "metric", "uniform", "frontier"} <= found.keys()
    assert {"bytes", "metric"} <= found["uniform"].keys()
    assert found["spent"] <= 0.2
    layers = open_model(digits.model).info.layers
    searched = load_recipe(out, layers)
    assert found["recipe"] == searched.plain()
    assert searched.locked(layers) == {layer.name for layer in layers} - {"stage3.1.conv2"}
    assert searched.settings_for(layers[0]) == load_recipe(scan_of_two).settings_for(layers[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--target", "size=2"), "above 0 and at most 1"),
        (("--target", "size=0.5", "--lock", "stage9.*"), "'stage9.*' matches no layer"),
    ],
)
def test_a_search_for_nothing_possible_is_one_clear_line(studio: Run, digits: Sample, tmp_path: Path, more, message):
    status, _, err = studio("search", digits.model, "--data", digits.test, "--out", tmp_path / "r.yaml", *more)
    assert status == 2
    assert message in err
    assert len([line for line in err.splitlines() if line.startswith("error:")]) == 1


def test_the_demonstration_takes_the_sample_that_is_named(answer, studio, monkeypatch, text_sample):
    taken: list[str] = []
    monkeypatch.setattr("studio.demo.run", lambda _engine, sample, *_rest: taken.append(sample.name) or [])
    answer("demo", "--sample", "text")
    answer("demo")
    assert taken == ["text", "digits"]
    status, _, err = studio("demo", "--sample", "txt")
    assert (status, err.strip()) == (2, "error: --sample: there is no 'txt'; there is digits, text.")


def test_four_bits_in_groups_of_a_transformer_are_exported_as_previewed(answer, text_sample, tmp_path):
    four = "studio: 1\nlayers:\n  blocks.2.*: {quantize: {weight_bits: 4, granularity: group, group_size: 32}}\n"
    options = "options: {fit: layer, calibration_samples: 8}\n"
    plain = answer(
        "compress", text_sample.model, "--recipe", recipe(tmp_path, four + options),
        "--data", text_sample.test, "--samples", 8, "--calibration", text_sample.train,
        "--out", tmp_path / "small.onnx",
    )  # fmt: skip
    metric = plain["metric"]
    assert metric["name"] == "perplexity"
    assert metric["before"] < metric["preview"] < 1.1 * metric["before"]
    assert metric["exported"] == pytest.approx(metric["preview"], abs=1e-3)
    assert plain["verified"]
    assert plain["bytes"]["after"] == pytest.approx(plain["bytes"]["predicted"], rel=0.005)
    assert plain["bytes"]["after"] < 0.75 * plain["bytes"]["before"]  # a third of the weights at some 5 bits
