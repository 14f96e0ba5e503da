"""Weights on a grid of integers: the search for scales, and rounding that makes up for its own errors."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studio.compression.solver import damped, inverse_factor, row_errors, sweep
from studio.compression.stored import INTEGER_RANGE

#: Turns in which scales and integers are fitted to each other.
_TURNS = 4

#: Scales that are tried, as shares of the one at which nothing is clipped; it is among them, so none is worse.
_SHARES = tuple(share / 100 for share in range(40, 101, 2))


@dataclass(frozen=True, eq=False)
class Grid:
    """The values that a weight ``[out, n]`` may take: ``scale`` times the integers of `bits`.

    Attributes:
        scale: float32, as in `studio.compression.stored.IntegerWeight`.
        bits: 8, 4, 3 or 2.
        block_size: inputs that share a scale, 0 without blocks.
    """

    scale: Tensor
    bits: int
    block_size: int

    def steps(self, out: int, columns: int) -> Tensor:
        """The scale of every weight, float64 ``[out, n]``."""
        scale = self.scale.double()
        if self.block_size:
            return scale.repeat_interleave(self.block_size, 1)[:, :columns]
        return (scale[:, None] if scale.dim() else scale).expand(out, columns)

    def integers(self, values: Tensor) -> Tensor:
        """The nearest allowed integers of `values` that are already divided by their scales."""
        return values.round().clamp(*INTEGER_RANGE[self.bits])


def find_grid(W: Tensor, bits: int, granularity: Literal["tensor", "channel", "group"], group_size: int) -> Grid:
    """Scales with the least squared rounding error.

    Args:
        W: ``[out, n]``.
        bits: 8, 4, 3 or 2.
        granularity: what shares a scale.
        group_size: neighbouring columns of a row that share one (only with groups); the last group may be shorter.
    """
    if granularity == "tensor":
        return Grid(_best_scale(W.reshape(1, -1), bits)[0], bits, 0)
    if granularity == "channel":
        return Grid(_best_scale(W, bits), bits, 0)
    columns = W.shape[1]
    blocks = -(-columns // group_size)
    padded = torch.nn.functional.pad(W, (0, blocks * group_size - columns))
    return Grid(_best_scale(padded.reshape(len(W), blocks, group_size), bits), bits, group_size)


def fit_to_grid(W: Tensor, H: Tensor | None, grid: Grid, keep: Tensor | None = None) -> tuple[Tensor, Grid]:
    """`quantize`, with the scales of channels fitted to the inputs too.

    In turns every row gets the scale with which its integers come nearest at the output, ``q H wᵀ / q H qᵀ``, and is
    rounded anew; a row keeps the best pair it had. Scales that channels share stay as they are.

    Args:
        W: ``[groups, rows, n]``.
        H: second moment of the inputs, ``[groups, n, n]``, or None.
        grid: the scales to begin with.
        keep: Boolean of the shape of W, False where the result must be zero.

    Returns:
        The integers, int8 ``[out, n]``, and the grid that they belong to.
    """
    best = quantize(W, H, grid, keep)
    if H is None or grid.scale.dim() != 1:
        return best, grid
    scale = grid.scale
    least = _errors(W, H, best, scale)
    for _ in range(_TURNS):
        fitted = _fitted_scale(W, H, best, scale)
        renewed = quantize(W, H, Grid(fitted, grid.bits, 0), keep)
        for integers in (best, renewed):
            error = _errors(W, H, integers, fitted)
            better = error < least
            least = torch.where(better, error, least)
            scale = torch.where(better, fitted, scale)
            best = torch.where(better[:, None], integers, best)
    return best, Grid(scale, grid.bits, 0)


def _errors(W: Tensor, H: Tensor, q: Tensor, scale: Tensor) -> Tensor:
    """Output error of every row ``[out]`` for integers with one scale a row."""
    weight = q.double() * scale.double()[:, None]
    return row_errors(W - weight.reshape(W.shape), H).flatten()


def _fitted_scale(W: Tensor, H: Tensor, q: Tensor, scale: Tensor) -> Tensor:
    """The best scale ``[out]`` for given integers; `scale` where there is no positive one."""
    integers = q.double().reshape(W.shape)
    seen = integers @ H
    along, power = (seen * W).sum(-1).flatten(), (seen * integers).sum(-1).flatten()
    fits = (along > 0) & (power > 0)
    fitted = (along / torch.where(fits, power, 1.0)).float()
    return torch.where(fits & (fitted > torch.finfo(torch.float32).tiny), fitted, scale)


def quantize(W: Tensor, H: Tensor | None, grid: Grid, keep: Tensor | None = None) -> Tensor:
    """Rounds a weight to its grid: to the nearest, or with H so that later columns make up for the errors.

    Columns go in the order of falling input power; a row for which plain rounding does better keeps that.

    Args:
        W: ``[groups, rows, n]``.
        H: second moment of the inputs, ``[groups, n, n]``, or None.
        grid: what is allowed.
        keep: Boolean of the shape of W, False where the result must be zero.

    Returns:
        The integers, int8 ``[out, n]``.
    """
    groups, rows, columns = W.shape
    steps = grid.steps(groups * rows, columns).reshape(W.shape)
    kept = torch.ones_like(W, dtype=torch.bool) if keep is None else keep
    nearest = grid.integers(W / steps) * kept
    if H is None:
        return _stored(nearest)
    order = H.diagonal(dim1=-2, dim2=-1).argsort(-1, descending=True)
    index = order[:, None].expand_as(W)
    ordered_steps, ordered_keep = steps.gather(-1, index), kept.gather(-1, index)

    def allow(column: Tensor, i: int) -> Tensor:
        step = ordered_steps[..., i]
        return grid.integers(column / step) * step * ordered_keep[..., i]

    ordered_H = H.gather(-2, order[..., None].expand_as(H)).gather(-1, order[:, None].expand_as(H))
    swept = sweep(W.gather(-1, index), inverse_factor(damped(ordered_H)), allow)
    fed_back = (torch.empty_like(W).scatter_(-1, index, swept) / steps).round()
    better = row_errors(W - fed_back * steps, H) < row_errors(W - nearest * steps, H)
    return _stored(torch.where(better[..., None], fed_back, nearest))


def _stored(integers: Tensor) -> Tensor:
    return integers.flatten(0, 1).to(torch.int8)


def _best_scale(values: Tensor, bits: int) -> Tensor:
    """For every row of the last dimension the scale with the least squared error, float32."""
    low, high = INTEGER_RANGE[bits]
    full = values.abs().amax(-1) / high
    full = torch.where(full > torch.finfo(torch.float32).tiny, full, 1.0)  # a row of zeros takes any scale
    best = full.float()
    least = torch.full_like(full, torch.inf)
    for share in _SHARES:
        scale = (full * share).float()
        step = scale.double()[..., None]
        error = ((values / step).round().clamp(low, high) * step - values).square().sum(-1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best
