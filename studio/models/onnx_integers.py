"""What the constant integers of a quantized ONNX file stand for, in either of the forms that quantizers write."""

from collections.abc import Mapping

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from studio.models.operators import dequantize

#: Operators that read integers, which of their inputs those are, and along which axis their scales differ.
_INTEGERS = {"DequantizeLinear": (0, 1), "QLinearConv": (3, 0), "QLinearMatMul": (3, 1), "QGemm": (3, 1)}


def quantized_input(node: onnx.NodeProto) -> str:
    """The name of the integers that `node` may be the scales of, empty where it reads none."""
    place, _ = _INTEGERS.get(node.op_type, (0, 0))
    known = node.op_type in _INTEGERS and node.domain in ("", "ai.onnx", "com.microsoft")
    return node.input[place] if known and len(node.input) > place else ""


def stands_for(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> onnx.TensorProto | None:
    """The floats that the integers of `node` amount to; None where they or their scales are no constants.

    Args:
        node: one that `quantized_input` gave a name for.
        known: constants by name.
    """
    place, axis = _INTEGERS[node.op_type]
    given = [known.get(name) for name in node.input[place : place + 3]]
    stored, scale, zero_point = [*given, None][:3] if len(given) > 1 else (None, None, None)
    named_zero = len(node.input) > place + 2 and bool(node.input[place + 2])
    if stored is None or scale is None or (zero_point is None and named_zero):
        return None
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    if attributes.get("transB", 0):
        axis = 0
    floats = dequantize(
        _tensor(stored),
        _tensor(scale),
        None if zero_point is None else _tensor(zero_point),
        attributes.get("axis", axis) if len(scale.dims) else 0,
        attributes.get("block_size", 0),
    )
    return numpy_helper.from_array(floats.numpy(), stored.name.removesuffix("_quantized"))


def _tensor(stored: onnx.TensorProto) -> Tensor:
    return torch.from_numpy(np.array(numpy_helper.to_array(stored), dtype=np.float32))
