"""Models that ONNX Runtime alone runs, on the command line: beside the same network that the studio can build."""

from pathlib import Path
from typing import Any

import pytest

from studio.resources import Sample


def recipe(folder: Path, settings: str) -> Path:
    path = folder / "r.recipe.yaml"
    path.write_text(f"studio: 1\ndefault: {settings}\noptions: {{data_aware: false}}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("bits", [8, 4])
def test_it_is_measured_as_the_same_network_in_torch(
    answer: Any, digits: Sample, gated: Path, tmp_path: Path, bits: int
) -> None:
    chosen = recipe(tmp_path, f"{{quantize: {{weight_bits: {bits}}}}}")
    given = ["--data", digits.test, "--samples", "256", "--recipe", chosen]
    built, run = answer("evaluate", digits.model, *given), answer("evaluate", gated, *given)
    assert run["metric"] == built["metric"]
    assert run["original"]["metric"] == built["original"]["metric"]
    report = answer("compress", gated, *given, "--out", tmp_path / "o.onnx")
    assert report["metric"]["preview"] == report["metric"]["exported"] == run["metric"]["value"]
    assert report["bytes"]["predicted"] == report["bytes"]["after"] == run["bytes"]
    assert report["macs"] is None
    assert report["verified"]


def test_without_data_it_is_held_against_the_original_on_the_same_random_input(
    answer: Any, digits: Sample, gated: Path, tmp_path: Path
) -> None:
    given = ["--recipe", recipe(tmp_path, "{prune: {kind: unstructured, ratio: 0.7}}"), "--samples", "64"]
    built, run = answer("evaluate", digits.model, *given), answer("evaluate", gated, *given)
    assert run["metric"] == built["metric"]
    assert run["sqnr_db"] == pytest.approx(built["sqnr_db"], abs=1e-3)


def test_what_it_lacks_is_said_in_one_line(studio: Any, answer: Any, digits: Sample, gated: Path) -> None:
    found = answer("inspect", gated)
    assert (found["model"]["macs"], set(found["lacks"])) == (None, {"fit", "train"})
    why = "it runs in ONNX Runtime alone: the ONNX operator If (node 'gate') is not supported."
    status, _, said = studio("distill", gated, "--data", digits.test, "--out", "student.onnx")
    assert (status, f"gated.onnx: {why}" in said) == (2, True)
    status, _, said = studio("search", gated, "--data", digits.test, "--target", "macs=0.5", "--out", "r.recipe.yaml")
    assert (status, f"--target: macs=0.5: how often each weight is used is not known: {why}" in said) == (2, True)


def test_its_scan_finds_what_that_of_the_same_network_in_torch_finds(
    answer: Any, digits: Sample, gated: Path, tmp_path: Path
) -> None:
    options = tmp_path / "o.recipe.yaml"
    options.write_text("studio: 1\noptions: {data_aware: false}\n", encoding="utf-8")
    given = ["--data", digits.test, "--samples", "128", "--layers", "classifier", "--recipe", options]
    built, run = answer("scan", digits.model, *given), answer("scan", gated, *given)

    def told(found: Any) -> dict[tuple[str, str], Any]:
        return {(point["method"], point["setting"]): point for point in found["points"]}

    assert set(told(run)) == {key for key in told(built) if key[0] in ("quantize", "prune", "rank")}
    for key, point in told(run).items():
        other = told(built)[key]
        assert (point["value"], point["samples"]) == (other["value"], other["samples"])


def test_its_time_is_shared_out_to_the_layers_whose_weights_the_nodes_read(answer: Any, gated: Path) -> None:
    found = answer("latency", gated, "--seconds", "0.1")
    names = {layer["name"] for layer in answer("inspect", gated)["layers"]}
    assert {layer["name"] for layer in found["layers"]} == names  # the last one stands in a branch
    assert found["latency"]["ms"] > 0


def test_it_can_also_be_written_as_weights(answer: Any, gated: Path, tmp_path: Path) -> None:
    chosen, out = recipe(tmp_path, "{quantize: {weight_bits: 8}}"), tmp_path / "o.safetensors"
    found = answer("export", gated, "--recipe", chosen, "--format", "safetensors", "--out", out)
    assert found["bytes"] == out.stat().st_size
