"""Rounded activations in the file: what ONNX Runtime computes, in integers, and how large the file is."""

import onnx
import onnxruntime as ort
import pytest
import torch

from studio.analysis.calibration import calibrate
from studio.compression.compress import compress
from studio.export.onnx_file import onnx_bytes
from studio.export.verify import ROUNDED_TOLERANCE
from studio.recipe.cost import model_cost
from studio.recipe.recipe import Recipe
from studio.recipe.rounding import integer_layers

SETTINGS = {
    "by channel": {"quantize": {"activation_bits": 8}},
    "by tensor": {"quantize": {"activation_bits": 8, "granularity": "tensor"}},
    "by group": {"quantize": {"activation_bits": 8, "granularity": "group", "group_size": 16}},
    "4-bit weights": {"quantize": {"activation_bits": 8, "weight_bits": 4}},
    "zero points": {"quantize": {"activation_bits": 8, "symmetric": False}},
    "factors": {"quantize": {"activation_bits": 8}, "rank": {"parameters": 0.6}},
    "sparse": {"quantize": {"activation_bits": 8}, "prune": {"kind": "unstructured", "ratio": 0.5}},
    "fewer channels": {"quantize": {"activation_bits": 8}, "channels": {"ratio": 0.25}},
}


def _compressed(model, recipe):
    x = torch.randn(64, *model.example(1)[0].shape[1:], generator=torch.Generator().manual_seed(0))
    return compress(model, recipe, calibration=calibrate(model, [(x,)])), x


def _written(compressed):
    model = compressed.model
    return onnx_bytes(compressed.graph, model.info, integer=integer_layers(compressed.settings))


def _run(content, x):
    return torch.from_numpy(ort.InferenceSession(content).run(None, {"input": x.numpy()})[0])


def _off_from_the_prediction(compressed):
    model = compressed.model
    original = len(onnx_bytes(model.graph, model.info))
    predicted = model_cost(model.info, compressed.recipe, compressed.factors, original).bytes
    return abs(predicted - len(_written(compressed)))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("network", ["convolutions", "tokens", "waves"])
def test_the_file_gives_the_previewed_outputs_and_takes_the_predicted_bytes(network, settings, make_model):
    compressed, x = _compressed(make_model(network), Recipe.model_validate({"default": settings}))
    content = _written(compressed)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    preview = compressed.graph(x).detach()
    errors = (_run(content, x) - preview).abs() / preview.abs().max()
    assert errors.max() <= ROUNDED_TOLERANCE
    assert errors.median() <= 1e-6
    assert _off_from_the_prediction(compressed) <= 8


def test_a_convolution_of_rounded_inputs_has_the_bias_that_the_runtime_rounds(make_model):
    """Its weight is rounded, what it gives is not: the runtime then makes its bias an integer unasked."""
    layers = {"stem": {"quantize": {"activation_bits": 8}}, "wide": {"quantize": {"weight_bits": 4}}}
    compressed, x = _compressed(make_model("convolutions"), Recipe.model_validate({"layers": layers}))
    preview = compressed.graph(x).detach()
    errors = (_run(_written(compressed), x) - preview).abs()
    assert errors.median() <= 1e-6 * preview.abs().max()


def test_float_weights_between_rounded_activations_stay_as_they_are(make_model):
    """The runtime would make them integers unasked if weight and bias were constants."""
    quantize = {"quantize": {"activation_bits": 8}}
    recipe = Recipe.model_validate(
        {"default": {"prune": {"ratio": 0.5}}, "layers": {"stem": quantize, "grouped": quantize}}
    )
    compressed, x = _compressed(make_model("convolutions"), recipe)
    preview = compressed.graph(x).detach()
    errors = (_run(_written(compressed), x) - preview).abs() / preview.abs().max()
    assert errors.median() <= 1e-6
    assert _off_from_the_prediction(compressed) <= 8


def test_one_layer_alone_takes_the_predicted_bytes_too(make_model):
    recipe = Recipe.model_validate({"layers": {"wide": {"quantize": {"activation_bits": 8}}}})
    compressed, _ = _compressed(make_model("convolutions"), recipe)
    assert _off_from_the_prediction(compressed) <= 8


def test_the_runtime_computes_convolutions_sums_and_products_in_integers(make_model, tmp_path):
    recipe = Recipe.model_validate({"default": {"quantize": {"activation_bits": 8}}})
    compressed, _ = _compressed(make_model("convolutions"), recipe)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    ort.InferenceSession(_written(compressed), options)
    kinds = [node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node]
    assert kinds.count("QLinearConv") == 3
    assert kinds.count("QLinearAdd") == 1
    assert kinds.count("QGemm") == 1
    assert not {"Conv", "Gemm", "Add"} & set(kinds)
