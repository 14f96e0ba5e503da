"""Scales and zero points of integers: those with the least rounding error, and those that serve the output best."""

from typing import Literal

import torch
from torch import Tensor

from studio.compression.stored import integer_range

#: Scales that are tried, as shares of the one at which nothing is clipped; it is among them, so none is worse.
_SHARES = tuple(share / 100 for share in range(40, 101, 2))

#: The same for one end of a range that is not symmetric, once both ends have been moved together.
_SHARES_OF_AN_END = tuple(share / 100 for share in range(40, 121, 5))

_TINY = torch.finfo(torch.float32).tiny


def find_scales(
    W: Tensor,
    bits: int,
    granularity: Literal["tensor", "channel", "group"],
    group_size: int,
    *,
    symmetric: bool,
) -> tuple[Tensor, Tensor | None]:
    """Scales, and zero points unless `symmetric`, with the least squared rounding error.

    Args:
        W: ``[out, n]``.
        bits: 8, 4, 3 or 2.
        granularity: what shares a scale.
        group_size: neighbouring columns of a row that share one (only with groups); the last group may be shorter.
        symmetric: whether zero is in the middle.

    Returns:
        float32 and int8, 0-d, ``[out]`` or ``[out, blocks]``.
    """
    find = _best_scale if symmetric else _best_range
    if granularity == "tensor":
        scale, zero_point = find(W.reshape(1, -1), bits)
        return scale[0], None if zero_point is None else zero_point[0]
    if granularity == "channel":
        return find(W, bits)
    columns = W.shape[1]
    blocks = -(-columns // group_size)
    padded = torch.nn.functional.pad(W, (0, blocks * group_size - columns))
    return find(padded.reshape(len(W), blocks, group_size), bits)


def fitted_scale(W: Tensor, H: Tensor, levels: Tensor, scale: Tensor, block_size: int) -> Tensor:
    """The scales with which given levels come nearest to W at the output.

    One scale s for a row or the whole minimises ``(w − s l) H (w − s l)ᵀ`` at ``l H wᵀ / l H lᵀ``; those of the blocks
    of a row depend on each other and are moved one after the other (Gauss-Seidel), so that none makes the error larger.

    Args:
        W: ``[groups, rows, n]``.
        H: second moment of the inputs, ``[groups, n, n]``.
        levels: integers less their zero points, of the shape of W.
        scale: of now, which stays where there is no positive better one.
        block_size: columns of a block, 0 without blocks.
    """
    if block_size:
        return _fitted_blocks(W, H, levels, scale, block_size)
    seen = levels @ H
    along, power = (seen * W).sum(-1).flatten(), (seen * levels).sum(-1).flatten()
    if not scale.dim():
        along, power = along.sum(), power.sum()
    fits = (along > 0) & (power > 0)
    fitted = (along / torch.where(fits, power, 1.0)).float()
    return torch.where(fits & (fitted > _TINY), fitted, scale)


def _fitted_blocks(W: Tensor, H: Tensor, levels: Tensor, scale: Tensor, block_size: int) -> Tensor:
    scales = scale.double().reshape(*W.shape[:2], -1).clone()
    steps = scales.repeat_interleave(block_size, -1)[..., : W.shape[-1]]
    pull = (W - levels * steps) @ H
    for block in range(scales.shape[-1]):
        columns = slice(block * block_size, (block + 1) * block_size)
        q = levels[..., columns]
        seen = q @ H[:, columns]
        power = (seen[..., columns] * q).sum(-1)
        move = (pull[..., columns] * q).sum(-1) / torch.where(power > 0, power, 1.0)
        moved = scales[..., block] + move
        fits = (power > 0) & (moved > _TINY)
        scales[..., block] = torch.where(fits, moved, scales[..., block])
        pull -= torch.where(fits, move, 0.0)[..., None] * seen
    return scales.float().reshape(scale.shape)


def _best_scale(values: Tensor, bits: int) -> tuple[Tensor, None]:
    """For every row of the last dimension the scale with the least squared error, float32."""
    low, high = integer_range(bits)
    full = values.abs().amax(-1) / high
    full = torch.where(full > _TINY, full, 1.0)  # a row of zeros takes any scale
    best = full.float()
    least = torch.full_like(full, torch.inf)
    for share in _SHARES:
        scale = (full * share).float()
        error = _error(values, scale, torch.zeros_like(scale), low, high)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best, None


def _best_range(values: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """For every row scale and zero point with the least squared error: both ends of the range, then each, are moved."""
    low, high = integer_range(bits, symmetric=False)
    scale, _ = _best_scale(values, bits)
    zero_point = torch.zeros_like(scale)
    least = _error(values, scale, zero_point, low, high)
    bottom, top = values.amin(-1).clamp_max(0), values.amax(-1).clamp_min(0)
    ends = bottom, top
    for left, right in _moves():
        tried = (ends[0] if left is None else bottom * left), (ends[1] if right is None else top * right)
        span = (tried[1] - tried[0]) / (high - low)
        step = torch.where(span > _TINY, span, 1.0).float()
        zero = (low - tried[0] / step.double()).round().clamp(low, high).float()
        error = _error(values, step, zero, low, high)
        better = error < least
        ends = torch.where(better, tried[0], ends[0]), torch.where(better, tried[1], ends[1])
        scale, zero_point = torch.where(better, step, scale), torch.where(better, zero, zero_point)
        least = torch.minimum(error, least)
    return scale, zero_point.to(torch.int8)


def _moves() -> list[tuple[float | None, float | None]]:
    """Shares of the lower and upper end to try in turn; None keeps the best one so far."""
    together: list[tuple[float | None, float | None]] = [(share, share) for share in _SHARES]
    return together + [(share, None) for share in _SHARES_OF_AN_END] + [(None, share) for share in _SHARES_OF_AN_END]


def _error(values: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    """Squared rounding error of every row."""
    step, zero = scale.double()[..., None], zero_point.double()[..., None]
    return ((values / step).round().clamp(low - zero, high - zero) * step - values).square().sum(-1)
