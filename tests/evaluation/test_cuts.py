"""Choosing which values to keep."""

import pytest

from studio.evaluation.cuts import WORTH, Cost, choose_cuts


def chain(*costs: tuple[float, float]) -> dict[str, Cost]:
    """Values a, b, c, … each made from the one before, by seconds and bytes."""
    names = "abcdefgh"
    return {names[i]: Cost(seconds, size, (names[i - 1],) if i else ()) for i, (seconds, size) in enumerate(costs)}


def test_where_there_is_room_all_that_is_worth_it_is_kept():
    assert choose_cuts(chain((1, 1), (1, 1), (1, 1)), 3) == {"a", "b", "c"}


def test_what_is_made_again_fastest_for_its_bytes_goes_first():
    assert choose_cuts(chain((4, 1), (3, 1), (20, 10), (5, 1)), 12) == {"a", "b", "d"}
    assert choose_cuts(chain((4, 1), (3, 1), (20, 10), (5, 1)), 2) == {"a", "d"}  # d pays for b and c


def test_a_value_takes_over_the_cost_of_what_it_is_made_from():
    costs = chain((3, 1), (2.5, 1), (2.9, 1))
    # b goes first; c then stands for 5.4 and stays before a
    assert choose_cuts(costs, 1) == {"c"}


def test_the_cost_passes_through_values_that_are_gone_to_all_branches():
    costs = {
        "stem": Cost(2, 1, ()),
        "copy": Cost(1, 1, ("stem",)),
        "left": Cost(4, 1, ("copy",)),
        "right": Cost(5, 1, ("copy",)),
        "other": Cost(6, 1, ()),
    }
    # copy goes, then stem (2): left is worth 4 + 1 + 2, right 5 + 1 + 2, other 6
    assert choose_cuts(costs, 2) == {"left", "right"}


def test_what_is_as_fast_to_make_as_to_keep_is_not_kept_even_where_there_is_room():
    cheap = WORTH / 2
    assert choose_cuts(chain((1, 1), (cheap, 1), (1, 1)), 100) == {"a", "c"}


@pytest.mark.parametrize("allowance", [0, 0.5])
def test_without_room_only_values_without_bytes_are_kept(allowance: float):
    assert choose_cuts(chain((1, 1), (0.1, 0), (9, 1)), allowance) == {"b"}
    assert choose_cuts({}, allowance) == frozenset()
