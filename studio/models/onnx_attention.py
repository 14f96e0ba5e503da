"""ONNX operators of transformers that newer exporters write as one node."""

from typing import Any

import torch

from studio.models import attention as transformer
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator

ATTENTION = Table()


@ATTENTION("Attention")
def attention(bench: Workbench, op: Operator) -> Any:
    """Every head, with earlier keys and values where the model keeps them."""
    window = (op.get("left_window_size", -1), op.get("right_window_size", -1))
    heads = (op.get("q_num_heads"), op.get("kv_num_heads"))
    return bench.parts(
        transformer.attention,
        4,
        *(bench.tensor(op, place) for place in range(7)),
        heads,
        op.get("scale"),
        bool(op.get("is_causal", 0)),
        op.get("softcap", 0.0),
        window,
        op.get("qk_matmul_output_mode", 0),
    )


@ATTENTION("RotaryEmbedding")
def rotary_embedding(bench: Workbench, op: Operator) -> Any:
    """Positions as angles."""
    tensors = [bench.tensor(op, place) for place in range(4)]
    how = (op.get("num_heads", 0), op.get("rotary_embedding_dim", 0), bool(op.get("interleaved", 0)))
    return bench.call(transformer.rotate, *tensors, *how)


@ATTENTION("SwiGLU")
def swiglu(bench: Workbench, op: Operator) -> Any:
    """One input through ``x · sigmoid(alpha·x)``, times the other."""
    x, alpha = bench.tensor(op, 0), op.get("alpha", 1.0)
    gate = bench.call(torch.sigmoid, bench.call(torch.mul, x, alpha))
    return bench.call(torch.mul, bench.call(torch.mul, x, gate), bench.tensor(op, 1))
