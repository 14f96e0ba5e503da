"""What a distortion of the outputs is expected to cost: the drops of a scan's points, made monotone."""

from collections.abc import Iterable

import numpy as np
from scipy.optimize import isotonic_regression

from studio.evaluation.sensitivity import ScanPoint


class ExpectedDrop:
    """The drop as a function of the distortion.

    Single drops of a few samples are noisy; together they tell it well. The function is the isotonic regression of
    all points (weighted by their samples, with no drop at no distortion), linear in between.

    Args:
        points: of a scan; those whose drop is beyond all numbers tell nothing of the others.
    """

    def __init__(self, points: Iterable[ScanPoint]) -> None:
        known = sorted((p.distortion, p.drop, p.samples, _half(p)) for p in points if np.isfinite(p.drop))
        rows = np.array([(0.0, 0.0, 1.0, 0.0), *known], dtype=float)
        self._distortions, drops, samples, halves = rows.T
        weights = np.maximum(samples, 1.0)
        fitted = isotonic_regression(drops, weights=weights)
        # only then cut off at zero: chance gives drops below it as often as above, which even out
        self._drops = np.maximum(fitted.x, 0.0)
        # points that were pooled tell of their common drop together, as if their errors were independent
        bounds = fitted.blocks
        totals = np.add.reduceat(weights, bounds[:-1])
        pooled = np.sqrt(np.add.reduceat((weights * halves) ** 2, bounds[:-1])) / totals
        self._halves = np.repeat(pooled, np.diff(bounds))

    def __call__(self, distortion: float) -> float:
        """The drop, in the metric's unit."""
        return float(np.interp(distortion, self._distortions, self._drops))

    def spread(self, distortion: float) -> float:
        """How far the 95 % intervals of the points let the drop be off to either side."""
        return float(np.interp(distortion, self._distortions, self._halves))


def _half(point: ScanPoint) -> float:
    half = (point.drop_high - point.drop_low) / 2
    return half if np.isfinite(half) else 0.0
