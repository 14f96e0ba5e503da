"""What is measured on the way of a distillation."""

from dataclasses import replace

import pytest

from studio.distillation.held_out import beside_original
from studio.evaluation.result import Measurement, Result


def result(name: str, value: float, original: float, drop: float) -> Result:
    """A model whose own value is known to 3, its drop to 0.5."""
    mine, theirs = (Measurement(name, one, one - 3, one + 3, 100) for one in (value, original))
    return Result(mine, theirs, Measurement(name, drop, drop - 0.25, drop + 0.5, 100), 100, True)


def test_the_interval_on_the_way_is_that_of_the_difference_from_the_original() -> None:
    accuracy = beside_original(result("top1", 88.0, 90.0, 2.0))
    assert (accuracy.low, accuracy.value, accuracy.high) == pytest.approx((87.5, 88.0, 88.25))
    perplexity = beside_original(result("perplexity", 5.0, 4.0, 1.0))
    assert (perplexity.low, perplexity.value, perplexity.high) == pytest.approx((4.75, 5.0, 5.5))


def test_agreement_with_the_original_keeps_its_own_interval() -> None:
    alone = replace(result("agreement", 97.0, 100.0, 3.0), original=None, drop=None)
    assert beside_original(alone) == alone.metric
