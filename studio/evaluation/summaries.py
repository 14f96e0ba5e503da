"""From numbers for each sample to one value with its interval, and to the paired drop between two models.

Which interval depends on what the numbers are: right or wrong, sums of errors, or scores that only their order counts
of. All are 95 % intervals over other samples of the same kind.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from studio.errors import DataError
from studio.evaluation.arrays import Array
from studio.evaluation.intervals import (
    bootstrap_interval,
    normal_interval,
    paired_drop_interval,
    proportion_interval,
)

#: A value with the ends of its interval.
Estimate = tuple[float, float, float]


class Summary(Protocol):
    """How the numbers of all samples become one value."""

    def value(self, scores: Array) -> Estimate:
        """Of one model's numbers ``[samples]`` or ``[samples, numbers]``."""
        ...

    def gain(self, scores: Array, original: Array) -> Estimate:
        """The value minus the original's, from the numbers of both on the same samples."""
        ...


@dataclass(frozen=True)
class Mean:
    """The mean of one number a sample, or of sums and counts ``[samples, 2]`` the sum over the count.

    Attributes:
        exponential: whether the value is e to the power of that, as perplexity is.
    """

    exponential: bool = False

    def value(self, scores: Array) -> Estimate:
        """See `Summary`; the interval is bootstrapped."""
        sums = _sums_and_counts(scores)
        low, high = bootstrap_interval(sums, self._of)
        return float(self._of(sums.sum(0))), low, high

    def gain(self, scores: Array, original: Array) -> Estimate:
        """See `Summary`; both models are drawn together."""
        both = np.concatenate([_sums_and_counts(scores), _sums_and_counts(original)], 1)

        def difference(totals: Array) -> Array:
            return np.asarray(self._of(totals[..., :2]) - self._of(totals[..., 2:]))

        low, high = bootstrap_interval(both, difference)
        return float(difference(both.sum(0))), low, high

    def _of(self, totals: Array) -> Array:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            mean = totals[..., 0] / totals[..., 1]
            return np.asarray(np.exp(mean) if self.exponential else mean)


@dataclass(frozen=True)
class Share:
    """Percent of samples that are right (1), not wrong (0); of tokens where samples have several, ``[samples, 2]``."""

    def value(self, scores: Array) -> Estimate:
        """See `Summary`; exact for samples, bootstrapped over samples for tokens, which depend on each other."""
        if scores.ndim == 2:
            return _percent(Mean().value(scores))
        right, count = int(scores.sum()), len(scores)
        return _percent((right / count, *proportion_interval(right, count)))

    def gain(self, scores: Array, original: Array) -> Estimate:
        """See `Summary`; only flips count."""
        if scores.ndim == 2:
            return _percent(Mean().gain(scores, original))
        broken, fixed, count = int((original > scores).sum()), int((original < scores).sum()), len(scores)
        low, high = paired_drop_interval(broken, fixed, count)
        return _percent(((fixed - broken) / count, -high, -low))


@dataclass(frozen=True)
class Ranking:
    """Percent chance that a sample of a class is scored above one that is not: the area under the ROC curve.

    With several classes it is the mean over those that some but not all samples belong to, each against the rest.
    Scores and the label are ``[samples, classes + 1]``; one score column stands for class 1 against class 0.
    """

    def value(self, scores: Array) -> Estimate:
        """See `Summary`; the interval is that of E. DeLong et al., Biometrics 44 (1988) 837-845."""
        area, influence, rarest = _area(scores)
        low, high = normal_interval(area, influence)
        if low == high:  # no score of one kind lies among those of the other: say what so few samples can tell
            low, high = min(low, proportion_interval(rarest, rarest)[0]), max(high, 1 - area)
        return _percent((area, max(low, 0.0), min(high, 1.0)))

    def gain(self, scores: Array, original: Array) -> Estimate:
        """See `Summary`; the two areas' covariance is taken into account."""
        area, influence, _ = _area(scores)
        before, other, _ = _area(original)
        return _percent((area - before, *normal_interval(area - before, influence - other)))


def _sums_and_counts(scores: Array) -> Array:
    return scores if scores.ndim == 2 else np.stack([scores, np.ones(len(scores))], 1)


def _percent(estimate: Estimate) -> Estimate:
    value, low, high = estimate
    return 100 * value, 100 * low, 100 * high


def _area(scores: Array) -> tuple[float, Array, int]:
    """Mean area over the classes, each sample's influence on it, and the smallest number on one side of a class.

    Raises:
        DataError: all samples are of one class, or a label is not among the classes.
    """
    columns, labels = scores[:, :-1], scores[:, -1].astype(np.int64)
    classes = [1] if columns.shape[1] == 1 else list(range(columns.shape[1]))
    if labels.min() < 0 or labels.max() > classes[-1]:
        raise DataError(f"auroc: there is a label {labels.max()}, but the classes are 0 to {classes[-1]}.")
    found = [
        _area_of(column, labels == one)
        for one, column in zip(classes, columns.T, strict=True)
        if 0 < (labels == one).sum() < len(labels)
    ]
    if not found:
        raise DataError("auroc: all samples measured are of one class; it takes two.")
    areas, influences, sides = zip(*found, strict=True)
    return float(np.mean(areas)), np.mean(influences, 0), min(sides)


def _area_of(scores: Array, positive: Array) -> tuple[float, Array, int]:
    """The area, each sample's influence on it, and the smaller side's size, by ranks.

    X. Sun and W. Xu, Fast implementation of DeLong's algorithm, IEEE Signal Processing Letters 21 (2014) 1389-1393.
    The variance of the influences' mean over ``n`` samples is DeLong's ``S10/m + S01/n``.
    """
    ranks = _ranks(scores)
    count, above, below = len(scores), int(positive.sum()), int((~positive).sum())
    placed = np.empty(count)
    placed[positive] = (ranks[positive] - _ranks(scores[positive])) / below
    placed[~positive] = 1 - (ranks[~positive] - _ranks(scores[~positive])) / above
    area = float(placed[positive].mean())
    influence = placed - area
    for side, size in ((positive, above), (~positive, below)):
        influence[side] *= count / size * np.sqrt(size / max(size - 1, 1))
    return area, influence, min(above, below)


def _ranks(values: Array) -> Array:
    """Ranks from 1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])
