"""Single ONNX operators against ONNX Runtime, and files that ask for what is not supported or not allowed."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from torch import nn

from studio.errors import ModelFileError
from studio.models.open import open_model

RANDOM = np.random.default_rng(0)
IMAGE = ("N", 4, 7, 9)
EVEN = ("N", 4, 8, 8)
ROWS = ("N", 6)


def weights(*shape):
    return RANDOM.standard_normal(shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


CASES = [
    # name, operator, input shape, constants behind the input, attributes
    ("conv", "Conv", IMAGE, [weights(5, 4, 3, 3), weights(5)], {"pads": [1, 1, 1, 1]}),
    ("conv, other padding on each side", "Conv", IMAGE, [weights(5, 4, 3, 2)], {"pads": [1, 0, 2, 3]}),
    ("conv, stride and dilation", "Conv", IMAGE, [weights(5, 4, 3, 3)], {"strides": [2, 1], "dilations": [1, 2]}),
    ("conv, groups", "Conv", IMAGE, [weights(6, 2, 3, 3)], {"group": 2}),
    ("conv, same upper", "Conv", IMAGE, [weights(5, 4, 4, 4)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("conv, same lower", "Conv", IMAGE, [weights(5, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    ("conv 1d", "Conv", ("N", 3, 11), [weights(2, 3, 3)], {}),
    ("conv 3d", "Conv", ("N", 2, 5, 5, 5), [weights(2, 2, 3, 3, 3)], {"pads": [1] * 6}),
    (
        "transposed conv",
        "ConvTranspose",
        IMAGE,
        [weights(4, 3, 3, 3), weights(6)],
        {"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    ),
    ("gemm", "Gemm", ROWS, [weights(6, 3), weights(3)], {}),
    (
        "gemm, transposed and scaled",
        "Gemm",
        ROWS,
        [weights(3, 6), weights(3)],
        {"transB": 1, "alpha": 0.5, "beta": 2.0},
    ),
    ("gemm, one bias for all", "Gemm", ROWS, [weights(6, 3), weights(1)], {}),
    ("matmul", "MatMul", ("N", 5, 6), [weights(6, 3)], {}),
    ("layer norm", "LayerNormalization", ("N", 5, 6), [weights(6), weights(6)], {"epsilon": 1e-3}),
    ("instance norm", "InstanceNormalization", IMAGE, [weights(4), weights(4)], {}),
    ("leaky", "PRelu", IMAGE, [weights(4, 1, 1)], {}),
    ("leaky relu", "LeakyRelu", ROWS, [], {"alpha": 0.3}),
    ("elu", "Elu", ROWS, [], {"alpha": 0.5}),
    ("hard sigmoid", "HardSigmoid", ROWS, [], {}),
    ("hard swish", "HardSwish", ROWS, [], {}),
    ("gelu", "Gelu", ROWS, [], {}),
    ("gelu by tanh", "Gelu", ROWS, [], {"approximate": "tanh"}),
    ("softmax", "Softmax", IMAGE, [], {"axis": 1}),
    ("flatten, all in front", "Flatten", ROWS, [], {"axis": 2}),
    ("log softmax", "LogSoftmax", ROWS, [], {}),
    ("clip", "Clip", ROWS, [np.float32(-0.5), np.float32(0.5)], {}),
    ("max pool", "MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("max pool, rounded up", "MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("max pool, one side", "MaxPool", IMAGE, [], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1]}),
    ("average pool", "AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("average pool, one side", "AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1]}),
    (
        "average pool, borders counted",
        "AveragePool",
        IMAGE,
        [],
        {"kernel_shape": [3, 3], "pads": [0, 1, 1, 1], "count_include_pad": 1},
    ),
    ("global average pool", "GlobalAveragePool", IMAGE, [], {}),
    ("global max pool", "GlobalMaxPool", IMAGE, [], {}),
    ("reduce mean", "ReduceMean", IMAGE, [ints(2, 3)], {"keepdims": 0}),
    ("reduce sum of all", "ReduceSum", IMAGE, [], {}),
    ("reduce max", "ReduceMax", IMAGE, [ints(1)], {}),
    ("reduce l2", "ReduceL2", IMAGE, [ints(-1)], {"keepdims": 0}),
    ("reduce prod", "ReduceProd", ROWS, [ints(1)], {}),
    ("flatten", "Flatten", IMAGE, [], {}),
    ("flatten from the third", "Flatten", IMAGE, [], {"axis": 2}),
    ("reshape, a copied size", "Reshape", IMAGE, [ints(0, 0, -1)], {}),
    ("reshape to a matrix", "Reshape", IMAGE, [ints(-1, 252)], {}),
    ("transpose", "Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    ("transpose, reversed", "Transpose", ROWS, [], {}),
    ("squeeze", "Squeeze", ("N", 1, 5, 1), [ints(1, 3)], {}),
    ("unsqueeze", "Unsqueeze", ROWS, [ints(0, -1)], {}),
    ("expand", "Expand", ("N", 1, 5), [ints(2, 1, 3, 5)], {}),
    ("tile", "Tile", ROWS, [ints(1, 2)], {}),
    ("slice", "Slice", IMAGE, [ints(1, 0), ints(2**63 - 1, -1), ints(2, 3), ints(2, 3)], {}),
    ("slice backwards", "Slice", ROWS, [ints(-1), ints(-(2**63)), ints(1), ints(-2)], {}),
    ("gather", "Gather", IMAGE, [np.array([[0, -1]], np.int64)], {"axis": 1}),
    ("pad", "Pad", IMAGE, [ints(0, 1, 0, 2, 0, 0, 1, 0), np.float32(0.5)], {}),
    ("pad, reflected", "Pad", IMAGE, [ints(0, 0, 1, 2, 0, 0, 1, 2)], {"mode": "reflect"}),
    ("pad some axes", "Pad", IMAGE, [ints(1, 2), np.float32(0), ints(3)], {}),
    ("depth to space", "DepthToSpace", EVEN, [], {"blocksize": 2}),
    ("depth to space, CRD", "DepthToSpace", EVEN, [], {"blocksize": 2, "mode": "CRD"}),
    ("space to depth", "SpaceToDepth", EVEN, [], {"blocksize": 2}),
    ("power", "Pow", ROWS, [np.float32(2)], {}),
    ("divide", "Div", ROWS, [weights(6)], {}),
    ("cumulative sum", "CumSum", ROWS, [np.int64(1)], {}),
    ("cumulative sum backwards", "CumSum", ROWS, [np.int64(1)], {"exclusive": 1, "reverse": 1}),
    ("threshold", "ThresholdedRelu", ROWS, [], {"alpha": 0.3}),
    ("shrink", "Shrink", ROWS, [], {"lambd": 0.3, "bias": 0.2}),
    ("log of a sum", "ReduceLogSumExp", IMAGE, [ints(2, 3)], {"keepdims": 0}),
    ("triangle", "Trilu", ("N", 5, 5), [], {"upper": 0}),
    ("local response norm", "LRN", IMAGE, [], {"size": 3}),
    ("l2 norm", "LpNormalization", ROWS, [], {"axis": 1}),
    ("einsum", "Einsum", ("N", 5, 6), [weights(6, 3)], {"equation": "nij,jk->nik"}),
    (
        "resize, nearest",
        "Resize",
        IMAGE,
        [np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
        {"mode": "nearest"},
    ),
    (
        "resize, linear",
        "Resize",
        EVEN,
        [np.zeros(0, np.float32), np.array([1, 1, 2, 2], np.float32)],
        {"mode": "linear"},
    ),
    *[(name.lower(), name, ROWS, [], {}) for name in ("Abs", "Erf", "Exp", "Floor", "Neg", "Relu", "Sigmoid", "Tanh")],
]


def assert_equals_runtime(path, seed=0):
    """The imported graph and ONNX Runtime agree on three random samples."""
    model = open_model(path)
    inputs = model.example(batch=3, seed=seed)
    feed = {spec.name: x.numpy() for spec, x in zip(model.info.inputs, inputs, strict=True)}
    expected = ort.InferenceSession(path).run(None, feed)
    results = model.graph(*inputs)
    results = results if isinstance(results, tuple) else (results,)
    for result, value in zip(results, expected, strict=True):
        np.testing.assert_allclose(result.detach().numpy(), value, atol=1e-5, rtol=1e-5)
    return model


@pytest.mark.parametrize(
    ("operator", "shape", "constants", "attributes"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_an_operator_gives_what_onnx_runtime_gives(write_onnx, operator, shape, constants, attributes):
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], **attributes)
    values = {name: np.asarray(value) for name, value in zip(names, constants, strict=True)}
    assert_equals_runtime(write_onnx([node], {"x": shape}, values))


def test_softmax_before_opset_13_runs_over_all_dimensions_behind(write_onnx):
    node = helper.make_node("Softmax", ["x"], ["y"], axis=1)
    assert_equals_runtime(write_onnx([node], {"x": IMAGE}, opset=11))


def test_several_outputs_come_in_order(write_onnx):
    node = helper.make_node("Split", ["x", "sizes"], ["a", "b"], axis=1)
    assert_equals_runtime(write_onnx([node], {"x": ROWS}, {"sizes": ints(2, 4)}, outputs=("b", "a")))


def test_weights_may_stand_in_constant_nodes(write_onnx):
    value = onnx.numpy_helper.from_array(weights(5, 4, 3, 3), "w")
    nodes = [helper.make_node("Constant", [], ["w"], value=value), helper.make_node("Conv", ["x", "w"], ["y"])]
    model = assert_equals_runtime(write_onnx(nodes, {"x": IMAGE}))
    assert [layer.kind for layer in model.info.layers] == ["conv2d"]


def test_a_product_and_a_sum_become_one_linear_layer_named_by_its_bias(write_onnx):
    nodes = [helper.make_node("MatMul", ["x", "val_1"], ["h"]), helper.make_node("Add", ["f.1.bias", "h"], ["y"])]
    model = assert_equals_runtime(
        write_onnx(nodes, {"x": ("N", 5, 6)}, {"val_1": weights(6, 3), "f.1.bias": weights(3)})
    )
    (layer,) = model.info.layers
    assert (layer.name, layer.kind, layer.shape, layer.has_bias) == ("f.1", "linear", (3, 6), True)
    assert layer.macs == 5 * 18


def test_a_layer_that_runs_twice_is_one_layer(write_onnx):
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["h", "c.weight"], ["y"], pads=[1, 1, 1, 1]),
    ]
    model = assert_equals_runtime(write_onnx(nodes, {"x": IMAGE}, {"c.weight": weights(4, 4, 3, 3)}))
    (layer,) = model.info.layers
    assert layer.macs == 2 * 63 * 4 * 36


def test_a_table_used_for_looking_up_and_as_a_layer_stays_one_parameter(write_onnx):
    nodes = [
        helper.make_node("Gather", ["e.weight", "x"], ["h"]),
        helper.make_node("Transpose", ["e.weight"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["h", "t"], ["y"]),
    ]
    path = write_onnx(nodes, {"x": ("N", 5)}, {"e.weight": weights(7, 6)}, input_type=TensorProto.INT64)
    model = assert_equals_runtime(path)
    embedding, head = (model.module(layer.name) for layer in model.info.layers)
    assert isinstance(embedding, nn.Embedding)
    assert isinstance(head, nn.Linear)
    assert embedding.weight is head.weight


@pytest.mark.parametrize("bias", [[], ["f.bias"]])
def test_a_product_that_runs_twice_is_one_layer(write_onnx, bias):
    def product(x, y):
        if not bias:
            return [helper.make_node("MatMul", [x, "f.weight"], [y])]
        return [helper.make_node("MatMul", [x, "f.weight"], [f"{y}_"]), helper.make_node("Add", [f"{y}_", *bias], [y])]

    nodes = [*product("x", "h"), helper.make_node("Relu", ["h"], ["r"]), *product("r", "y")]
    held = {"f.weight": weights(6, 6), **{name: weights(6) for name in bias}}
    model = assert_equals_runtime(write_onnx(nodes, {"x": ("N", 5, 6)}, held))
    assert [(layer.name, layer.macs) for layer in model.info.layers] == [("f", 2 * 5 * 36)]
    assert model.info.parameters == 36 + 6 * len(bias)


def test_a_batch_norm_that_runs_behind_two_layers_is_folded_into_both(write_onnx):
    norm = {f"n.{name}": np.abs(weights(4)) + 0.5 for name in ("weight", "bias", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"], "a"),
        helper.make_node("BatchNormalization", ["h", *norm], ["n"]),
        helper.make_node("Conv", ["n", "b"], ["g"], "b"),
        helper.make_node("BatchNormalization", ["g", *norm], ["y"]),
    ]
    held = {"a": weights(4, 4, 3, 3), "b": weights(4, 4, 3, 3), **norm}
    model = assert_equals_runtime(write_onnx(nodes, {"x": IMAGE}, held))
    assert [layer.has_bias for layer in model.info.layers] == [True, True]
    assert model.info.parameters == 2 * (4 * 4 * 9 + 4)


def test_a_batch_norm_behind_a_shared_result_is_not_folded(write_onnx):
    norm = {f"n.{name}": np.abs(weights(4)) for name in ("weight", "bias", "mean", "var")}
    nodes = [
        helper.make_node("Conv", ["x", "c.weight"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h", *norm], ["n"]),
        helper.make_node("Add", ["h", "n"], ["y"]),
    ]
    model = assert_equals_runtime(write_onnx(nodes, {"x": IMAGE}, {"c.weight": weights(4, 4, 3, 3), **norm}))
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.graph.modules())


def test_a_batch_norm_over_positions_is_not_taken_for_one_over_features(write_onnx):
    norm = {f"n.{name}": np.abs(weights(6)) for name in ("weight", "bias", "mean", "var")}
    nodes = [
        helper.make_node("MatMul", ["x", "l.weight"], ["h"]),
        helper.make_node("BatchNormalization", ["h", *norm], ["y"]),
    ]
    assert_equals_runtime(write_onnx(nodes, {"x": ("N", 6, 6)}, {"l.weight": weights(6, 6), **norm}))


def test_sizes_computed_from_a_free_dimension_stay_free(write_onnx):
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "one"], ["t"]),
        helper.make_node("Div", ["t", "two"], ["h"]),
        helper.make_node("Unsqueeze", ["h", "zero"], ["u"]),
        helper.make_node("Concat", ["minus", "u"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"one": np.int64(1), "two": np.int64(2), "zero": ints(0), "minus": ints(-1)}
    assert_equals_runtime(write_onnx(nodes, {"x": ("N", "T")}, constants))


def test_half_precision_weights_are_computed_in_float32(write_onnx):
    nodes = [helper.make_node("MatMul", ["x", "l.weight"], ["y"])]
    constants = {"l.weight": weights(6, 3).astype(np.float16)}
    half = TensorProto.FLOAT16
    model = open_model(write_onnx(nodes, {"x": ROWS}, constants, input_type=half, output_type=half))
    (x,) = model.example(3)
    np.testing.assert_allclose(model.graph(x).detach(), x.numpy() @ constants["l.weight"].astype(np.float32), atol=1e-5)


def refused(path):
    with pytest.raises(ModelFileError) as caught:
        open_model(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_operator_is_named_with_its_node(write_onnx):
    path = write_onnx([helper.make_node("Unique", ["x"], ["y"], name="corner")], {"x": ("N", 3, 3)})
    assert refused(path) == "model.onnx: The ONNX operator Unique (node 'corner') is not supported."


def test_an_operator_of_another_domain_is_named_with_its_domain(write_onnx):
    path = write_onnx([helper.make_node("Magic", ["x"], ["y"], name="m", domain="ai.wizard")], {"x": ROWS})
    assert "ai.wizard.Magic (node 'm')" in refused(path)


def test_an_unsupported_form_of_a_known_operator_is_named_with_its_node(write_onnx):
    node = helper.make_node("AveragePool", ["x"], ["y"], name="pool", kernel_shape=[2, 2], dilations=[2, 2])
    assert "AveragePool (node 'pool')" in refused(write_onnx([node], {"x": IMAGE}))


def test_a_shape_that_depends_on_the_data_is_refused(write_onnx):
    nodes = [
        helper.make_node("Cast", ["x"], ["i"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["i"], ["m"], keepdims=0),
        helper.make_node("Unsqueeze", ["m", "zero"], ["s"]),
        helper.make_node("ConstantOfShape", ["s"], ["y"], name="fill"),
    ]
    said = refused(write_onnx(nodes, {"x": ROWS}, {"zero": ints(0)}))
    assert "node 'fill'" in said
    assert "depends on the data" in said


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "sub/../../secret.bin", "link.bin"])
def test_weights_outside_the_models_folder_are_refused(write_onnx, tmp_path, location):
    path = write_onnx([helper.make_node("Conv", ["x", "w"], ["y"])], {"x": IMAGE}, {"w": weights(4, 4, 3, 3)})
    outside = tmp_path.parent / "secret.bin"
    outside.write_bytes(bytes(4 * 4 * 9 * 4))
    (tmp_path / "link.bin").symlink_to(outside)
    model = onnx.load(path)
    (tensor,) = model.graph.initializer
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    assert "outside the model's folder" in refused(path)


def test_weights_beside_the_model_are_read(write_onnx, tmp_path):
    weight = weights(4, 4, 3, 3)
    path = write_onnx([helper.make_node("Conv", ["x", "c.weight"], ["y"])], {"x": IMAGE}, {"c.weight": weight})
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.testing.assert_array_equal(open_model(path).module("c").weight.detach(), weight)
    (tmp_path / "weights.bin").unlink()
    assert "'weights.bin'" in refused(path)
