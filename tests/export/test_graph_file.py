"""Settings applied to an ONNX graph itself: what is written is what the preview ran, to the byte and to the output."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from studio.compression.compress import compress
from studio.errors import ExportError, RecipeError
from studio.evaluation.weight_error import WeightNorms
from studio.export.graph_file import export_graph, measure_graph_size
from studio.models.open import open_model
from studio.recipe.recipe import Recipe

RANDOM = np.random.default_rng(0)
WEIGHTS = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in {
    "conv.weight": (4, 3, 3, 3), "shared": (16, 16), "constant": (16, 12), "branch": (10, 12),
}.items()}  # fmt: skip

RECIPES = {
    "int8": {"quantize": {"weight_bits": 8}},
    "int8 tensor": {"quantize": {"weight_bits": 8, "granularity": "tensor"}},
    "int4": {"quantize": {"weight_bits": 4, "granularity": "channel"}},
    "int4 groups": {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 4}},
    "ragged groups": {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 10}},
    "zero points": {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 5, "symmetric": False}},
    "half precision": {"quantize": {"weight_bits": 16}},
    "sparse": {"prune": {"kind": "unstructured", "ratio": 0.5}},
    "rank": {"rank": {"parameters": 0.5}},
    "spatial": {"rank": {"parameters": 0.9, "form": "spatial"}},
    "tucker, half precision": {"rank": {"parameters": 0.9, "form": "tucker"}, "quantize": {"weight_bits": 16}},
    "rank, int4 groups": {
        "rank": {"parameters": 0.6},
        "quantize": {"weight_bits": 4, "granularity": "group", "group_size": 4},
    },
    "rank, sparse int8": {
        "rank": {"parameters": 0.6},
        "prune": {"kind": "unstructured", "ratio": 0.3},
        "quantize": {"weight_bits": 8},
    },
    "sparse int8": {"prune": {"kind": "n_m", "n": 2, "m": 4}, "quantize": {"weight_bits": 8, "symmetric": False}},
}


MOVES = {"strides": [2, 2], "pads": [1, 1, 1, 1]}


def network(opset, dtype=np.float32, custom=False, moves=MOVES):
    """A convolution, one weight read twice, one of a Constant node and one of a branch: ``[N, 3, 4, 4]`` → ``[N, 10]``.

    Args:
        opset: version of the operators.
        dtype: of weights and values.
        custom: whether there is an operator that nobody knows.
        moves: attributes of the convolution.
    """
    held = {name: numpy_helper.from_array(value.astype(dtype), name) for name, value in WEIGHTS.items()}
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    zeros = numpy_helper.from_array(np.zeros((1, 10), dtype), "zeros")
    last = helper.make_tensor_value_info("b", kind, None)
    then = helper.make_graph(
        [helper.make_node("Gemm", ["h", "branch", "head.bias"], ["b"], "head", transB=1)], "then", [], [last],
        [held["branch"]],
    )  # fmt: skip
    otherwise = helper.make_graph([helper.make_node("Identity", ["zeros"], ["b"])], "else", [], [last], [zeros])
    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["c"], "conv", **moves),
        helper.make_node("Odd" if custom else "Relu", ["c"], ["r"], domain="company" if custom else ""),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("MatMul", ["f", "shared"], ["f1"], "one"),
        helper.make_node("Tanh", ["f1"], ["f2"]),
        helper.make_node("MatMul", ["f2", "shared"], ["f3"], "two"),
        helper.make_node("Constant", [], ["constant"], value=held["constant"]),
        helper.make_node("MatMul", ["f3", "constant"], ["h"], "tail"),
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "first"], ["count"]),
        helper.make_node("Greater", ["count", "first"], ["some"]),
        helper.make_node("If", ["some"], ["y"], "gate", then_branch=then, else_branch=otherwise),
    ]
    others = {"conv.bias": np.ones(4, dtype), "head.bias": np.ones(10, dtype), "first": np.asarray(0)}
    others = [numpy_helper.from_array(value, name) for name, value in others.items()]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", kind, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", kind, None)],
        [
            held["conv.weight"],
            held["shared"],
            *others,
        ],
    )
    domains = [helper.make_opsetid("", opset), *([helper.make_opsetid("company", 1)] if custom else [])]
    return helper.make_model(graph, opset_imports=domains, ir_version=8)


def by_numpy(x, weights):
    """What the network gives for positive numbers of samples, with other weights."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    patches = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (2, 3))[:, :, ::2, ::2]
    c = np.maximum(np.einsum("nchwij,ocij->nohw", patches, weights["conv"]) + 1, 0)
    f = c.reshape(len(x), -1)
    h = np.tanh(f @ weights["one"].T) @ weights["one"].T @ weights["tail"].T
    return h @ weights["head"].T + 1


def opened(folder, **how):
    onnx.save(network(**how), folder / "net.onnx")
    return open_model(folder / "net.onnx")


@pytest.fixture(scope="module", params=[11, 17, 21])
def model(request, tmp_path_factory):
    return opened(tmp_path_factory.mktemp("graph"), opset=request.param)


def recipe_of(settings, **options):
    return Recipe.model_validate({"studio": 1, "default": settings, "options": options})


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_written_has_the_size_and_the_outputs_that_were_announced(model, tmp_path, name):
    compressed, out = compress(model, recipe_of(RECIPES[name])), tmp_path / "out.onnx"
    report = export_graph(compressed, out, WeightNorms(model), samples=16)
    alone = {"one"} if name in ("rank", "spatial") else set()  # two nodes read its weight
    assert set(compressed.settings) == {"conv", "one", "tail", "head"} - alone
    assert report.predicted == pytest.approx(report.after, abs=4)  # lengths around what lies in a branch
    assert report.after == out.stat().st_size
    x = RANDOM.normal(size=(3, 3, 4, 4)).astype(np.float32)
    found = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    weights = {layer: compressed.effective_weight(layer).numpy() for layer in ("conv", "one", "tail", "head")}
    np.testing.assert_allclose(found, by_numpy(x, weights), rtol=1e-3, atol=1e-3)


def test_the_graph_stays_as_it_was_around_the_weights(model, tmp_path):
    export_graph(compress(model, recipe_of(RECIPES["int8"])), tmp_path / "o.onnx", WeightNorms(model), samples=4)
    written = onnx.load(tmp_path / "o.onnx")
    kinds = [node.op_type for node in written.graph.node]
    assert kinds[:5] == ["DequantizeLinear", *["DequantizeLinear", "Reshape"] * 2]  # the convolution's, two matrices
    assert kinds[5:] == [node.op_type for node in model.onnx.proto.graph.node if node.op_type != "Constant"]
    then = next(attribute.g for attribute in written.graph.node[-1].attribute if attribute.name == "then_branch")
    assert [node.op_type for node in then.node] == ["DequantizeLinear", "Reshape", "Gemm"]
    held = {tensor.name: tensor.data_type for tensor in (*written.graph.initializer, *then.initializer)}
    assert {name for name, kind in held.items() if kind == TensorProto.INT8} == {
        "conv.weight_quantized",
        "shared_quantized",
        "constant_quantized",
        "branch_quantized",
    }
    assert not {"conv.weight", "shared", "constant", "branch"} & held.keys()


def test_an_unchanged_graph_keeps_its_size(model, tmp_path):
    report = export_graph(compress(model, Recipe()), tmp_path / "o.onnx", WeightNorms(model), samples=4)
    assert report.after == report.before == report.predicted == measure_graph_size(model)
    assert report.max_error == 0


@pytest.mark.parametrize("name", ["int8", "int4 groups", "half precision", "sparse"])
def test_weights_of_16_bits_stay_in_a_graph_of_16_bits(tmp_path, name):
    model = opened(tmp_path, opset=17, dtype=np.float16)
    report = export_graph(compress(model, recipe_of(RECIPES[name])), tmp_path / "o.onnx", WeightNorms(model), samples=8)
    assert report.predicted == pytest.approx(report.after, abs=4)
    if name in ("half precision", "sparse"):
        assert report.after == report.before


@pytest.mark.parametrize("name", RECIPES)
def test_where_nothing_runs_the_network_the_weights_in_the_file_are_held_against_the_preview(tmp_path, name):
    model = opened(tmp_path, opset=17, custom=True)
    assert not model.info.runtime
    report = export_graph(compress(model, recipe_of(RECIPES[name])), tmp_path / "o.onnx", WeightNorms(model))
    assert report.predicted == pytest.approx(report.after, abs=4)
    assert (report.preview.name, report.max_error) == ("weight_error", 0)
    assert report.exported.value == pytest.approx(report.preview.value)
    assert "Odd" in [node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node]


@pytest.mark.parametrize("form", ["matrix", "spatial", "tucker"])
@pytest.mark.parametrize(
    "moves",
    [
        {"auto_pad": "SAME_UPPER", "strides": [2, 2], "kernel_shape": [3, 3]},
        {"auto_pad": "VALID", "dilations": [1, 1], "strides": [1, 1]},
        {"strides": [2, 1], "pads": [1, 0, 1, 0], "kernel_shape": [3, 3], "group": 1},
    ],
)
def test_factors_share_a_convolutions_movement_among_them(tmp_path, form, moves):
    model = opened(tmp_path, opset=17, moves=moves)
    assert model.info.runtime
    settings = {"layers": {"conv": {"rank": {"parameters": 0.9, "form": form}}}}
    compressed = compress(model, Recipe.model_validate({"studio": 1, **settings}))
    report = export_graph(compressed, tmp_path / "o.onnx", WeightNorms(model), samples=16)
    assert report.predicted == report.after
    assert report.max_error == pytest.approx(0, abs=1e-4)
    found = [node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node]
    assert found[: 4 if form == "tucker" else 3] == ["Conv", *["Conv"] * (2 if form == "tucker" else 1), "Relu"]


def test_factors_take_no_place_that_several_nodes_read(model):
    methods = {layer.name: layer.methods["rank"] for layer in model.info.layers}
    assert methods.pop("one") == "several nodes read its weight, or one that factors cannot take the place of"
    assert set(methods.values()) == {"ok"}


def test_a_file_that_behaves_otherwise_is_not_kept(model, tmp_path, monkeypatch):
    monkeypatch.setattr("studio.export.graph_edit._packed", lambda integers: bytes((len(integers) + 1) // 2))
    compressed = compress(model, recipe_of(RECIPES["int4"]))
    with pytest.raises(ExportError, match="differ from the preview"):
        export_graph(compressed, tmp_path / "o.onnx", WeightNorms(model), samples=4)
    assert list(tmp_path.iterdir()) == []


BFLOAT16 = {"quantize": {"weight_bits": 16, "float_format": "bf16"}}
NBITS = {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 16, "product": "onnxruntime"}}


@pytest.mark.parametrize(
    ("layer", "settings", "reason"),
    [
        ("conv", BFLOAT16, "bfloat16 takes operators of version 13, and the file's are of version 11: take fp16"),
        ("tail", NBITS, "MatMulNBits is not written into such a graph: leave the product portable"),
    ],
)
def test_what_has_no_form_in_the_graph_is_refused_for_a_layer_that_is_named(tmp_path, layer, settings, reason):
    model = opened(tmp_path, opset=11)
    with pytest.raises(RecipeError, match=rf"^layers\.{layer}\.quantize: {reason}\.$"):
        compress(model, Recipe.model_validate({"studio": 1, "layers": {layer: settings}}))


def test_what_has_no_form_in_the_graph_is_left_out_of_settings_for_all_layers(tmp_path):
    model = opened(tmp_path, opset=11)
    assert compress(model, recipe_of(BFLOAT16)).settings == {}
    found = compress(model, recipe_of(NBITS)).settings
    shapes = {layer.name: layer.shape for layer in model.info.layers}
    assert set(found) == set(shapes)
    assert {chosen.quantize.product_of(shapes[name]) for name, chosen in found.items()} == {"portable"}


def test_weights_in_files_of_their_own_are_read_and_written_with_the_graph(tmp_path):
    place = {"location": "net.bin", "size_threshold": 64, "convert_attribute": True}
    onnx.save(network(17), tmp_path / "net.onnx", save_as_external_data=True, **place)
    model = open_model(tmp_path / "net.onnx")
    assert model.info.bytes == sum((tmp_path / name).stat().st_size for name in ("net.onnx", "net.bin"))
    report = export_graph(
        compress(model, recipe_of(RECIPES["int8"])), tmp_path / "o.onnx", WeightNorms(model), samples=4
    )
    assert report.predicted == pytest.approx(report.after, abs=4)
    (tmp_path / "net.bin").unlink()
    assert onnxruntime.InferenceSession(tmp_path / "o.onnx", providers=["CPUExecutionProvider"]).get_inputs()
