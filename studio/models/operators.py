"""Tensor functions that imported graphs call where torch has no function of the same meaning.

They live at module level because a graph names its functions by import path. Sizes may be symbolic: nothing here
branches on a free dimension, so that a graph can be exported with a free batch.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

#: ONNX writes "to the end" as the largest integer it has.
_TO_THE_END = 2**31 - 1


def reshape(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Reshapes, a size of 0 copying the input's size at that place (ONNX ``Reshape`` with ``allowzero = 0``)."""
    return x.reshape([x.shape[i] if isinstance(n, int) and n == 0 else n for i, n in enumerate(shape)])


def expand(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Broadcasts both ways: a size of 1 in `shape` keeps the input's size."""
    missing = len(shape) - x.dim()
    kept = [1] * missing + list(x.shape)
    target = [1] * -missing + list(shape)
    return x.expand(
        [have if isinstance(want, int) and want == 1 else want for have, want in zip(kept, target, strict=True)]
    )


def flatten(x: Tensor, axis: int) -> Tensor:
    """A matrix of the dimensions before and from `axis` on (ONNX ``Flatten``)."""
    axis = axis % x.dim() if axis < 0 else axis
    if axis in (0, x.dim()):
        return x.reshape(1, -1) if axis == 0 else x.reshape(-1, 1)
    return x.flatten(axis).flatten(0, axis - 1)


def squeeze(x: Tensor, axes: Sequence[int] | None) -> Tensor:
    """Drops the dimensions `axes`, or all of size 1."""
    return x.squeeze() if axes is None else x.squeeze(tuple(axes))


def unsqueeze(x: Tensor, axes: Sequence[int]) -> Tensor:
    """Inserts dimensions of size 1 so that they stand at `axes` of the result."""
    rank = x.dim() + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, order: Sequence[int] | None) -> Tensor:
    """Permutes the dimensions; without an order, reverses them."""
    return x.permute(list(order) if order is not None else list(reversed(range(x.dim()))))


def slice_(x: Tensor, starts: Sequence[int], ends: Sequence[int], axes: Sequence[int], steps: Sequence[int]) -> Tensor:
    """Python slicing along `axes`; a negative step walks backwards."""
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        x = _forwards(x, start, end, axis, step) if step > 0 else _backwards(x, start, end, axis, step)
    return x


def _forwards(x: Tensor, start: int, end: int, axis: int, step: int) -> Tensor:
    index = [slice(None)] * x.dim()
    index[axis] = slice(start, None if isinstance(end, int) and end >= _TO_THE_END else end, step)
    return x[tuple(index)]


def _backwards(x: Tensor, start: int, end: int, axis: int, step: int) -> Tensor:
    places = range(x.shape[axis])[max(start, -_TO_THE_END) : (None if end < -_TO_THE_END else end) : step]
    return x.index_select(axis, torch.tensor(list(places), dtype=torch.int64))


def gather(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Picks `indices` (any shape) along `axis`; negative ones count from the end."""
    axis = axis % x.dim()
    indices = torch.where(indices < 0, indices + x.shape[axis], indices)
    picked = x.index_select(axis, indices.reshape(-1))
    return picked.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


def gather_elements(x: Tensor, indices: Tensor, axis: int) -> Tensor:
    """Picks one value along `axis` for each of `indices`; negative ones count from the end."""
    return torch.gather(x, axis, torch.where(indices < 0, indices + x.shape[axis], indices))


def gather_nd(x: Tensor, indices: Tensor, batch: int) -> Tensor:
    """Picks ``x[i₀, i₁, …]`` for each last dimension of `indices`, sample by sample of `batch` common dimensions."""
    places = list(indices.movedim(-1, 0))
    around = [
        torch.arange(x.shape[axis]).reshape([-1 if i == axis else 1 for i in range(indices.dim() - 1)])
        for axis in range(batch)
    ]
    return x[(*around, *places)]


def one_hot(indices: Tensor, depth: int, values: Tensor, axis: int) -> Tensor:
    """A new dimension of `depth` at `axis`: ``values[1]`` where the index points, ``values[0]`` everywhere else.

    A negative index counts from the end; one outside points nowhere.
    """
    indices = torch.where(indices < 0, indices + depth, indices)
    hit = indices.unsqueeze(-1) == torch.arange(depth)
    return torch.where(hit, values[1], values[0]).movedim(-1, axis)


def cumulative_sum(x: Tensor, axis: int, exclusive: bool, reverse: bool) -> Tensor:
    """Running sum along `axis`, without the value itself when `exclusive`, from the end when `reverse`."""
    total = torch.cumsum(x.flip(axis) if reverse else x, axis)
    total = total.flip(axis) if reverse else total
    return total - x if exclusive else total


def split_evenly(x: Tensor, parts: int, axis: int) -> tuple[Tensor, ...]:
    """In `parts` of the same size, the last one smaller where it does not come out even."""
    return torch.split(x, -(-x.shape[axis] // parts), axis)


def pad(x: Tensor, pads: Sequence[int], mode: str, value: float, axes: Sequence[int] | None) -> Tensor:
    """Pads by ONNX's order ``[begin…, end…]`` along `axes` (default: all)."""
    rank, half = x.dim(), len(pads) // 2
    before_after = {
        a % rank: (pads[i], pads[i + half]) for i, a in enumerate(axes if axes is not None else range(rank))
    }
    amounts = [before_after.get(axis, (0, 0)) for axis in reversed(range(rank))]
    if mode == "constant":
        return F.pad(x, [n for pair in amounts for n in pair], value=value)
    while amounts and amounts[-1] == (0, 0):
        amounts.pop()
    return F.pad(
        x, [n for pair in amounts for n in pair], mode={"edge": "replicate", "wrap": "circular"}.get(mode, mode)
    )


def cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """The same values in another dtype."""
    return x.to(dtype)


def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None, axis: int, block_size: int) -> Tensor:
    """What integers stand for, ``(x − zero_point) · scale``.

    Args:
        x: integers.
        scale: a single one, one for each place along `axis`, or with blocks one for every `block_size` places there.
        zero_point: of the shape of `scale`; None for 0.
        axis: along which scales differ.
        block_size: 0 without blocks.
    """

    def spread(values: Tensor) -> Tensor:
        if block_size:
            return values.repeat_interleave(block_size, axis).narrow(axis, 0, x.shape[axis])
        return values.reshape([-1 if place == axis % x.dim() else 1 for place in range(x.dim())]) if x.dim() else values

    shifted = x.float() if zero_point is None else x.float() - spread(zero_point).float()
    return shifted * spread(scale)


def divide(x: Tensor, y: Tensor) -> Tensor:
    """True division, or for integers division that rounds towards zero."""
    if x.is_floating_point() or y.is_floating_point():
        return torch.div(x, y)
    return torch.div(x, y, rounding_mode="trunc")


def remainder(x: Tensor, y: Tensor, fmod: bool) -> Tensor:
    """The sign follows `y`, or `x` with `fmod`."""
    return torch.fmod(x, y) if fmod else torch.remainder(x, y)


def selu(x: Tensor, alpha: float, gamma: float) -> Tensor:
    """``gamma · elu(x)``."""
    return gamma * F.elu(x, alpha)


def arg_extreme(x: Tensor, largest: bool, axis: int, keepdims: bool, last: bool) -> Tensor:
    """Where along `axis` the largest or smallest value is, the first or the `last` of equal ones."""
    function = torch.argmax if largest else torch.argmin
    if not last:
        return function(x, axis, keepdims)
    return x.shape[axis] - 1 - function(x.flip(axis), axis, keepdims)


def top_k(x: Tensor, k: int, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
    """The `k` largest or smallest values along `axis` and where they are, of equal ones the first."""
    values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
    return values.narrow(axis, 0, k), places.narrow(axis, 0, k)


def shrink(x: Tensor, limit: float, bias: float) -> Tensor:
    """``x + bias`` below ``-limit``, ``x - bias`` above ``limit``, else zero."""
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, torch.zeros_like(x)))


def rms_norm(x: Tensor, weight: Tensor, axis: int, epsilon: float) -> Tensor:
    """``x / √(mean(x²) + ε) · weight`` over the dimensions from `axis` on."""
    axes = tuple(range(axis % x.dim(), x.dim()))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + epsilon) * weight


def layer_statistics(x: Tensor, dimensions: int, epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean and ``1 / √(variance + ε)`` over the last `dimensions`, which stay with size 1."""
    axes = tuple(range(-dimensions, 0))
    variance = x.var(axes, correction=0, keepdim=True)
    return x.mean(axes, keepdim=True), torch.rsqrt(variance + epsilon)


def group_norm(x: Tensor, groups: int, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Normalises groups of channels, with one scale and shift for each group (ONNX before opset 21)."""
    each = x.shape[1] // groups
    return F.group_norm(x, groups, weight.repeat_interleave(each), bias.repeat_interleave(each), epsilon)


def hard_sigmoid(x: Tensor, alpha: float, beta: float) -> Tensor:
    """``clamp(alpha·x + beta, 0, 1)``."""
    return torch.clamp(alpha * x + beta, 0, 1)


def leaky(x: Tensor, slope: Tensor) -> Tensor:
    """``x`` where positive, ``slope·x`` elsewhere; `slope` broadcasts (ONNX ``PRelu``)."""
    return torch.where(x >= 0, x, slope * x)


def swish(x: Tensor, alpha: float) -> Tensor:
    """``x · sigmoid(alpha·x)``."""
    return x * torch.sigmoid(alpha * x)


def global_average_pool(x: Tensor) -> Tensor:
    """Mean over all dimensions behind the channels, which stay with size 1."""
    return x.mean(tuple(range(2, x.dim())), keepdim=True)


def global_max_pool(x: Tensor) -> Tensor:
    """Maximum over all dimensions behind the channels, which stay with size 1."""
    return x.amax(tuple(range(2, x.dim())), keepdim=True)


def average_of_present(
    x: Tensor, pads: Sequence[int], kernel: Sequence[int], stride: Sequence[int], ceil: bool
) -> Tensor:
    """Average pooling over what lies inside the image, for padding that differs between the sides."""
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(kernel) - 1]
    inside = F.pad(torch.ones_like(x), list(pads))
    return pool(F.pad(x, list(pads)), list(kernel), list(stride), 0, ceil) / pool(
        inside, list(kernel), list(stride), 0, ceil
    )


def softmax_from(x: Tensor, axis: int) -> Tensor:
    """Softmax over all dimensions from `axis` on together (ONNX ``Softmax`` before opset 13)."""
    return torch.softmax(x.flatten(axis), -1).reshape(x.shape) if axis != -1 else torch.softmax(x, -1)


def depth_to_space(x: Tensor, block: int, mode: str) -> Tensor:
    """Moves blocks of channels into ``block × block`` pixels: ``[N, C·b·b, H, W]`` → ``[N, C, H·b, W·b]``."""
    if mode == "CRD":
        return F.pixel_shuffle(x, block)
    n, c, h, w = x.shape
    blocks = x.reshape(n, block, block, c // block**2, h, w)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(n, c // block**2, h * block, w * block)


def space_to_depth(x: Tensor, block: int, mode: str) -> Tensor:
    """The inverse of `depth_to_space`."""
    if mode == "CRD":
        return F.pixel_unshuffle(x, block)
    n, c, h, w = x.shape
    blocks = x.reshape(n, c, h // block, block, w // block, block)
    return blocks.permute(0, 3, 5, 1, 2, 4).reshape(n, c * block**2, h // block, w // block)


def multiply_along(x: Tensor, matrix: Tensor, axis: int) -> Tensor:
    """`matrix` ``[out, in]`` times every run of values along `axis`."""
    return torch.movedim(torch.movedim(x, axis, -1) @ matrix.T, -1, axis)


def reduce(x: Tensor, how: str, axes: Sequence[int] | None, keepdims: bool) -> Tensor:
    """One of ONNX's ``Reduce…`` operators over `axes` (default: all)."""
    dims = list(axes) if axes is not None else list(range(x.dim()))
    if how == "Mean":
        return x.mean(dims, keepdim=keepdims)
    if how == "Sum":
        return x.sum(dims, keepdim=keepdims)
    if how == "Max":
        return x.amax(dims, keepdim=keepdims)
    if how == "Min":
        return x.amin(dims, keepdim=keepdims)
    if how == "L1":
        return x.abs().sum(dims, keepdim=keepdims)
    if how == "L2":
        return x.square().sum(dims, keepdim=keepdims).sqrt()
    if how == "SumSquare":
        return x.square().sum(dims, keepdim=keepdims)
    if how == "LogSum":
        return x.sum(dims, keepdim=keepdims).log()
    if how == "LogSumExp":
        return torch.logsumexp(x, dims, keepdim=keepdims)
    for axis in sorted((axis % x.dim() for axis in dims), reverse=True):
        x = x.prod(axis, keepdim=keepdims)
    return x
