"""ONNX files whose graph cannot be built: their layers are found wherever weights are read, and counted once."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from studio.compression.compress import compress
from studio.errors import ModelFileError
from studio.evaluation.weight_error import WeightNorms
from studio.export.weights_file import export_weights
from studio.models.open import open_model
from studio.recipe.recipe import Recipe

RANDOM = np.random.default_rng(0)
WEIGHTS = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in {
    "conv.weight": (8, 3, 3, 3), "shared": (12, 12), "branch": (5, 12), "constant": (12, 7),
}.items()}  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A convolution, a custom operator, one weight read twice, one in a branch, one in a Constant node."""
    tensors = {name: numpy_helper.from_array(value, name) for name, value in WEIGHTS.items()}
    inner = helper.make_graph(
        [helper.make_node("Gemm", ["h", "branch"], ["b"], "head", transB=1)],
        "then",
        [],
        [helper.make_tensor_value_info("b", TensorProto.FLOAT, None)],
        [tensors["branch"]],
    )
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], "conv"),
        helper.make_node("Odd", ["c"], ["h0"], "odd", domain="company"),
        helper.make_node("MatMul", ["h0", "shared"], ["h1"], "one"),
        helper.make_node("MatMul", ["h1", "shared"], ["h"], "two"),
        helper.make_node("Constant", [], ["constant"], "c", value=tensors["constant"]),
        helper.make_node("MatMul", ["h", "constant"], ["k"], "tail"),
        helper.make_node("If", ["flag"], ["y"], "if", then_branch=inner, else_branch=inner),
    ]
    graph = helper.make_graph(
        nodes,
        "test",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8]),
            helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [tensors["conv.weight"], tensors["shared"], numpy_helper.from_array(np.ones(8, np.float32), "conv.bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("company", 1)])
    file = tmp_path_factory.mktemp("odd") / "odd.onnx"
    onnx.save(model, file)
    return file


def test_layers_are_found_in_branches_and_constants_and_counted_once(path):
    info = open_model(path).info
    assert [(layer.name, layer.shape) for layer in info.layers if layer.name != "head_1"] == [
        ("conv", (8, 3, 3, 3)),
        ("one", (12, 12)),
        ("tail", (7, 12)),
        ("head", (5, 12)),
    ]
    assert info.layer("conv").has_bias
    assert info.format == "onnx"


def test_what_needs_the_graph_names_the_operator_that_is_in_the_way(path):
    info = open_model(path).info
    assert info.lacks["train"].startswith(
        "only its weights are open: the ONNX operator company.Odd (node 'odd') is not supported; "
        "ONNX Runtime cannot open it: "
    )
    assert "company:Odd(-1) is not a registered function/op" in info.lacks["train"]
    with pytest.raises(ModelFileError, match=r"odd\.onnx: only its weights are open.*company\.Odd"):
        info.require("measure")


def test_its_weights_are_those_of_the_file_and_can_be_compressed(path, tmp_path):
    model = open_model(path)
    np.testing.assert_array_equal(model.module("tail").weight.numpy(), WEIGHTS["constant"].T)
    recipe = Recipe.model_validate({"studio": 1, "default": {"quantize": {"weight_bits": 8}}})
    report = export_weights(compress(model, recipe), tmp_path / "o.safetensors", WeightNorms(model))
    assert 0 < report.exported.value < 1


def test_a_file_without_layers_says_which_operator_is_not_known(tmp_path):
    node = helper.make_node("Odd", ["x"], ["y"], "odd", domain="company")
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    model = helper.make_model(helper.make_graph([node], "test", values[:1], values[1:]))
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelFileError, match=r"odd\.onnx: The ONNX operator company\.Odd"):
        open_model(tmp_path / "odd.onnx")


def test_layers_that_onnx_runtime_has_fused_are_found(tmp_path):
    nodes = [
        helper.make_node("FusedConv", ["x", "conv.weight"], ["c"], "conv", domain="com.microsoft", activation="Relu"),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("FusedMatMul", ["f", "right"], ["m"], "one", domain="com.microsoft", alpha=0.5),
        helper.make_node("FusedMatMul", ["m", "left"], ["g"], "two", domain="com.microsoft", transB=1),
        helper.make_node("FusedGemm", ["g", "last", "bias"], ["y"], "three", domain="com.microsoft", activation="Relu"),
    ]
    shapes = {"conv.weight": (2, 3, 8, 8), "right": (2, 7), "left": (5, 7), "last": (5, 4), "bias": (4,)}
    held = [numpy_helper.from_array(RANDOM.normal(size=shape).astype("f4"), name) for name, shape in shapes.items()]
    ends = [helper.make_tensor_value_info(*end) for end in (("x", 1, ["N", 3, 8, 8]), ("y", 1, ["N", 4]))]
    domains = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], held)
    onnx.save(helper.make_model(graph, opset_imports=domains, ir_version=10), tmp_path / "fused.onnx")
    layers = open_model(tmp_path / "fused.onnx").info.layers
    assert [(layer.name, layer.kind, layer.shape, layer.has_bias) for layer in layers] == [
        ("conv", "conv2d", (2, 3, 8, 8), False),
        ("one", "linear", (7, 2), False),
        ("two", "linear", (5, 7), False),
        ("three", "linear", (4, 5), True),
    ]


def written_in_integers(path, nodes, held):
    """A file of nodes from `x` ``[N, 3, 8, 8]`` or a matrix to `y` with `held` constants."""
    ends = [helper.make_tensor_value_info(*end) for end in (("x", 1, ["N", 3, 8, 8]), ("y", 1, None))]
    initializers = [numpy_helper.from_array(np.asarray(value), name) for name, value in held.items()]
    graph = helper.make_graph(nodes, "test", ends[:1], ends[1:], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return open_model(path)


LEVELS = {"step": np.float32(0.5), "zero": np.uint8(3)}


def test_integers_behind_dequantize_linear_are_the_weights_that_they_stand_for(tmp_path):
    integers = RANDOM.integers(-128, 128, (4, 3, 3, 3)).astype(np.int8)
    scale = np.array([0.5, 1, 2, 4], np.float32)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "step", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["conv.weight_quantized", "scale"], ["w"], axis=0),
        helper.make_node("DequantizeLinear", ["conv.bias_quantized", "scale"], ["b"], axis=0),
        helper.make_node("Conv", ["d", "w", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    bias = np.array([1, 2, 3, 4], np.int32)
    held = {**LEVELS, "conv.weight_quantized": integers, "conv.bias_quantized": bias, "scale": scale}
    model = written_in_integers(tmp_path / "qdq.onnx", nodes, held)
    assert [(layer.name, layer.kind, layer.shape) for layer in model.info.layers] == [("conv", "conv2d", (4, 3, 3, 3))]
    np.testing.assert_array_equal(model.module("conv").weight.numpy(), integers * scale[:, None, None, None])
    np.testing.assert_array_equal(model.module("conv").bias.numpy(), [0.5, 2, 6, 16])


def test_integers_of_products_in_integers_are_the_weights_that_they_stand_for(tmp_path):
    integers = RANDOM.integers(0, 256, (8, 5)).astype(np.uint8)
    scale, zero = np.arange(1, 6, dtype=np.float32), np.array([1, 2, 3, 4, 5], np.uint8)
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["q"]),
        helper.make_node("QLinearMatMul", ["q", "step", "zero", "fc.weight", "s", "z", "step", "zero"], ["p"], "fc"),
        helper.make_node("DequantizeLinear", ["p", "step", "zero"], ["y"]),
    ]
    model = written_in_integers(tmp_path / "q.onnx", nodes, {**LEVELS, "fc.weight": integers, "s": scale, "z": zero})
    assert [(layer.name, layer.kind, layer.shape) for layer in model.info.layers] == [("fc", "linear", (5, 8))]
    wanted = ((integers.astype(np.float32) - zero) * scale).T
    np.testing.assert_array_equal(model.module("fc").weight.numpy(), wanted)


def test_a_damaged_constant_without_a_name_is_nobodys_integers(tmp_path):
    weight = numpy_helper.from_array(np.ones((3, 4), np.float32), "w")
    nameless = numpy_helper.from_array(np.ones((3, 4), np.int8), "")
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="first"),
        helper.make_node("Unknown", ["h"], ["y"], name="second"),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weight, nameless])
    path = tmp_path / "damaged.onnx"
    path.write_bytes(helper.make_model(graph).SerializeToString())
    assert [layer.shape for layer in open_model(path).info.layers] == [(4, 3)]
