"""Searching within a time, with a table of times and a clock given in: nothing is timed here."""

from collections.abc import Callable

import pytest

from studio.engine.requests import (
    MeasureExportSize,
    MeasureLatency,
    OpenModel,
    Preview,
    ScanLayers,
    Search,
    Source,
    TimeSettings,
)
from studio.engine.searching import answer_search
from studio.errors import SearchError
from studio.evaluation.sensitivity import Scan
from studio.export.latency import Latency, Ratio, TimeTable, Timing
from studio.models.layer import ModelInfo
from studio.progress import Progress, Report
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings
from studio.search.outcome import FrontierPoint
from studio.search.problem import Problem
from studio.search.target import Target, parse_target
from studio.search.timed import WholeTime, search_in_time
from studio.search.times import CHOICES, LayerTimes
from tests.search.conftest import NAMES, Additive, bits, rank, zeros

#: Milliseconds of each layer: bits take longer, ranks are quicker; layer ``a`` was not timed at a half.
TAKEN = {"original": 0.02, "8 bit": 0.03, "rank 0.75": 0.016, "rank 0.5": 0.01, "rank 0.25": 0.006}
TIMES = LayerTimes({name: {k: v for k, v in TAKEN.items() if (name, k) != ("a", "rank 0.5")} for name in NAMES}, 0.02)


def problem(info: ModelInfo, limit: float, base: Recipe | None = None) -> Problem:
    return Problem(info, base or Recipe(), info.bytes, Target("latency", limit), TIMES)


def slower(task: Problem, factor: float) -> Callable[[Recipe, Report], WholeTime]:
    """A clock that finds all recipes to take `factor` times what is foreseen."""
    return lambda recipe, _report: WholeTime(factor * (task.milliseconds(recipe) or 0.0), 0.1)


@pytest.mark.parametrize(
    ("layer", "settings", "microseconds"),
    [
        ("b", LayerSettings(), 20),
        ("b", bits(8), 30),
        ("b", rank(0.5), 10),
        ("b", rank(0.45), 10),  # no less than the next greater rank
        ("a", rank(0.5), 20),  # not timed
        ("b", zeros(0.7), 20),
        ("b", LayerSettings(quantize=QuantizeSettings(), rank=rank(0.5).rank), 20),
        ("b", LayerSettings(keep=True), 20),
        ("e", rank(0.5), 0),  # its time is in the rest
    ],
)
def test_a_setting_takes_what_was_timed_or_else_as_long_as_the_layer_itself(layer, settings, microseconds):
    assert TIMES.of_layer(layer, settings) == pytest.approx(microseconds)


def test_the_whole_is_the_layers_and_the_fixed_rest(info: ModelInfo):
    task = problem(info, 0.6)
    assert task.original == pytest.approx(100)
    assert task.fixed == pytest.approx(20)
    assert task.milliseconds(task.recipe({"b": rank(0.5), "d": rank(0.25)})) == pytest.approx(0.076)


def test_a_recipe_within_the_time_is_found_and_timed_once(info: ModelInfo, scan: Scan, measure: Additive):
    task, told, progress = problem(info, 0.6), list[FrontierPoint](), list[Progress]()
    found = search_in_time(task, scan, measure, slower(task, 1.0), report=progress.append, publish=told.append)
    assert found.best.foreseen_ms is not None
    assert found.best.foreseen_ms <= 0.06
    assert found.best.ms == pytest.approx(found.best.foreseen_ms)
    assert found.original_ms == 0.1
    assert told[-1] == found.best
    assert found.best in found.frontier
    assert [now.done for now in progress] == sorted(now.done for now in progress)
    assert found.uniform is not None
    assert found.best.rank <= found.uniform.rank


def test_a_whole_that_takes_longer_than_its_layers_is_sought_anew_with_a_tighter_limit(
    info: ModelInfo, scan: Scan, measure: Additive
):
    task = problem(info, 0.7)
    once = search_in_time(task, scan, measure, slower(task, 1.0))
    again = search_in_time(task, scan, measure, slower(task, 1.3))
    assert again.best.ms is not None
    assert again.best.ms <= 0.07
    assert not again.late
    assert again.best.foreseen_ms is not None
    assert once.best.foreseen_ms is not None
    assert again.best.foreseen_ms < once.best.foreseen_ms


def test_it_is_sought_three_times_at_most_and_the_quickest_offered(info: ModelInfo, scan: Scan, measure: Additive):
    task, asked = problem(info, 0.9), list[Recipe]()
    wholes = iter([0.095, 0.092, 0.094])

    def clock(recipe: Recipe, _report: Report) -> WholeTime:
        asked.append(recipe)
        return WholeTime(next(wholes), 0.1)

    found = search_in_time(task, scan, measure, clock)
    assert len(asked) == 3
    assert found.best.ms == 0.092
    assert found.late
    assert {point.ms for point in found.frontier if point.recipe == asked[1]} >= {0.092}
    recipes = [recipe.model_dump_json() for recipe in measure.asked]
    assert len(recipes) == len(set(recipes))  # none is measured a second time


def test_a_time_out_of_reach_names_the_least(info: ModelInfo, scan: Scan, measure: Additive):
    task = problem(info, 0.3)
    # a: 6 µs at a quarter, and so all others: 24 and the rest of 20
    with pytest.raises(SearchError, match=r"latency=0\.3 cannot be reached: the least is 44 µs.* original's 100"):
        search_in_time(task, scan, measure, slower(task, 1.0))


def test_milliseconds_are_a_limit_too(info: ModelInfo, scan: Scan, measure: Additive):
    assert parse_target("latency=0.07ms") == Target("latency", 0.07, absolute=True)
    assert parse_target("latency=0.07 ms").text == "latency=0.07ms"
    for text in ("latency=0ms", "latency=1.5", "latency=nanms"):
        with pytest.raises(SearchError, match="above 0"):
            parse_target(text)
    asked = list[object]()

    def ask(request, report, _publish):
        asked.append(request)
        match request:
            case OpenModel():
                return info
            case MeasureExportSize():
                return info.bytes
            case TimeSettings():
                return TimeTable(TIMES.layers, {"original": TIMES.rest})
            case ScanLayers():
                return scan
            case Preview():
                return measure(request.source.recipe, report)
            case MeasureLatency():
                now, original = (Timing(ms, ms, ms, 9) for ms in (0.065, 0.1))
                return Latency(now, original, Ratio(1.5, 1.4, 1.6), 1, 1, "ONNX Runtime")

    request = Search(Source("model.onnx", Recipe()), None, parse_target("latency=0.07ms"))
    found = answer_search(request, ask, lambda _now: None, lambda _point: None)
    assert found.best.ms == 0.065
    assert found.best.spent <= 0.7
    (timing,) = (one for one in asked if isinstance(one, TimeSettings))
    assert timing.choices == CHOICES
    assert asked.index(timing) < next(k for k, one in enumerate(asked) if isinstance(one, ScanLayers))
