import dataclasses

import numpy as np
import onnx
import pytest
import torch

from studio.compression.compress import compress
from studio.errors import ExportError
from studio.evaluation.data import Dataset, Input
from studio.evaluation.result import Measurement
from studio.export import verify
from studio.export.export import export, measure_export_size
from studio.export.onnx_file import onnx_bytes
from studio.export.onnx_runtime import runtime_predict
from studio.export.verify import Comparison, check
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe

EIGHT_BITS = Recipe.model_validate({"default": {"quantize": {"weight_bits": 8}}})


@pytest.fixture
def compressed(make_model):
    return compress(make_model("waves"), EIGHT_BITS)


@pytest.fixture
def data():
    random = np.random.default_rng(0)
    samples = random.normal(size=(60, 4, 20)).astype(np.float32)
    plain = Input(samples, (0, 1, 2), 1.0, torch.zeros(()), torch.ones(()))
    return Dataset("noise", [plain], random.integers(0, 4, 60), metric="top1", classes=4)


def test_an_export_is_verified_on_the_data_and_reported(compressed, data, tmp_path):
    out = tmp_path / "small.onnx"
    seen: list[Progress] = []
    report = export(compressed, out, data=data, samples=40, report=seen.append)
    assert report.verified
    assert (report.out, report.format) == (str(out), "onnx")
    assert report.after == out.stat().st_size
    assert abs(report.predicted - report.after) <= 2
    assert report.before == measure_export_size(compressed.model)
    assert report.preview == report.exported
    assert (report.exported.name, report.exported.samples) == ("top1", 40)
    assert report.original is not None
    assert report.max_error <= 1e-6 * report.output_scale
    assert {progress.message for progress in seen} >= {"Writing small.onnx", "Measuring the preview"}
    assert list(tmp_path.glob(".*")) == []


def test_without_data_agreement_with_the_original_is_verified(compressed, tmp_path):
    report = export(compressed, tmp_path / "small.onnx")
    assert report.original is None
    assert report.exported.name == "agreement"
    assert report.exported.samples == verify.RANDOM_SAMPLES
    assert report.preview == report.exported


def test_an_unknown_format_names_the_known_ones(compressed, tmp_path):
    with pytest.raises(ExportError, match=r"no format 'onx'; there is: onnx, safetensors\. Did you mean 'onnx'\?"):
        export(compressed, tmp_path / "small.onx", format="onx")


def test_a_missing_folder_or_one_in_place_of_a_file_is_refused_before_any_work(compressed, tmp_path):
    steps: list[Progress] = []
    with pytest.raises(ExportError, match="does not exist"):
        export(compressed, tmp_path / "nowhere" / "small.onnx", report=steps.append)
    with pytest.raises(ExportError, match="is a folder"):
        export(compressed, tmp_path, report=steps.append)
    assert steps == []


def test_a_read_only_folder_is_refused_before_any_work(compressed, tmp_path, monkeypatch):
    monkeypatch.setattr("studio.export.target.os.access", lambda _path, _mode: False)
    steps: list[Progress] = []
    with pytest.raises(ExportError, match="cannot be written to"):
        export(compressed, tmp_path / "small.onnx", report=steps.append)
    assert steps == []


def test_a_file_that_behaves_otherwise_is_not_kept_and_the_old_one_stays(compressed, tmp_path, monkeypatch):
    out = tmp_path / "small.onnx"
    out.write_bytes(b"old")

    def shifted(path, inputs):
        predict = runtime_predict(path, inputs)
        return lambda values: predict(values) + 0.01

    monkeypatch.setattr("studio.export.export.runtime_predict", shifted)
    with pytest.raises(ExportError, match=r"differ from the preview by 0\.01"):
        export(compressed, out)
    assert out.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["small.onnx"]


def test_cancelling_leaves_no_file(compressed, tmp_path):
    def cancel(progress):
        if progress.message.startswith("Measuring the file"):
            raise Cancelled

    with pytest.raises(Cancelled):
        export(compressed, tmp_path / "small.onnx", report=cancel)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_file_that_the_runtime_refuses_is_named_in_one_line(tmp_path):
    path = tmp_path / "broken.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"^ONNX Runtime cannot open the exported file: ") as caught:
        runtime_predict(path, ["input"])
    assert "\n" not in str(caught.value)


def test_the_runtime_gives_the_first_output_for_any_batch(make_model, tmp_path):
    model = make_model("tokens")
    path = tmp_path / "model.onnx"
    path.write_bytes(onnx_bytes(model.graph, model.info))
    predict = runtime_predict(path, ["input"], threads=1)
    for batch in (1, 3):
        x = model.example(batch)
        torch.testing.assert_close(predict(x), model.graph(*x).detach(), atol=2e-6, rtol=0)


def _comparison(**changes):
    same = Measurement("top1", 90.0, 88.0, 92.0, 1000)
    return dataclasses.replace(Comparison(None, same, same, 0.0, 10.0), **changes)


def test_outputs_metric_and_size_are_each_held_to_their_tolerance():
    check(_comparison(max_error=9e-4), 1000, 1004)
    with pytest.raises(ExportError, match="outputs"):
        check(_comparison(max_error=2e-3), 1000, 1000)
    with pytest.raises(ExportError, match="outputs"):
        check(_comparison(max_error=float("inf")), 1000, 1000)
    with pytest.raises(ExportError, match=r"top1 is 89\.80 in ONNX Runtime but 90\.00"):
        check(_comparison(exported=Measurement("top1", 89.8, 88.0, 92.0, 1000)), 1000, 1000)
    with pytest.raises(ExportError, match="1,000 were predicted"):
        check(_comparison(), 1000, 1010)


def test_rounded_activations_may_turn_three_samples_and_move_outputs_a_little():
    turned = Measurement("top1", 89.7, 88.0, 92.0, 1000)
    check(_comparison(max_error=0.19, exported=turned), 1000, 1000, rounded=True)
    with pytest.raises(ExportError, match="outputs"):
        check(_comparison(max_error=0.21), 1000, 1000, rounded=True)
    with pytest.raises(ExportError, match=r"top1 is 89\.60"):
        check(_comparison(exported=Measurement("top1", 89.6, 88.0, 92.0, 1000)), 1000, 1000, rounded=True)


def test_the_size_of_the_uncompressed_model_is_remembered(make_model, monkeypatch):
    model = make_model("waves")
    size = measure_export_size(model)
    assert size == len(onnx_bytes(model.graph, model.info))

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("studio.export.size.onnx_bytes", fail)
    assert measure_export_size(model) == size


def test_an_exported_file_opens_in_plain_onnx_runtime(compressed, tmp_path):
    out = tmp_path / "small.onnx"
    export(compressed, out)
    onnx.checker.check_model(str(out), full_check=True)
    stored = {tensor.name: tensor.data_type for tensor in onnx.load(out).graph.initializer}
    assert stored["first_of_all.weight_quantized"] == onnx.TensorProto.INT8
