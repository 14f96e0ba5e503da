"""Operators that transformers are written with as one node, against ONNX Runtime, at any batch and length."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from studio.compression.compress import compress
from studio.export.export import export
from studio.models.open import open_model
from studio.recipe.recipe import Recipe

RANDOM = np.random.default_rng(0)
WIDTH, HEADS = 8, 2


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def written(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray],
    opset: int = 23,
    tokens: int | str = "tokens",
) -> Path:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", tokens, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", tokens, WIDTH])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def projected(*names: str) -> tuple[list[onnx.NodeProto], dict[str, np.ndarray]]:
    """A linear layer of the input for each name."""
    nodes = [helper.make_node("MatMul", ["x", f"{name}.weight"], [name]) for name in names]
    return nodes, {f"{name}.weight": weights(WIDTH, WIDTH) for name in names}


@pytest.fixture
def decoder(tmp_path: Path) -> Path:
    """Causal attention with two heads for the query and one for keys and values, which are half as wide."""
    nodes, constants = projected("q", "k", "v")
    constants |= {f"{name}.weight": weights(WIDTH, WIDTH // 2) for name in "kv"}
    constants["o.weight"] = weights(WIDTH, WIDTH)
    how = {"q_num_heads": HEADS, "kv_num_heads": 1, "is_causal": 1}
    nodes.append(helper.make_node("Attention", ["q", "k", "v"], ["a"], **how))
    nodes.append(helper.make_node("MatMul", ["a", "o.weight"], ["y"]))
    return written(tmp_path / "decoder.onnx", nodes, constants)


def assert_equals_runtime(path: Path, original: Path, shapes: list[tuple[int, int]], model: object) -> None:
    session = ort.InferenceSession(original, providers=["CPUExecutionProvider"])
    for batch, tokens in shapes:
        x = RANDOM.standard_normal((batch, tokens, WIDTH)).astype(np.float32)
        (wanted,) = session.run(None, {"x": x})
        np.testing.assert_allclose(model.graph(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-5)
        again = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        np.testing.assert_allclose(again.run(None, {again.get_inputs()[0].name: x})[0], wanted, atol=1e-5)


def test_attention_opens_at_any_length_and_is_written_again(decoder: Path, tmp_path: Path):
    model = open_model(decoder)
    assert [layer.kind for layer in model.info.layers] == ["linear"] * 4
    export(compress(model, Recipe()), tmp_path / "again.onnx", samples=2)
    assert_equals_runtime(tmp_path / "again.onnx", decoder, [(1, 5), (3, 7)], model)


def test_a_token_that_sees_nobody_gets_nothing_and_gives_finite_gradients(decoder: Path, tmp_path: Path):
    nodes, constants = projected("q", "k", "v")
    constants["mask"] = np.array([[True, False], [False, False]])
    how = {"q_num_heads": HEADS, "kv_num_heads": HEADS}
    nodes.append(helper.make_node("Attention", ["q", "k", "v", "mask"], ["y"], **how))
    model = open_model(written(tmp_path / "masked.onnx", nodes, constants, tokens=2))
    x = torch.randn(1, 2, WIDTH, requires_grad=True)
    y = model.graph(x)
    assert y[0, 1].abs().max() == 0
    torch.testing.assert_close(y[0, 0], x[0, 0] @ torch.from_numpy(constants["v.weight"]))
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


FUSED = {
    "Gelu": (["x"], {}, {}),
    "QuickGelu": (["x"], {}, {"alpha": 1.5}),
    "FastGelu": (["x", "bias"], {"bias": weights(WIDTH)}, {}),
    "BiasGelu": (["x", "bias"], {"bias": weights(WIDTH)}, {}),
    "SkipLayerNormalization": (
        ["x", "x", "scale", "shift", "bias"],
        {"scale": weights(WIDTH), "shift": weights(WIDTH), "bias": weights(WIDTH)},
        {"epsilon": 1e-3},
    ),
    "SkipSimplifiedLayerNormalization": (["x", "x", "scale"], {"scale": weights(WIDTH)}, {"epsilon": 1e-3}),
}


@pytest.mark.parametrize("operator", FUSED)
def test_what_onnx_runtime_has_fused_gives_what_it_gives(tmp_path: Path, operator: str):
    inputs, constants, attributes = FUSED[operator]
    node = helper.make_node(operator, inputs, ["y"], domain="com.microsoft", **attributes)
    path = written(tmp_path / "net.onnx", [node], constants, 20)
    assert_equals_runtime(path, path, [(2, 3)], open_model(path))


def test_the_sum_before_a_fused_norm_can_be_read_on(tmp_path: Path):
    norm = helper.make_node(
        "SkipLayerNormalization", ["x", "x", "scale", "shift"], ["n", "", "", "sum"], domain="com.microsoft"
    )
    nodes = [norm, helper.make_node("Add", ["n", "sum"], ["y"])]
    path = written(tmp_path / "net.onnx", nodes, {"scale": weights(WIDTH), "shift": weights(WIDTH)}, 20)
    assert_equals_runtime(path, path, [(2, 3)], open_model(path))


def test_norms_that_onnx_runtime_simplifies_are_those_by_the_mean_square(tmp_path: Path):
    node = helper.make_node("SimplifiedLayerNormalization", ["x", "scale"], ["y"], epsilon=1e-3, axis=-1)
    path = written(tmp_path / "net.onnx", [node], {"scale": weights(WIDTH)}, 20)
    assert_equals_runtime(path, path, [(2, 3)], open_model(path))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_that_onnx_runtime_has_fused_is_a_linear_layer_and_what_follows(
    tmp_path: Path, masked: bool, causal: int
):
    constants = {"qkv.weight": weights(WIDTH, 3 * WIDTH), "qkv.bias": weights(3 * WIDTH)}
    inputs = ["x", "qkv.weight", "qkv.bias"]
    if masked:
        constants["mask"] = np.array([[1, 1, 0], [1, 1, 1]], np.int32)
        inputs.append("mask")
    how = {"num_heads": HEADS, "unidirectional": causal}
    node = helper.make_node("Attention", inputs, ["y"], domain="com.microsoft", **how)
    path = written(tmp_path / "net.onnx", [node], constants, 20)
    model = open_model(path)
    (layer,) = model.info.layers
    assert (layer.name, layer.kind, layer.shape) == ("qkv", "linear", (3 * WIDTH, WIDTH))
    assert_equals_runtime(path, path, [(2, 3)], model)
