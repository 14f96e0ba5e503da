"""The smaller recipe beside the best one: as good as the samples can tell, and worth a choice."""

from dataclasses import replace

import pytest

from studio.cli_search import smaller_text
from studio.evaluation.result import Measurement
from studio.recipe.recipe import Recipe
from studio.search.as_good import as_good
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.target import Target

SIZE = Target("size", 0.25)


def point(spent: float, drop: float, likely: float = 0.0) -> FrontierPoint:
    """A measured recipe of an original of 100 kB, its drop known to 0.3 points."""
    value, lost = (Measurement("top1", one, one - 0.3, one + 0.3, 1000) for one in (90 - drop, drop))
    count = round(100_000 * spent)
    label = f"{100 * spent:.1f} %"
    return FrontierPoint("search", label, Recipe(), count, 900, spent, 0.01, drop, value, lost, likely)


BEST = point(0.25, 0.2)


def outcome(*others: FrontierPoint) -> SearchOutcome:
    return SearchOutcome(BEST, None, None, (*others, BEST), 9.0)


def test_the_smallest_recipe_within_the_interval_of_the_best_is_as_good():
    smallest, small, poor = point(0.15, 0.5), point(0.2, 0.4), point(0.1, 0.6)
    assert as_good(outcome(poor, smallest, small), SIZE) is smallest
    assert as_good(outcome(poor), SIZE) is None


def test_lucky_samples_alone_make_no_recipe_as_good():
    assert as_good(outcome(point(0.15, 0.0, likely=0.6)), SIZE) is None
    assert as_good(outcome(replace(point(0.15, 0.0), drop=None, metric=None)), SIZE) is None


@pytest.mark.parametrize("spent", [0.24, 0.25, 0.3])
def test_what_saves_next_to_nothing_is_no_choice(spent: float):
    assert as_good(outcome(point(spent, 0.2)), SIZE) is None


def test_less_arithmetic_in_a_larger_file_is_not_smaller():
    assert as_good(outcome(replace(point(0.15, 0.2), bytes=26_000)), Target("macs", 0.25)) is None


def test_where_a_drop_is_asked_for_the_best_is_the_smallest_already():
    assert as_good(outcome(point(0.15, 0.4)), Target("drop", 0.3)) is None


def test_the_command_line_says_what_it_saves_and_how_to_ask_for_it():
    assert smaller_text(point(0.15003, 0.4), SIZE) == (
        "as good and smaller: 15.0 %, 15,003 bytes, drop 0.40, within the 95 % interval of the best one's; "
        "--target size=0.1501 asks for that much"
    )
    assert "--target" not in smaller_text(point(0.15, 0.4), Target("latency", 2.0, absolute=True))
