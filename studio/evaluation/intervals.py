"""95 % intervals of what was measured on a sample of all possible inputs.

An interval tells how far the value may lie from that on other samples of the same kind, so that it narrows with more
samples but does not vanish when the data set ends.
"""

import math
from collections.abc import Callable

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from scipy.special import betaincinv

from studio.evaluation.arrays import Array

#: Probability that an interval holds the true value.
CONFIDENCE = 0.95

#: Resamples of a bootstrap, and the most groups of samples they are drawn from, which bound its cost.
RESAMPLES = 1000
GROUPS = 2000

#: Distance from the measured drop at which its bounds are sought: without flips the drop itself is a false solution.
_APART = 1e-9


def proportion_interval(right: int, count: int) -> tuple[float, float]:
    """Exact interval (0..1) of a share, from the binomial distribution.

    C. Clopper and E. Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934) 404-413. Its ends are
    quantiles of beta distributions; the roots of the binomial's tails are the same, found three hundred times slower,
    which a scan feels.
    """
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(right, count - right + 1, tail)) if right > 0 else 0.0
    high = float(betaincinv(right + 1, count - right, 1 - tail)) if right < count else 1.0
    return low, high


def paired_drop_interval(broken: int, fixed: int, count: int) -> tuple[float, float]:
    """Interval (-1..1) of the drop ``(broken - fixed) / count`` between two models on the same samples.

    Only flips count, so that it is far tighter than the difference of two separate accuracies. It is the score
    interval of T. Tango, Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design, Statistics in Medicine 17 (1998) 891-908: all drops Δ that satisfy

        |broken - fixed - n·Δ| ≤ z · √(n · (2·q(Δ) + Δ·(1 - Δ)))

    with q(Δ) the most likely share of fixed samples if the drop is Δ. Unlike intervals that take the number of flips
    as given it has a width even when nothing flipped, and it keeps its level in small samples (M. Fagerland,
    S. Lydersen and P. Laake, Statistics in Medicine 33 (2014) 2850-2875).

    Args:
        broken: samples that the original has right and the other model wrong.
        fixed: the reverse.
        count: all samples, flipped or not.
    """
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    drop = (broken - fixed) / count

    def excess(delta: float) -> float:
        likely = _likely_fixed(broken, fixed, count, delta)
        variance = max(count * (2 * likely + delta * (1 - delta)), 0.0)
        return (broken - fixed - count * delta) ** 2 - z * z * variance

    low = -1.0 if fixed == count else float(brentq(excess, -1.0, drop - _APART))
    high = 1.0 if broken == count else float(brentq(excess, drop + _APART, 1.0))
    return low, high


def ratio_spread(noise: Array, signal: Array) -> float:
    """Half the interval of ``Σ noise / Σ signal`` over samples ``[samples]``, as a share of the ratio.

    It is that of a ratio estimator (W. Cochran, Sampling Techniques, 3rd edition, 1977, §2.11): the samples' residuals
    ``noise − ratio · signal`` tell how far it is off. Infinite below two samples and for what is not finite, 0 where
    there is no noise.
    """
    count, total = len(noise), float(noise.sum())
    if count < 2 or not math.isfinite(total):
        return math.inf
    if total == 0:
        return 0.0
    residuals = noise - signal * (total / signal.sum()) if signal.any() else noise
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    return z * math.sqrt(float(np.square(residuals).sum()) * count / (count - 1)) / total


def bootstrap_interval(sums: Array, value: Callable[[Array], Array]) -> tuple[float, float]:
    """Percentile interval of a value that follows from sums over the samples; unbounded below two samples.

    Samples are drawn with replacement, all numbers of one together, so that numbers of two models stay paired and
    tokens of one text, which depend on each other, stay together. Many samples are drawn in groups, whose sums they
    are: B. Efron and R. Tibshirani, An introduction to the bootstrap, 1993, chapter 13.

    Args:
        sums: numbers of each sample ``[samples, numbers]``.
        value: from sums ``[…, numbers]`` to values ``[…]``.
    """
    count = len(sums)
    if count < 2:
        return -math.inf, math.inf
    if count > GROUPS:
        sums = np.add.reduceat(sums, np.linspace(0, count, GROUPS, endpoint=False).astype(int))
    drawn = np.random.default_rng(0).integers(0, len(sums), (RESAMPLES, len(sums)))
    totals = np.stack([column[drawn].sum(1) for column in sums.T], 1)
    values = value(totals)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, (tail, 1 - tail)) if np.isfinite(values).all() else (values.min(), values.max())
    return float(low), float(high)


def normal_interval(value: float, influence: Array) -> tuple[float, float]:
    """Interval of a value by each sample's influence on it ``[samples]``, whose mean over many samples is normal."""
    count = len(influence)
    half = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * float(np.sqrt(np.square(influence).sum())) / count
    return value - half, value + half


def median_interval(values: Array) -> tuple[float, float]:
    """Interval of the median of what `values` are drawn from, whatever its distribution, from their order alone.

    The k-th smallest and the k-th largest of n values hold the median unless fewer than k of them lie on one side of
    it: Binomial(n, ½) tells how likely that is (W. Thompson, On confidence ranges for the median and other expectation
    distributions for populations of unknown distribution form, Annals of Mathematical Statistics 7 (1936) 122-128).
    Fewer than six values cannot hold it with 95 %: the interval is unbounded.
    """
    count = len(values)
    rank = int(stats.binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))  # at most so many below with more than 2.5 %
    if rank < 1:
        return -math.inf, math.inf
    ordered = np.sort(values)
    return float(ordered[rank - 1]), float(ordered[count - rank])


def _likely_fixed(broken: int, fixed: int, count: int, delta: float) -> float:
    """Maximum-likelihood share of fixed samples among all whose drop is `delta` (Tango 1998, eq. 6)."""
    b = -broken - fixed + (2 * count - broken + fixed) * delta
    c = -fixed * delta * (1 - delta)
    return (math.sqrt(max(b * b - 8 * count * c, 0.0)) - b) / (4 * count)
