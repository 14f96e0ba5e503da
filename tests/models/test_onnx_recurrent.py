"""Recurrent operators: against ONNX Runtime in every direction, and their matrices as layers."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper

from studio.compression.compress import compress
from studio.errors import OperatorError
from studio.export.export import export
from studio.models.onnx_file import import_onnx
from studio.models.open import open_model
from studio.recipe.recipe import Recipe

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
STEPS, BATCH, INPUTS, HIDDEN = 5, 3, 4, 6


def written(write_onnx, kind, direction="forward", optional=(), batch=BATCH, steps=STEPS, **attributes):
    """A file of one recurrent operator with random weights, and with the `optional` inputs that are named."""
    random = np.random.default_rng(1)
    count, gates = 2 if direction == "bidirectional" else 1, GATES[kind]
    shapes = {
        "net.w": (count, gates * HIDDEN, INPUTS),
        "net.r": (count, gates * HIDDEN, HIDDEN),
        "net.b": (count, 2 * gates * HIDDEN),
        "h": (count, BATCH, HIDDEN),
        "c": (count, BATCH, HIDDEN),
        "p": (count, 3 * HIDDEN),
    }
    values = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    values["lengths"] = np.array([5, 2, 3], np.int32)
    names = ["net.w", "net.r", *(name if name in optional else "" for name in ("net.b", "lengths", "h", "c", "p"))]
    names = names if kind == "LSTM" else names[:5]
    outputs = ["y", "last", "cell"] if kind == "LSTM" else ["y", "last"]
    node = helper.make_node(kind, ["x", *names], outputs, "net", hidden_size=HIDDEN, direction=direction, **attributes)
    held = {name: values[name] for name in names if name}
    return write_onnx([node], {"x": (steps, batch, INPUTS)}, held, outputs)


def differences(path):
    """Largest difference of every output from ONNX Runtime's."""
    x = np.random.default_rng(2).normal(size=(STEPS, BATCH, INPUTS)).astype(np.float32)
    expected = ort.InferenceSession(path).run(None, {"x": x})
    graph, _, _ = import_onnx(path.read_bytes(), path.parent)
    with torch.no_grad():
        found = graph(torch.from_numpy(x))
    assert [tuple(value.shape) for value in found] == [value.shape for value in expected]
    return [float(np.abs(a.numpy() - b).max()) for a, b in zip(found, expected, strict=True)]


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("kind", GATES)
@pytest.mark.parametrize("optional", [(), ("net.b",), ("net.b", "lengths", "h", "c", "p")], ids=len)
def test_every_direction_with_and_without_what_is_optional_gives_what_onnx_runtime_gives(
    write_onnx, kind, direction, optional
):
    assert max(differences(written(write_onnx, kind, direction, optional))) <= 1e-5


def test_a_reset_gate_behind_the_product_gives_what_onnx_runtime_gives(write_onnx):
    path = written(write_onnx, "GRU", "bidirectional", ("net.b",), linear_before_reset=1)
    assert max(differences(path)) <= 1e-5


def test_other_activations_in_each_direction_give_what_onnx_runtime_gives(write_onnx):
    path = written(write_onnx, "RNN", "bidirectional", ("net.b",), activations=["Relu", "Tanh"])
    assert max(differences(path)) <= 1e-5


def test_the_matrix_of_the_input_is_a_layer_for_each_direction(write_onnx):
    layers = open_model(written(write_onnx, "LSTM", "bidirectional", ("net.b",), batch="N")).info.layers
    assert [(layer.name, layer.kind, layer.shape) for layer in layers] == [
        ("net.input_forward", "linear", (4 * HIDDEN, INPUTS)),
        ("net.input_backward", "linear", (4 * HIDDEN, INPUTS)),
    ]
    assert {layer.methods["quantize"] for layer in layers} == {"ok"}
    assert "ok" not in {layer.methods["channels"] for layer in layers}


def test_a_quantized_one_of_whole_sequences_is_exported_as_the_preview_said(write_onnx, tmp_path):
    random = np.random.default_rng(1)
    shapes = {"net.w": (1, 12, INPUTS), "net.r": (1, 12, 3), "net.b": (1, 24)}
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", *shapes], ["", "last"], "net", hidden_size=3),
        helper.make_node("Squeeze", ["last", "axes"], ["y"]),
    ]
    held = {name: random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    model = open_model(write_onnx(nodes, {"x": ("N", 2, INPUTS)}, {**held, "axes": np.array([0])}))
    recipe = Recipe.model_validate({"studio": 1, "default": {"quantize": {"weight_bits": 8}}})
    report = export(compress(model, recipe), tmp_path / "small.onnx", samples=4)
    assert report.verified
    assert report.max_error <= 1e-5
    stored = {tensor.data_type for tensor in onnx.load(tmp_path / "small.onnx").graph.initializer}
    assert TensorProto.INT8 in stored


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"clip": 1.0}, "clipped or coupled gates"),
        ({"activations": ["Sigmoid", "Tanh", "HardSigmoid"]}, "activations sigmoid, tanh, hardsigmoid"),
        ({"steps": "T"}, "does not say how many"),
    ],
)
def test_what_cannot_be_written_out_is_refused_in_words(write_onnx, attributes, reason):
    path = written(write_onnx, "LSTM", **attributes)
    with pytest.raises(OperatorError, match=rf"LSTM \(node 'net'\).*{reason}"):
        import_onnx(path.read_bytes(), path.parent)
