"""Intervals against brute force over every possible outcome."""

import math
from itertools import product
from math import comb, factorial

import numpy as np
import pytest
from scipy import stats

from studio.evaluation.intervals import (
    bootstrap_interval,
    median_interval,
    paired_drop_interval,
    proportion_interval,
    ratio_spread,
)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (7, 10), (10, 10), (112, 128)])
def test_the_ends_of_a_share_s_interval_leave_one_fortieth_in_each_tail(right: int, count: int) -> None:
    low, high = proportion_interval(right, count)

    def at_least(share: float) -> float:
        return sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(right, count + 1))

    def at_most(share: float) -> float:
        return sum(comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(right + 1))

    assert at_least(low) == pytest.approx(0.025) if right > 0 else low == 0
    assert at_most(high) == pytest.approx(0.025) if right < count else high == 1


def test_a_drop_s_interval_equals_the_published_example() -> None:
    # airway hyper-responsiveness of 21 children before and after transplantation (Bentur et al. 2009), worked out in
    # Fagerland, Lydersen and Laake 2014: 1 flip one way, 7 the other
    assert paired_drop_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


@pytest.mark.parametrize(("broken", "fixed", "count"), [(5, 2, 50), (20, 3, 128), (0, 7, 30), (3, 3, 12)])
def test_at_the_ends_of_a_drop_s_interval_the_score_test_is_just_not_rejected(
    broken: int, fixed: int, count: int
) -> None:
    z = stats.norm.ppf(0.975)

    def likely_fixed(drop: float) -> float:
        """The most likely share of fixed samples given the drop, by trying all on a fine grid."""
        shares = np.linspace(max(0.0, -drop), (1 - drop) / 2, 200_001)[1:-1]
        same = count - broken - fixed
        logs = broken * np.log(shares + drop) + fixed * np.log(shares) + same * np.log(1 - 2 * shares - drop)
        return float(shares[np.argmax(logs)])

    for end in paired_drop_interval(broken, fixed, count):
        q = likely_fixed(end)
        score = (broken - fixed - count * end) / np.sqrt(count * (2 * q + end - end**2))
        assert abs(score) == pytest.approx(z, rel=2e-3)


def test_a_drop_s_interval_holds_the_true_drop_in_about_95_of_100_samples() -> None:
    count = 25
    for p_broken, p_fixed in [(0.1, 0.02), (0.2, 0.1), (0.3, 0.05)]:
        covered = 0.0
        for broken, fixed in product(range(count + 1), repeat=2):
            if broken + fixed > count:
                continue
            same = count - broken - fixed
            ways = factorial(count) / (factorial(broken) * factorial(fixed) * factorial(same))
            chance = ways * p_broken**broken * p_fixed**fixed * (1 - p_broken - p_fixed) ** same
            if chance > 1e-9:
                low, high = paired_drop_interval(broken, fixed, count)
                covered += chance * (low <= p_broken - p_fixed <= high)
        assert 0.93 <= covered <= 0.99


def test_a_drop_without_a_single_flip_still_has_a_width_that_shrinks_with_the_samples() -> None:
    z2 = stats.norm.ppf(0.975) ** 2

    for count in (128, 2048):
        low, high = paired_drop_interval(0, 0, count)
        assert (low, high) == pytest.approx((-z2 / (count + z2), z2 / (count + z2)))


@pytest.mark.parametrize(("broken", "fixed", "expected"), [(9, 0, 1.0), (0, 9, -1.0)])
def test_a_model_that_flips_every_sample_has_an_interval_that_ends_at_its_drop(
    broken: int, fixed: int, expected: float
) -> None:
    low, high = paired_drop_interval(broken, fixed, 9)

    assert expected in (low, high)
    assert -1 <= low < high <= 1


def test_swapping_the_models_mirrors_the_interval() -> None:
    low, high = paired_drop_interval(12, 5, 200)

    assert paired_drop_interval(5, 12, 200) == pytest.approx((-high, -low))


def test_the_paired_interval_is_tighter_than_two_separate_ones() -> None:
    low, high = paired_drop_interval(20, 8, 1000)
    first, second = proportion_interval(880, 1000), proportion_interval(868, 1000)

    assert high - low < 0.5 * ((first[1] - first[0]) + (second[1] - second[0]))


def mean_of(totals: np.ndarray) -> np.ndarray:
    return totals[..., 0] / totals[..., 1]


def test_a_bootstrapped_mean_of_many_samples_has_student_s_interval() -> None:
    values = np.random.default_rng(1).exponential(size=1500)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)

    low, high = bootstrap_interval(np.stack([values, np.ones(1500)], 1), mean_of)

    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15 * (expected.high - expected.low))


def test_samples_beyond_the_limit_are_drawn_in_groups_to_the_same_effect() -> None:
    values = np.random.default_rng(2).exponential(size=20_000)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)

    low, high = bootstrap_interval(np.stack([values, np.ones(20_000)], 1), mean_of)

    assert (low, high) == pytest.approx((expected.low, expected.high), abs=0.15 * (expected.high - expected.low))


def test_one_value_says_nothing_of_how_far_others_lie() -> None:
    assert bootstrap_interval(np.array([[3.0, 1.0]]), mean_of) == (-np.inf, np.inf)


@pytest.mark.parametrize(("count", "first"), [(6, 1), (8, 1), (9, 2), (20, 6)])  # tables of the sign test
def test_a_median_s_interval_reaches_from_one_ordered_value_to_its_opposite(count: int, first: int) -> None:
    values = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert median_interval(values) == (first, count + 1 - first)
    assert sum(comb(count, k) for k in range(first)) / 2**count < 0.025


def test_five_values_do_not_hold_a_median_with_confidence() -> None:
    assert median_interval(np.arange(5.0)) == (-np.inf, np.inf)


def test_the_spread_of_a_ratio_is_that_of_its_residuals():
    noise, signal = np.array([1.0, 2.0, 3.0, 2.0]), np.array([10.0, 20.0, 20.0, 30.0])  # a ratio of 0.1
    expected = 1.959964 * math.sqrt(4 / 3 * (0.0**2 + 0.0**2 + 1.0**2 + 1.0**2)) / 8.0
    assert ratio_spread(noise, signal) == pytest.approx(expected, rel=1e-6)


def test_a_ratio_without_noise_is_exact_and_one_that_is_not_finite_is_unknown():
    assert ratio_spread(np.zeros(3), np.ones(3)) == 0.0
    assert ratio_spread(np.array([1.0, np.inf]), np.ones(2)) == math.inf
    assert ratio_spread(np.ones(1), np.ones(1)) == math.inf
