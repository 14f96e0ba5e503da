"""ONNX Runtime's own products with four-bit weights: what it computes, that it is they, and how large the file is."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from studio.compression.compress import compress
from studio.export.onnx_file import onnx_bytes
from studio.models.open import open_model
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe

GROUPS = {"weight_bits": 4, "granularity": "group", "group_size": 16}


def _compressed(model, rank=None, **quantize):
    settings = {"quantize": {**GROUPS, **quantize}} | ({"rank": {"rank": rank}} if rank else {})
    return compress(model, Recipe.model_validate({"default": settings}))


def _run(content, x, optimized=None):
    options = ort.SessionOptions()
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(content, options).run(None, {"input": x.numpy()})[0]


@pytest.mark.parametrize(
    ("network", "rank", "quantize"),
    [
        ("tokens", None, {"product": "onnxruntime"}),
        ("tokens", None, {"product": "onnxruntime", "symmetric": False, "weight_bits": 3}),
        ("tokens", 5, {"product": "onnxruntime", "symmetric": False}),
        ("tokens", None, {"product": "onnxruntime_int8", "group_size": 32}),
        ("convolutions", 3, {"product": "onnxruntime_int8", "symmetric": False}),
        ("tokens", None, {"product": "onnxruntime_int8", "weight_bits": 8, "symmetric": False}),
    ],
)
def test_the_runtimes_own_product_gives_the_previewed_outputs_and_bytes(network, rank, quantize, make_model, tmp_path):
    model = make_model(network)
    (x,) = model.example(32)
    compressed = _compressed(model, rank, **quantize)
    content = onnx_bytes(compressed.graph, model.info)
    preview = compressed.graph(x).detach().numpy()
    errors = np.abs(_run(content, x, tmp_path / "optimized.onnx") - preview) / np.abs(preview).max()
    rounded = quantize["product"] == "onnxruntime_int8"
    assert np.median(errors) <= 1e-6
    assert errors.max() <= (1e-2 if rounded else 1e-6)  # an input between two levels may go to either
    predicted = model_cost(model.info, compressed.recipe, compressed.factors, len(onnx_bytes(model.graph, model.info)))
    assert abs(predicted.bytes - len(content)) <= 4
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    linear = sum(layer.kind == "linear" for layer in model.info.layers)
    assert kinds.count("MatMulNBits") == linear * (2 if rank else 1)
    levels = {
        attribute.i
        for node in onnx.load_from_string(content).graph.node
        for attribute in node.attribute
        if attribute.name == "accuracy_level"
    }
    assert levels == {4 if rounded else 1}


def test_rounded_inputs_are_told_from_exact_ones(make_model):
    model = make_model("tokens")
    (x,) = model.example(32)
    exact, rounded = (
        _compressed(model, product=product).graph(x).detach() for product in ("onnxruntime", "onnxruntime_int8")
    )
    difference = (exact - rounded).abs().max() / exact.abs().max()
    assert 1e-4 < difference < 3e-2


def test_what_no_such_product_takes_is_written_for_any_runtime(make_model):
    model = make_model("convolutions")
    compressed = _compressed(model, product="onnxruntime", group_size=24)
    file = onnx.load_from_string(onnx_bytes(compressed.graph, model.info))
    assert [entry.domain for entry in file.opset_import] == [""]
    cost = model_cost(model.info, compressed.recipe, {}, 0)
    note = "MatMulNBits takes linear layers with groups of 16 to 256, of 8 bits with int8 inputs: not this one"
    assert all(note in layer.notes for layer in cost.layers.values())


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("bits", "product", "tolerance"), [(4, "onnxruntime", 2e-6), (8, "onnxruntime_int8", 1e-2)])
def test_such_a_file_opens_again_though_without_its_rounded_inputs(
    bits, product, tolerance, symmetric, make_model, tmp_path
):
    model = make_model("tokens")
    (x,) = model.example(5)
    compressed = _compressed(model, product=product, symmetric=symmetric, weight_bits=bits)
    path = tmp_path / "nbits.onnx"
    path.write_bytes(onnx_bytes(compressed.graph, model.info))
    again = open_model(path)
    assert {layer.name for layer in again.info.layers} == {layer.name for layer in model.info.layers}
    np.testing.assert_allclose(again.graph(x).detach(), compressed.graph(x).detach(), atol=tolerance)
