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
    order = None if H is None else _Order.by_power(W, H)
    best, start = _rounded(W, H, grid, keep, order), grid.scale
    if H is None:
        return best, grid
    least = _errors(W, H, best, grid)
    for share in () if grid.scale.dim() else _SHARES_OF_ONE:
        tried = replace(grid, scale=start * share)
        integers = _rounded(W, H, tried, keep, order)
        error = _errors(W, H, integers, tried)
        if error < least:
            best, grid, least = integers, tried, error
    for _ in range(_TURNS):
        levels = grid.levels(best).reshape(W.shape)
        fitted = replace(grid, scale=fitted_scale(W, H, levels, grid.scale, grid.block_size))
        renewed = _rounded(W, H, fitted, keep, order)
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
    return _rounded(W, H, grid, keep, None if H is None else _Order.by_power(W, H))


@dataclass(frozen=True, eq=False)
class _Order:
    """The columns of a weight in the order in which they are rounded, whatever the grid.

    Attributes:
        index: of the columns, of the shape of W.
        W: in that order.
        factor: `inverse_factor` of the damped second moment in that order.
    """

    index: Tensor
    W: Tensor
    factor: Tensor

    @classmethod
    def by_power(cls, W: Tensor, H: Tensor) -> "_Order":
        """The columns with most input power first."""
        order = H.diagonal(dim1=-2, dim2=-1).argsort(-1, descending=True)
        index = order[:, None].expand_as(W)
        ordered = H.gather(-2, order[..., None].expand_as(H)).gather(-1, order[:, None].expand_as(H))
        return cls(index, W.gather(-1, index), inverse_factor(damped(ordered)))

    def columns(self, values: Tensor) -> tuple[Tensor, ...]:
        """Values of the shape of W, column by column ``[groups, rows]``."""
        return values.gather(-1, self.index).movedim(-1, 0).contiguous().unbind()

    def back(self, values: Tensor) -> Tensor:
        """Values in this order as they were."""
        return torch.empty_like(values).scatter_(-1, self.index, values)


def _rounded(W: Tensor, H: Tensor | None, grid: Grid, keep: Tensor | None, order: _Order | None) -> Tensor:
    groups, rows, columns = W.shape
    steps = grid.steps(groups * rows, columns).reshape(W.shape)
    low, high = (bound.reshape(W.shape) for bound in grid.bounds(groups * rows, columns))
    nearest = (W / steps).round().clamp(low, high)
    if keep is not None:
        nearest = nearest * keep
    if H is None or order is None:
        return _stored(nearest, grid)
    step, smallest, largest = map(order.columns, (steps, low, high))
    stays = order.columns(keep) if keep is not None else None

    def allow(column: Tensor, i: int) -> Tensor:
        value = (column / step[i]).round_().clamp_(smallest[i], largest[i]).mul_(step[i])
        return value if stays is None else value.mul_(stays[i])

    fed_back = (order.back(sweep(order.W, order.factor, allow)) / steps).round()
    better = row_errors(W - fed_back * steps, H) < row_errors(W - nearest * steps, H)
    return _stored(torch.where(better[..., None], fed_back, nearest), grid)


def _stored(levels: Tensor, grid: Grid) -> Tensor:
    levels = levels.flatten(0, 1)
    return (levels + grid.zeros(*levels.shape)).to(torch.int8)
