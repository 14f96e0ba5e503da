"""Which range of an activation its 256 levels should span: four ways to choose it from samples.

A narrow range makes small steps and clips what lies outside; a wide one clips nothing and rounds coarsely. Every
range holds zero, which must be a level: padding and ReLU yield it.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from studio.compression.ops import quantize_dequantize

#: How a range is chosen.
RangeMethod = Literal["minmax", "percentile", "mse", "entropy"]

#: Largest value of an unsigned 8-bit integer.
LEVELS = 255

#: Per cent of the values that a percentile range holds.
PERCENTILE = 99.99

#: Bins of the histogram whose beginnings the entropy search compares, and fewest that it keeps.
_BINS, _FEWEST = 2048, 128

#: Bins that stand for all values in the search for the least squared error: 64 to a level.
_FINE_BINS = 64 * 256

#: Values that are counted at once.
_SLICE = 2**20

#: Ranges that are tried for the least squared error, as shares of the whole one, which is among them.
_SHARES = tuple(share / 100 for share in range(30, 101))


@dataclass(frozen=True)
class Levels:
    """The values ``(q − zero_point) · scale`` for q in 0..255."""

    scale: float
    zero_point: int


def find_levels(values: Tensor, method: RangeMethod) -> Levels:
    """The levels for an activation of which `values` (any shape, not empty) are samples."""
    flat = values.detach().flatten()
    low, high = min(float(flat.min()), 0.0), max(float(flat.max()), 0.0)
    if low == high:
        return Levels(1.0, 0)
    if method == "percentile":
        low, high = _percentile(flat)
    elif method == "mse":
        low, high = _least_squares(flat, low, high)
    elif method == "entropy":
        low, high = _entropy(flat.double(), low, high)
    return levels_between(low, high)


def levels_between(low: float, high: float) -> Levels:
    """Levels from `low` to `high`, widened to hold zero and moved so that zero is one of them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(torch.tensor((high - low) / LEVELS, dtype=torch.float32))
    if scale < torch.finfo(torch.float32).tiny:
        return Levels(1.0, 0)
    return Levels(scale, min(LEVELS, max(0, round(-low / scale))))


def rounded(values: Tensor, levels: Levels) -> Tensor:
    """Every value at its nearest level."""
    scale, zero_point = torch.tensor(levels.scale), torch.tensor(levels.zero_point, dtype=torch.uint8)
    on_levels: Tensor = quantize_dequantize(values, scale, zero_point)
    return on_levels


def _percentile(values: Tensor) -> tuple[float, float]:
    """What holds `PERCENTILE` per cent of the values, the same share left out at either end that has outliers."""
    outside = len(values) * (100 - PERCENTILE) / 100
    ordered = values.sort().values
    left_out = int(outside)
    return float(ordered[left_out]), float(ordered[len(values) - 1 - left_out])


def _least_squares(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """The share of the whole range with the least squared error of rounding and clipping together.

    The values are counted in fine bins once, so that every share is tried on the middles of the bins. Zeros, half of
    what a ReLU gives, are left out: they are met exactly at any scale.
    """
    counts = _counts(values, low, high)
    width = (high - low) / _FINE_BINS
    middles = low + width * (torch.arange(_FINE_BINS, dtype=torch.float64) + 0.5)

    def error(share: float) -> float:
        off = rounded(middles, levels_between(share * low, share * high)) - middles
        return float((counts * off.square()).sum())

    best = min(reversed(_SHARES), key=error)
    return best * low, best * high


def _counts(values: Tensor, low: float, high: float) -> Tensor:
    """How many values other than zero lie in each fine bin, float64; counted in slices, whose counts float32 holds."""
    counts = torch.zeros(_FINE_BINS, dtype=torch.float64)
    for part in torch.split(values, _SLICE):
        counts += torch.histc(part, _FINE_BINS, low, high)
    of_zero = torch.histc(values.new_zeros(1), _FINE_BINS, low, high)
    return counts - of_zero.double() * int((values == 0).sum())


def _entropy(values: Tensor, low: float, high: float) -> tuple[float, float]:
    """The share of the range at which clipped and rounded magnitudes are distributed most like the whole ones.

    Kullback-Leibler divergence over a histogram of magnitudes (S. Migacz, "8-bit inference with TensorRT", 2017).
    Zeros are left out: they are met exactly at any scale, while among the bins of the lowest level the many that a ReLU
    gives would look like a loss that only a narrower range can lessen.
    """
    widest = max(-low, high)
    counts = torch.histc(values[values != 0].abs(), _BINS, 0.0, widest)
    levels = (LEVELS + 1) // 2 if low < 0 < high else LEVELS + 1
    kept = min(range(_BINS, min(_FEWEST, levels) - 1, -1), key=lambda bins: divergence(counts, bins, levels))
    limit = widest * kept / _BINS
    return max(low, -limit), min(high, limit)


def divergence(counts: Tensor, bins: int, levels: int) -> float:
    """``KL(P ‖ Q)`` in nats of a histogram whose first `bins` are told apart by only `levels` levels.

    P is the histogram with all that lies beyond added to its last bin; Q spreads the count of each level evenly over
    those of its bins that are not empty. Infinite where Q has nothing and P something.

    Args:
        counts: ``[n]``, not negative.
        bins: 1..n.
        levels: at least 1.
    """
    inside = counts[:bins].double()
    clipped = inside.clone()
    clipped[-1] += counts[bins:].sum()
    level = torch.arange(bins) * min(levels, bins) // bins
    sums, filled = (
        torch.zeros(min(levels, bins), dtype=torch.float64).index_add_(0, level, part)
        for part in (inside, (inside > 0).double())
    )
    spread = torch.where(inside > 0, (sums / filled.clamp_min(1))[level], 0.0)
    if spread.sum() == 0 or bool(((clipped > 0) & (spread == 0)).any()):
        return float("inf")
    p, q = clipped / clipped.sum(), spread / spread.sum()
    return float(torch.special.xlogy(p, torch.where(p > 0, p / q.clamp_min(1e-300), 1.0)).sum())
