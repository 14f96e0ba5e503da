import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, numpy_helper

from studio.compression.compress import compress
from studio.export.onnx_file import onnx_bytes
from studio.models.open import open_model
from studio.recipe.cost import model_cost
from studio.recipe.factorization import has_form
from studio.recipe.recipe import Recipe

NETWORKS = ("convolutions", "tokens", "waves")

METHODS = (
    {"quantize": {"weight_bits": 8}},
    {"quantize": {"weight_bits": 8, "granularity": "tensor"}},
    {"quantize": {"weight_bits": 8, "granularity": "group", "group_size": 7}},
    {"quantize": {"weight_bits": 4}},
    {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 16}},
    {"quantize": {"weight_bits": 4, "granularity": "group", "group_size": 512}},
    {"rank": {"rank": 3}},
    {"prune": {"ratio": 0.5}, "quantize": {"weight_bits": 4, "granularity": "tensor"}},
    {"rank": {"energy": 0.8}, "prune": {"ratio": 0.4}, "quantize": {"weight_bits": 4, "granularity": "group"}},
    {"quantize": {"weight_bits": 3}},
    {"quantize": {"weight_bits": 2, "granularity": "group", "group_size": 16}},
    {"prune": {"kind": "n_m", "n": 2, "m": 4}},
    {"rank": {"rank": 4}, "prune": {"kind": "n_m", "n": 1, "m": 2}, "quantize": {"weight_bits": 3}},
    {"prune": {"kind": "n_m", "n": 3, "m": 5}, "quantize": {"weight_bits": 2, "granularity": "tensor"}},
    {"quantize": {"symmetric": False}},
    {"quantize": {"symmetric": False, "weight_bits": 4, "granularity": "group", "group_size": 16}},
    {"prune": {"ratio": 0.5}, "quantize": {"symmetric": False, "weight_bits": 2, "granularity": "tensor"}},
    {"quantize": {"weight_bits": 16}},
    {"quantize": {"weight_bits": 16, "float_format": "bf16", "granularity": "group"}},
    {"rank": {"rank": 3}, "prune": {"ratio": 0.5}, "quantize": {"weight_bits": 16}},
)


def _recipe(settings):
    return Recipe.model_validate({"default": settings})


def _run(content, x):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(content, options).run(None, {"input": x.numpy()})[0]


def _initializers(content):
    return {tensor.name: tensor for tensor in onnx.load_from_string(content).graph.initializer}


def _mixed(model, first):
    """One method after the other, from `first` on, for the model's layers."""
    chosen = {}
    for number, layer in enumerate(model.info.layers):
        method = dict(METHODS[(first + number) % len(METHODS)])
        if not layer.allows("rank"):
            method.pop("rank", None)
        chosen[layer.name] = method
    return Recipe.model_validate({"layers": chosen})


@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_gives_the_predicted_bytes_and_the_previewed_outputs(network, make_model):
    model = make_model(network)
    x = model.example(5)
    original = onnx_bytes(model.graph, model.info)
    np.testing.assert_allclose(_run(original, x[0]), model.graph(*x).detach(), atol=2e-6)
    for first in range(0, len(METHODS), len(model.info.layers)):
        recipe = _mixed(model, first)
        compressed = compress(model, recipe)
        content = onnx_bytes(compressed.graph, model.info)
        onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
        np.testing.assert_allclose(_run(content, x[0]), compressed.graph(*x).detach(), atol=2e-6)
        predicted = model_cost(model.info, recipe, compressed.factors, len(original)).bytes
        assert abs(predicted - len(content)) <= 4


@pytest.mark.parametrize("network", NETWORKS)
def test_what_was_exported_opens_again_and_gives_the_same_outputs(network, make_model, tmp_path):
    model = make_model(network)
    x = model.example(5)
    for first in range(0, len(METHODS), len(model.info.layers)):
        compressed = compress(model, _mixed(model, first))
        content = onnx_bytes(compressed.graph, model.info)
        path = tmp_path / f"{first}.onnx"
        path.write_bytes(content)
        again = open_model(path)
        np.testing.assert_allclose(again.graph(*x).detach(), _run(content, x[0]), atol=2e-6)
        whole = {layer.name for layer in model.info.layers} - set(compressed.factors)
        assert whole <= {layer.name for layer in again.info.layers}


@pytest.mark.parametrize("form", ["spatial", "tucker"])
@pytest.mark.parametrize("behind", [{}, {"prune": {"ratio": 0.4}, "quantize": {"weight_bits": 4}}])
@pytest.mark.parametrize("network", ["convolutions", "waves"])
def test_every_form_of_factors_gives_the_predicted_bytes_and_the_previewed_outputs(network, behind, form, make_model):
    model = make_model(network)
    x = model.example(5)
    recipe = _recipe({"rank": {"parameters": 0.6, "form": form}, **behind})
    compressed = compress(model, recipe)
    split = {name: factors for name, factors in compressed.factors.items() if factors.form == form}
    possible = [layer for layer in model.info.layers if layer.allows("rank") and has_form(layer.shape, form)]
    assert set(split) == {layer.name for layer in possible}
    content = onnx_bytes(compressed.graph, model.info)
    np.testing.assert_allclose(_run(content, x[0]), compressed.graph(*x).detach(), atol=2e-6)
    predicted = model_cost(model.info, recipe, compressed.factors, len(onnx_bytes(model.graph, model.info))).bytes
    assert abs(predicted - len(content)) <= 4


@pytest.mark.parametrize("layers", [["two"], ["one", "two", "three", "four"]])
@pytest.mark.parametrize(
    "settings", [{"quantize": {"weight_bits": 8}}, {"prune": {"ratio": 0.5}}, {"rank": {"rank": 3}}]
)
def test_layers_of_equal_weights_keep_their_own(make_model, layers, settings):
    model = make_model("twins")
    recipe = Recipe.model_validate({"studio": 1, "layers": dict.fromkeys(layers, settings)})
    compressed = compress(model, recipe)
    content, before = onnx_bytes(compressed.graph, model.info), len(onnx_bytes(model.graph, model.info))
    assert before > 4 * 16 * 16 * 4
    assert model_cost(model.info, recipe, compressed.factors, before).bytes == pytest.approx(len(content), abs=4)
    x = model.example(5)
    np.testing.assert_allclose(_run(content, x[0]), compressed.graph(*x).detach(), atol=2e-6)


def test_the_length_of_a_layers_input_name_is_predicted_to_the_byte(make_model):
    model = make_model("named")
    recipe = _recipe({"rank": {"rank": 2}})
    compressed = compress(model, recipe)
    content = onnx_bytes(compressed.graph, model.info)
    before = len(onnx_bytes(model.graph, model.info))
    assert model.info.layers[0].reads == "input"
    assert model_cost(model.info, recipe, compressed.factors, before).bytes == len(content)


@pytest.mark.parametrize("form", ["matrix", "spatial", "tucker"])
def test_the_arithmetic_of_factors_is_that_of_the_places_they_work_at(form, make_model):
    model = make_model("convolutions")
    recipe = _recipe({"rank": {"parameters": 0.6, "form": form}})
    compressed = compress(model, recipe)
    counted = dict.fromkeys(compressed.factors, 0)

    def count(name, part):
        def hook(_module, _inputs, output):
            weight = part.effective_weight()
            counted[name] += weight[0].numel() * output.numel()

        part.register_forward_hook(hook)

    for name in compressed.factors:
        for part in compressed.graph.get_submodule(name).parts:
            count(name, part)
    compressed.graph(*model.example(1))
    cost = model_cost(model.info, recipe, compressed.factors, 0)
    assert {name: cost.layers[name].macs for name in counted} == counted


def test_weights_are_stored_as_the_very_integers_of_the_preview(make_model):
    model = make_model("convolutions")
    quantize = {"weight_bits": 8, "granularity": "channel"}
    narrow = {"weight_bits": 4, "granularity": "group", "group_size": 16}
    recipe = Recipe.model_validate({"default": {"quantize": quantize}, "layers": {"wide": {"quantize": narrow}}})
    compressed = compress(model, recipe)
    stored = _initializers(onnx_bytes(compressed.graph, model.info))
    stem, wide = stored["stem.weight_quantized"], stored["wide.weight_quantized"]
    assert (stem.data_type, list(stem.dims)) == (TensorProto.INT8, [8, 3, 3, 3])
    assert (wide.data_type, list(wide.dims)) == (TensorProto.INT4, [8, 72])
    assert len(wide.raw_data) == 8 * 72 // 2
    for name, tensor in (("stem", stem), ("wide", wide)):
        expected = compressed.graph.get_submodule(name).stored.q.numpy()
        integers = numpy_helper.to_array(tensor).astype(np.int8)
        np.testing.assert_array_equal(integers.reshape(expected.shape), expected)


@pytest.mark.parametrize("bits", [3, 2])
def test_fewer_than_four_bits_stand_in_the_four_bit_container(bits, make_model):
    model = make_model("convolutions")
    compressed = compress(model, _recipe({"quantize": {"weight_bits": bits}}))
    stored = _initializers(onnx_bytes(compressed.graph, model.info))["stem.weight_quantized"]
    assert stored.data_type == TensorProto.INT4
    assert len(stored.raw_data) == 8 * 27 // 2
    integers = numpy_helper.to_array(stored).astype(np.int8)
    assert len(np.unique(integers)) <= 2**bits
    np.testing.assert_array_equal(integers.ravel(), compressed.graph.get_submodule("stem").stored.q.numpy().ravel())


def test_zeros_of_n_of_m_are_zeros_in_the_file(make_model):
    model = make_model("convolutions")
    compressed = compress(model, _recipe({"prune": {"kind": "n_m", "n": 1, "m": 4}, "quantize": {"weight_bits": 4}}))
    stored = _initializers(onnx_bytes(compressed.graph, model.info))["wide.weight_quantized"]
    rows = numpy_helper.to_array(stored).astype(np.int8).reshape(stored.dims[0], -1, 4)
    assert (np.count_nonzero(rows, axis=-1) <= 1).all()
    assert np.count_nonzero(rows) > 0


def test_no_float_copy_of_a_stored_weight_remains(make_model):
    model = make_model("tokens")
    compressed = compress(model, _recipe({"quantize": {"weight_bits": 4}}))
    floats = {
        name: list(tensor.dims)
        for name, tensor in _initializers(onnx_bytes(compressed.graph, model.info)).items()
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 1
    }
    assert floats == {}


def test_integer_products_keep_their_inputs_as_floats_in_the_runtime(make_model, tmp_path):
    model = make_model("tokens")
    compressed = compress(model, _recipe({"quantize": {"weight_bits": 8}}))
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(onnx_bytes(compressed.graph, model.info), options)
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node}
    assert "DequantizeLinear" in kinds
    assert not kinds & {"MatMulNBits", "MatMulInteger", "QGemm", "DynamicQuantizeMatMul"}


def test_names_tell_the_layers_and_nothing_else_is_in_the_file(make_model):
    model = make_model("convolutions")
    compressed = compress(model, Recipe.model_validate({"layers": {"wide": {"rank": {"rank": 2}}}}))
    file = onnx.load_from_string(onnx_bytes(compressed.graph, model.info))
    convolutions = [node.name for node in file.graph.node if node.op_type == "Conv"]
    assert convolutions == ["stem", "wide.first", "wide.second", "grouped"]
    assert {"wide.first.weight", "wide.second.weight", "wide.bias", "head.weight", "head.bias"} <= {
        tensor.name for tensor in file.graph.initializer
    }
    assert not file.graph.value_info
    assert not any(node.doc_string or node.metadata_props for node in file.graph.node)


def test_the_batch_stays_free_and_inputs_and_outputs_keep_their_names(make_model):
    model = make_model("tokens")
    file = onnx.load_from_string(onnx_bytes(model.graph, model.info))
    (source,), (result,) = file.graph.input, file.graph.output
    assert (source.name, result.name) == ("input", "scores")
    assert source.type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [size.dim_value for size in source.type.tensor_type.shape.dim[1:]] == [6, 40]
    assert file.opset_import[0].version == 21


def test_equal_biases_are_stored_for_each_layer(make_model):
    model = make_model("waves")
    stored = _initializers(onnx_bytes(model.graph, model.info))
    assert {"first_of_all.bias", "second_of_all.bias"} <= stored.keys()


def test_writing_twice_gives_the_same_bytes(make_model):
    model = make_model("waves")
    assert onnx_bytes(model.graph, model.info) == onnx_bytes(model.graph, model.info)


def test_writing_says_nothing(make_model, capfd, caplog, recwarn):
    model = make_model("waves")
    onnx_bytes(model.graph, model.info)
    assert capfd.readouterr() == ("", "")
    assert not [record for record in caplog.records if "torchvision" in record.getMessage()]
    assert not [warning for warning in recwarn if "treespec" in str(warning.message)]


def test_writing_leaves_the_graph_as_it_was(make_model):
    model = make_model("waves")
    before = {name: value.clone() for name, value in model.graph.state_dict().items()}
    onnx_bytes(model.graph, model.info)
    assert all(torch.equal(value, before[name]) for name, value in model.graph.state_dict().items())
    assert not model.graph.training


def test_the_exporter_works_on_modules_of_its_own_around_the_same_weights(make_model, monkeypatch):
    """It hangs other modules in the graph while it works, and another thread may be measuring that graph."""
    model, seen = make_model("convolutions"), []
    export = torch.onnx.export

    def watched(graph, *args, **kwargs):
        seen.append(graph)
        return export(graph, *args, **kwargs)

    monkeypatch.setattr(torch.onnx, "export", watched)
    onnx_bytes(model.graph, model.info)
    (exported,) = seen
    assert not {id(module) for module in exported.modules()} & {id(module) for module in model.graph.modules()}
    assert {id(tensor) for tensor in exported.parameters()} == {id(tensor) for tensor in model.graph.parameters()}


def test_the_first_of_equal_values_stays_first_in_the_file(tmp_path):
    node = onnx.helper.make_node("TopK", ["x", "k"], ["y", "places"], axis=1)
    kinds = {"x": onnx.TensorProto.FLOAT, "y": onnx.TensorProto.FLOAT, "places": onnx.TensorProto.INT64}
    x, y, places = (onnx.helper.make_tensor_value_info(name, kind, ["N", None]) for name, kind in kinds.items())
    x.type.tensor_type.shape.dim[1].dim_value = 6
    graph = onnx.helper.make_graph([node], "g", [x], [y, places], [onnx.numpy_helper.from_array(np.array([3]), "k")])
    path = tmp_path / "top.onnx"
    opset = [onnx.helper.make_opsetid("", 21)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10).SerializeToString())
    model = open_model(path)
    session = ort.InferenceSession(onnx_bytes(model.graph, model.info))
    _, found = session.run(None, {"x": np.array([[1, 5, 5, 0, 5, 5]] * 2, np.float32)})
    np.testing.assert_array_equal(found, [[1, 2, 4]] * 2)


@pytest.mark.parametrize(
    ("network", "settings"), [("tokens", {}), ("tokens", {"rank": {"rank": 3}}), ("convolutions", METHODS[0])]
)
def test_biases_of_zeros_take_as_many_bytes_as_those_that_training_makes_of_them(network, settings, make_model):
    model = make_model(network)
    biases = [model.module(layer.name).bias for layer in model.info.layers if layer.has_bias]
    with torch.no_grad():
        for bias in biases:
            bias.zero_()
    x = model.example(3)
    original = onnx_bytes(model.graph, model.info)
    recipe = _recipe(settings)
    small = compress(model, recipe)
    before = onnx_bytes(small.graph, model.info)
    np.testing.assert_allclose(_run(before, x[0]), small.graph(*x).detach(), atol=2e-6)

    with torch.no_grad():
        for name, parameter in small.graph.named_parameters():
            if name.endswith("bias"):
                parameter += torch.rand_like(parameter)
    after = onnx_bytes(small.graph, model.info)

    assert len(after) == len(before) == model_cost(model.info, recipe, small.factors, len(original)).bytes
    np.testing.assert_allclose(_run(after, x[0]), small.graph(*x).detach(), atol=2e-6)
