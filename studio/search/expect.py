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
        points: of a scan.
    """

    def __init__(self, points: Iterable[ScanPoint]) -> None:
        known = sorted((p.distortion, p.drop, p.samples) for p in points)
        self._distortions = np.array([0.0, *(distortion for distortion, _, _ in known)])
        drops = np.array([0.0, *(drop for _, drop, _ in known)])
        weights = np.array([1.0, *(float(max(samples, 1)) for _, _, samples in known)])
        # only then cut off at zero: chance gives drops below it as often as above, which even out
        self._drops = np.maximum(isotonic_regression(drops, weights=weights).x, 0.0)

    def __call__(self, distortion: float) -> float:
        """The drop, in the metric's unit."""
        return float(np.interp(distortion, self._distortions, self._drops))
