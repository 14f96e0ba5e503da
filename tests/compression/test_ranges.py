import math

import pytest
import torch

from studio.compression.ranges import Levels, divergence, find_levels, levels_between, rounded


def test_a_range_from_smallest_to_largest_spans_all_levels_and_keeps_zero_exact():
    levels = find_levels(torch.tensor([-1.0, 0.5, 4.1]), "minmax")
    assert levels.scale == pytest.approx(5.1 / 255)
    assert levels.zero_point == 50
    assert rounded(torch.zeros(1), levels) == 0


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_what_is_never_negative_gets_the_zero_point_zero(method):
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0)).relu()
    assert find_levels(values, method).zero_point == 0


@pytest.mark.parametrize("method", ["minmax", "percentile", "mse", "entropy"])
def test_what_is_always_zero_takes_any_scale(method):
    assert find_levels(torch.zeros(10), method) == Levels(1.0, 0)


def test_a_percentile_leaves_out_one_in_ten_thousand_at_either_end():
    values = torch.cat([torch.linspace(0, 1, 19_998), torch.tensor([100.0, 50.0])])
    assert find_levels(values, "percentile").scale == pytest.approx(levels_between(0, 1).scale)


def test_the_least_squares_range_is_the_best_of_all_that_are_tried():
    values = torch.cat([torch.randn(4000, generator=torch.Generator().manual_seed(1)), torch.tensor([9.0, -7.0])])

    def error(levels):
        return float((rounded(values.double(), levels) - values).square().sum())

    tried = [error(levels_between(-7 * share / 100, 9 * share / 100)) for share in range(30, 101)]
    found = error(find_levels(values, "mse"))
    assert found == pytest.approx(min(tried), rel=1e-3)  # the search looks at the middles of fine bins
    assert found < error(find_levels(values, "minmax"))


def test_the_divergence_of_two_levels_is_that_computed_by_hand():
    """P = (1, 3, 2, 4) / 10 against Q = (2, 2, 2, 2) / 8 where the last four stand beyond: two are clipped."""
    counts = torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0, 0.0])
    expected = 0.1 * math.log(0.1 / 0.25) + 0.3 * math.log(0.3 / 0.25) + 0.2 * math.log(0.2 / 0.25)
    assert divergence(counts, 4, 2) == pytest.approx(expected + 0.4 * math.log(0.4 / 0.25))


def test_levels_that_tell_every_bin_apart_lose_nothing():
    assert divergence(torch.tensor([1.0, 3.0, 2.0]), 3, 3) == pytest.approx(0)


@pytest.mark.parametrize("method", ["mse", "entropy"])
def test_zeros_do_not_change_a_range_as_they_are_met_exactly(method):
    values = torch.randn(20_000, generator=torch.Generator().manual_seed(3)).abs()
    assert find_levels(torch.cat([values, torch.zeros(60_000)]), method) == find_levels(values, method)


def test_an_entropy_range_of_what_a_relu_gives_holds_nearly_all_of_it():
    values = torch.randn(200_000, generator=torch.Generator().manual_seed(4)).relu()
    held = find_levels(values, "entropy").scale * 255
    assert (values > held).float().mean() < 0.002


def test_an_entropy_range_clips_a_lone_outlier():
    values = torch.cat([torch.randn(20_000, generator=torch.Generator().manual_seed(2)).abs(), torch.tensor([60.0])])
    assert find_levels(values, "entropy").scale < 15 / 255
