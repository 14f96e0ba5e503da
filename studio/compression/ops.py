"""The arithmetic of stored weights: custom ops whose eager bodies are what the exported file computes.

`torch.export` keeps ``studio::dequantize`` as one node, so that the exporter can turn it into exactly one
``DequantizeLinear`` with integer initializers (`studio.export.translate`). Training does not pass through it:
the compressed layers hold their latent weights themselves (`studio.compression.stored`).
"""

from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("studio::dequantize", mutates_args=())
def dequantize(
    q: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    axis: int,
    block_size: int,
    bits: int,  # noqa: ARG001 (read by the exporter)
) -> Tensor:
    """Turns stored integers back into weights, ``(q - zero_point) * scale``, bit for bit as ONNX does.

    The formula is that of ONNX `DequantizeLinear
    <https://onnx.ai/onnx/operators/onnx__DequantizeLinear.html>`_ with float32 scales.

    Args:
        q: int8 ``[out, n]`` (any shape); 4-bit values are held in ``-8..7``.
        scale: float32, 0-d for one scale, ``[q.shape[axis]]`` for one each along `axis`, or, blocked, the
            shape of `q` with ``ceil(q.shape[axis] / block_size)`` along `axis`.
        zero_point: int8 of the same shape as `scale`; None for zero.
        axis: the axis that `scale` runs along; ignored for one scale.
        block_size: neighbours along `axis` that share a scale, the last block may be shorter; 0: no blocks.
        bits: width of a stored integer in the exported file, 8 or 4; makes no difference to the value.

    Returns:
        float32 of the shape of `q`.
    """
    factor = spread_scale(scale, q, axis, block_size)
    if zero_point is None:
        return q.to(torch.float32) * factor
    return (q.to(torch.int16) - spread_scale(zero_point, q, axis, block_size)).to(torch.float32) * factor


@dequantize.register_fake
def _(q: Tensor, *_: object) -> Tensor:
    return torch.empty(q.shape, dtype=torch.float32, device=q.device)


def spread_scale(parameter: Tensor, q: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point in a shape that broadcasts against `q`; arguments as those of `dequantize`."""
    if block_size:
        return parameter.repeat_interleave(block_size, axis).narrow(axis, 0, q.shape[axis])
    if parameter.dim() == 0:
        return parameter
    return parameter.reshape([-1 if position == axis else 1 for position in range(q.dim())])


@torch.library.custom_op("studio::widen", mutates_args=())
def widen(half: Tensor) -> Tensor:
    """Floats of 16 bits as float32, every value exactly, as ONNX ``Cast`` does.

    An operator of its own because an exporter would carry out a cast of constants and write float32.
    """
    return half.to(torch.float32)


@widen.register_fake
def _(half: Tensor) -> Tensor:
    return torch.empty(half.shape, dtype=torch.float32, device=half.device)


@torch.library.custom_op("studio::round_blocks", mutates_args=())
def round_blocks(x: Tensor, block_size: int) -> Tensor:
    """Inputs as ONNX Runtime's ``MatMulNBits`` rounds them to 8 bits (``accuracy_level`` 4): symmetric, by block.

    The scale of a block is its largest value by 127. Gradients pass straight through.

    Args:
        x: ``[..., n]``.
        block_size: neighbours along the last axis that share a scale; the last block may be shorter.
    """
    columns = x.shape[-1]
    blocks = torch.nn.functional.pad(x, (0, -columns % block_size)).reshape(*x.shape[:-1], -1, block_size)
    largest = blocks.abs().amax(-1, keepdim=True)
    inverse = torch.where(largest > 0, 127 / largest, 0.0)
    rounded: Tensor = (blocks * inverse).round() * (largest / 127)
    return rounded.flatten(-2)[..., :columns].contiguous()


@round_blocks.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)


def _all_through(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG001
    return gradient, None


round_blocks.register_autograd(_all_through)


@torch.library.custom_op("studio::quantize_dequantize", mutates_args=())
def quantize_dequantize(x: Tensor, scale: Tensor, zero_point: Tensor) -> Tensor:
    """Every value at the nearest of 256 levels, as ONNX `QuantizeLinear` and `DequantizeLinear` in a row give it.

    Gradients pass straight through the rounding, none where a value is clipped (Bengio et al. 2013, arXiv 1308.3432).

    Args:
        x: any shape.
        scale: float32, 0-d: distance of two levels.
        zero_point: uint8, 0-d: number of the level that is zero.

    Returns:
        Of the shape and dtype of `x`.
    """
    shift = zero_point.to(torch.float32)
    return (((x / scale).round() + shift).clamp(0, 255) - shift) * scale


@quantize_dequantize.register_fake
def _(x: Tensor, *_: object) -> Tensor:
    return torch.empty_like(x)


def _remember_what_is_inside(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG001
    x, scale, zero_point = inputs
    level = (x / scale).round() + zero_point.to(torch.float32)
    ctx.save_for_backward((level >= 0) & (level <= 255))


def _straight_through(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
    (inside,) = ctx.saved_tensors
    return gradient * inside, None, None


quantize_dequantize.register_autograd(_straight_through, setup_context=_remember_what_is_inside)


#: Kinds of devices on which parts of a network may run in 16 bits while it trains.
_MIXED = ("cpu", "cuda", "mps")


def _round_in_float32() -> None:
    """Has activations rounded in float32 where the layers around them multiply in 16 bits.

    Levels and what lies half-way between two of them would not be told apart otherwise.
    """
    for device in filter(torch.amp.is_autocast_available, _MIXED):
        quantize_dequantize.register_autocast(device, torch.float32)
        round_blocks.register_autocast(device, torch.float32)


_round_in_float32()
