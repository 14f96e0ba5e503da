"""The importer against the node tests of the `onnx` package, and ways to resize against ONNX Runtime."""

import warnings
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper
from onnx.backend.test.loader import load_model_tests

from studio.errors import ModelFileError
from studio.models.open import open_model

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "onnx_coverage.py"


@pytest.fixture(scope="module")
def coverage():
    spec = spec_from_file_location("onnx_coverage", SCRIPT)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_accepted_of_the_node_tests_gives_the_reference_values(coverage):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        verdicts = {case.name: coverage.judge(case) for case in load_model_tests(kind="node")}
    assert {name: reason for name, (kind, reason) in verdicts.items() if kind == coverage.WRONG} == {}
    passed = sum(kind == coverage.PASSED for kind, _ in verdicts.values())
    assert passed > 1200


WAYS = [
    {"mode": mode, "coordinate_transformation_mode": where, **more}
    for where in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    for mode, more in (
        ("nearest", {"nearest_mode": "floor"}),
        ("nearest", {"nearest_mode": "ceil"}),
        ("nearest", {"nearest_mode": "round_prefer_ceil"}),
        ("linear", {}),
        ("cubic", {"cubic_coeff_a": -0.5}),
        ("cubic", {"exclude_outside": 1}),
    )
]


EVERY = [(way, factor) for way in WAYS for factor in (2.0, 0.6)]


@pytest.mark.parametrize(
    ("way", "factor"),
    [pair for pair in EVERY if pair[1] == 2.0 or pair[0]["coordinate_transformation_mode"] != "align_corners"],
    ids=str,
)
def test_every_way_to_resize_gives_what_onnx_runtime_gives(write_onnx, way, factor):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], **way)
    scales = {"scales": np.array([1, 1, factor, factor], np.float32)}
    path = write_onnx([node], {"x": ("N", 2, 5, 6)}, scales)
    model = open_model(path)
    (x,) = model.example(2)
    expected = ort.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(model.graph(x).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_images_of_free_size_grow_by_a_factor(write_onnx, mode):
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode)
    path = write_onnx([node], {"x": ("N", 2, "H", "W")}, {"scales": np.array([1, 1, 2, 2], np.float32)})
    model = open_model(path)
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 7)).astype(np.float32)
    expected = ort.InferenceSession(path).run(None, {"x": x})[0]
    assert expected.shape == (1, 2, 10, 14)
    np.testing.assert_allclose(model.graph(torch.from_numpy(x)).numpy(), expected, atol=1e-5)


def test_upsampling_counts_places_from_the_corner(write_onnx):
    node = helper.make_node("Upsample", ["x", "scales"], ["y"], mode="linear")
    scales = {"scales": np.array([1, 1, 2, 2], np.float32)}
    path = write_onnx([node], {"x": ("N", 2, 5, 6)}, scales, opset=9)
    model = open_model(path)
    (x,) = model.example(2)
    expected = ort.InferenceSession(path).run(None, {"x": x.numpy()})[0]
    np.testing.assert_allclose(model.graph(x).numpy(), expected, atol=1e-5)


def test_aligned_corners_of_a_size_that_was_rounded_down_are_refused(write_onnx):
    ways = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    node = helper.make_node("Resize", ["x", "", "scales"], ["y"], name="shrink", **ways)
    scales = {"scales": np.array([1, 1, 0.6, 0.6], np.float32)}
    with pytest.raises(ModelFileError, match=r"node 'shrink'.*no agreed meaning"):
        open_model(write_onnx([node], {"x": ("N", 2, 5, 6)}, scales))


def test_a_model_that_drops_values_when_it_is_used_is_refused(write_onnx):
    node = helper.make_node("Dropout", ["x", "ratio", "training"], ["y"], name="noise")
    constants = {"ratio": np.float32(0.5), "training": np.array(True)}
    with pytest.raises(ModelFileError, match=r"Dropout \(node 'noise'\).*at random"):
        open_model(write_onnx([node], {"x": ("N", 6)}, constants))


def test_a_second_output_that_is_read_and_not_known_is_refused(write_onnx):
    node = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2], name="pool")
    path = write_onnx([node], {"x": ("N", 2, 4, 4)}, outputs=("y", "places"))
    model = onnx.load(path)
    model.graph.output[1].type.tensor_type.elem_type = TensorProto.INT64
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"node 'pool'.*output 'places' is not supported"):
        open_model(path)
