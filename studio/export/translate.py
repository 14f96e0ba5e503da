"""How torch operators are written in ONNX where the exporter's own way does not serve."""

from collections.abc import Callable, Mapping
from typing import Any

import onnx_ir as ir
import torch
from onnxscript import opset21 as op

import studio.compression.ops  # noqa: F401 (registers the operator that is translated here)


def _dequantize(
    q: Any,
    scale: Any,
    zero_point: Any,
    axis: int,
    block_size: int,
    bits: int,
) -> Any:
    """``studio::dequantize``; `studio.export.onnx_weights` then gives the integers their final form."""
    stored, zero = (
        op.Cast(value, to=int(ir.DataType.INT4)) if bits == 4 and value is not None else value
        for value in (q, zero_point)
    )
    return op.DequantizeLinear(stored, scale, zero, axis=axis, block_size=block_size)


def _widen(half: Any) -> Any:
    """``studio::widen``, for now in the form of other stored weights, which no optimizer carries out.

    `studio.export.onnx_weights` makes it the ``Cast`` that it is.
    """
    one: Any = op.Constant(value_float=1.0)
    return op.DequantizeLinear(half, one)


def _round_blocks(x: Any, block_size: int) -> Any:  # noqa: ARG001 (as in the operator)
    """``studio::round_blocks``, which the file's ``MatMulNBits`` does by itself."""
    return op.Identity(x)


def _linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """``aten::linear``, where without a bias always as MatMul, so that a factor costs the same for any input.

    The exporter's own way writes ``Gemm`` for two-dimensional inputs even then.
    """
    if bias is not None and len(x.shape) == 2:
        return op.Gemm(x, weight, bias, transB=1)
    product = op.MatMul(x, op.Transpose(weight, perm=[1, 0]))
    return product if bias is None else op.Add(product, bias)


def _quantize_dequantize(x: Any, scale: Any, zero_point: Any) -> Any:
    """``studio::quantize_dequantize``, the pair that runtimes recognise around operators they run in integers."""
    return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero_point), scale, zero_point)


def _sort(x: Any, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:  # noqa: ARG001
    """``aten::sort.stable``: all values by ``TopK``, which puts the first of equal ones first."""
    size = op.Shape(x, start=dim, end=dim + 1 if dim != -1 else None)
    return op.TopK(x, size, axis=dim, largest=int(descending), sorted=1)


#: For `torch.onnx.export`.
TRANSLATIONS: Mapping[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.studio.dequantize.default: _dequantize,
    torch.ops.studio.widen.default: _widen,
    torch.ops.studio.round_blocks.default: _round_blocks,
    torch.ops.studio.quantize_dequantize.default: _quantize_dequantize,
    torch.ops.aten.linear.default: _linear,
    torch.ops.aten.sort.stable: _sort,
}
