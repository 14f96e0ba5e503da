"""Weights on a grid of integers: rounding that makes up for its own errors, and scales that follow it."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from studio.compression.scales import find_scales, fitted_scale
from studio.compression.solver import damped, inverse_factor, row_errors, sweep
from studio.compression.stored import integer_range

#: Turns in which scales and integers are fitted to each other.
_TURNS = 4

#: Scales of a whole tensor that are rounded to as well, as shares of the first: turns alone hardly leave where they
#: begin, as its rows want different scales.
_SHARES_OF_ONE = (0.7, 0.8, 0.9, 1.1, 1.2)


@dataclass(frozen=True, eq=False)
class Grid:
    """The values that a weight ``[out, n]`` may take: ``scale`` times integers of `bits` less a zero point.

    A *level* is such an integer less its zero point, so that the weight is ``level · scale``.

    Attributes:
        scale: float32, as in `studio.compression.stored.IntegerWeight`.
        bits: 8, 4, 3 or 2.
        block_size: inputs that share a scale, 0 without blocks.
        zero_point: int8 of the shape of `scale`; None where zero lies in the middle.
    """

    scale: Tensor
    bits: int
    block_size: int
    zero_point: Tensor | None = None

    def steps(self, out: int, columns: int) -> Tensor:
        """The scale of every weight, float64 ``[out, n]``."""
        return self._spread(self.scale, out, columns)

    def zeros(self, out: int, columns: int) -> Tensor:
        """The zero point of every weight, float64 ``[out, n]``."""
        zero_point = torch.zeros_like(self.scale) if self.zero_point is None else self.zero_point
        return self._spread(zero_point, out, columns)

    def levels(self, integers: Tensor) -> Tensor:
        """The levels that stored integers ``[out, n]`` stand for, float64."""
        return integers.double() - self.zeros(*integers.shape)

    def bounds(self, out: int, columns: int) -> tuple[Tensor, Tensor]:
        """Smallest and largest level of every weight, float64 ``[out, n]``."""
        low, high = integer_range(self.bits, symmetric=self.zero_point is None)
        zeros = self.zeros(out, columns)
        return low - zeros, high - zeros

    def _spread(self, values: Tensor, out: int, columns: int) -> Tensor:
        values = values.double()
        if self.block_size:
            return values.repeat_interleave(self.block_size, 1)[:, :columns]
        return (values[:, None] if values.dim() else values).expand(out, columns)


def find_grid(
    W: Tensor,
    bits: int,
    granularity: Literal["tensor", "channel", "group"],
    group_size: int,
    *,
    symmetric: bool = True,
) -> Grid:
    """The grid with the least squared rounding error; arguments as those of `studio.compression.scales.find_scales`."""
    scale, zero_point = find_scales(W, bits, granularity, group_size, symmetric=symmetric)
    return Grid(scale, bits, group_size if granularity == "group" else 0, zero_point)


def fit_to_grid(W: Tensor, H: Tensor | None, grid: Grid, keep: Tensor | None = None) -> tuple[Tensor, Grid]:
    """`quantize`, with the scales fitted to the inputs too.

    In turns all scales are moved to where the integers come nearest at the output (`studio.compression.scales`), and
    the weight is rounded anew. What shares its scales, a row or the whole tensor, keeps the best pair it had.

    Args:
        W: ``[groups, rows, n]``.
        H: second moment of the inputs, ``[groups, n, n]``, or None.
        grid: the scales to begin with.
        keep: Boolean of the shape of W, False where the result must be zero.

    Returns:
        The integers, int8 ``[out, n]``, and the grid that they belong to.
    """
    best, start = quantize(W, H, grid, keep), grid.scale
    if H is None:
        return best, grid
    least = _errors(W, H, best, grid)
    for share in () if grid.scale.dim() else _SHARES_OF_ONE:
        tried = replace(grid, scale=start * share)
        integers = quantize(W, H, tried, keep)
        error = _errors(W, H, integers, tried)
        if error < least:
            best, grid, least = integers, tried, error
    for _ in range(_TURNS):
        levels = grid.levels(best).reshape(W.shape)
        fitted = replace(grid, scale=fitted_scale(W, H, levels, grid.scale, grid.block_size))
        renewed = quantize(W, H, fitted, keep)
        for integers in (best, renewed):
            error = _errors(W, H, integers, fitted)
            better = error < least
            least = torch.where(better, error, least)
            grid = replace(grid, scale=torch.where(_beside(better, grid.scale), fitted.scale, grid.scale))
            best = torch.where(_beside(better, best), integers, best)
    return best, grid


def _errors(W: Tensor, H: Tensor, q: Tensor, grid: Grid) -> Tensor:
    """Output error of everything that shares no scale with others: of the rows ``[out]`` or of the whole, 0-d."""
    weight = (grid.levels(q) * grid.steps(*q.shape)).reshape(W.shape)
    errors = row_errors(W - weight, H).flatten()
    return errors if grid.scale.dim() else errors.sum()


def _beside(rows: Tensor, values: Tensor) -> Tensor:
    """Something by row ``[out]``, or 0-d, in a shape that broadcasts against `values`."""
    return rows.reshape(-1, *[1] * (values.dim() - 1)) if rows.dim() else rows


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
    low, high = (bound.reshape(W.shape) for bound in grid.bounds(groups * rows, columns))
    kept = torch.ones_like(W, dtype=torch.bool) if keep is None else keep
    nearest = (W / steps).round().clamp(low, high) * kept
    if H is None:
        return _stored(nearest, grid)
    order = H.diagonal(dim1=-2, dim2=-1).argsort(-1, descending=True)
    index = order[:, None].expand_as(W)
    ordered = [values.gather(-1, index) for values in (steps, low, high, kept)]

    def allow(column: Tensor, i: int) -> Tensor:
        step, smallest, largest, stays = (values[..., i] for values in ordered)
        return (column / step).round().clamp(smallest, largest) * step * stays

    ordered_H = H.gather(-2, order[..., None].expand_as(H)).gather(-1, order[:, None].expand_as(H))
    swept = sweep(W.gather(-1, index), inverse_factor(damped(ordered_H)), allow)
    fed_back = (torch.empty_like(W).scatter_(-1, index, swept) / steps).round()
    better = row_errors(W - fed_back * steps, H) < row_errors(W - nearest * steps, H)
    return _stored(torch.where(better[..., None], fed_back, nearest), grid)


def _stored(levels: Tensor, grid: Grid) -> Tensor:
    levels = levels.flatten(0, 1)
    return (levels + grid.zeros(*levels.shape)).to(torch.int8)
