"""Searching with distortions that really add up, and with ones that do not."""

from dataclasses import replace

import pytest

from studio.errors import SearchError
from studio.evaluation.result import Measurement, Result
from studio.evaluation.sensitivity import Scan
from studio.models.layer import ModelInfo
from studio.progress import Cancelled, Progress, Report
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings
from studio.search.model import AdditiveModel
from studio.search.outcome import FrontierPoint, Kind, SearchOutcome, better, decided_by
from studio.search.problem import Problem
from studio.search.reasons import reasons
from studio.search.run import search
from studio.search.target import Target, parse_target
from tests.search.conftest import NAMES, Additive, bits, rank


def problem(info: ModelInfo, kind: str, limit: float, base: Recipe | None = None) -> Problem:
    return Problem(info, base or Recipe(), info.bytes, Target(kind, limit))


@pytest.fixture
def eighth(info: ModelInfo, scan: Scan, measure: Additive) -> SearchOutcome:
    return search(problem(info, "size", 0.125), scan, measure)


def test_what_is_found_fits_and_beats_treating_all_layers_alike(eighth: SearchOutcome, info: ModelInfo):
    assert eighth.best.bytes <= 0.125 * info.bytes
    assert eighth.uniform is not None
    assert eighth.uniform.bytes <= 0.125 * info.bytes
    assert eighth.best.kind == "search"
    assert eighth.best.rank < eighth.uniform.rank
    assert eighth.best.drop is not None
    assert eighth.original is not None
    assert eighth.original.value == 90.0


def test_the_layer_that_minds_least_gives_most(eighth: SearchOutcome, info: ModelInfo):
    shares = {}
    for layer in info.layers:
        chosen = eighth.best.recipe.settings_for(layer).rank
        shares[layer.name] = 1.0 if chosen is None or chosen.parameters is None else chosen.parameters
    assert shares["d"] < shares["b"]
    assert shares["b"] == 1.0


def test_locked_and_kept_layers_stay_as_they_are(info: ModelInfo, scan: Scan, measure: Additive):
    base = Recipe().with_layer("d", bits(8)).with_locks(["d"]).with_layer("c", LayerSettings(keep=True))
    found = search(problem(info, "size", 0.5, base), scan, measure)
    for recipe in (*measure.asked, *(point.recipe for point in found.frontier)):
        assert recipe.settings_for(info.layer("d")) == bits(8)
        assert recipe.settings_for(info.layer("c")) == LayerSettings(keep=True)
        assert recipe.locked(info.layers) == {"d"}
    assert found.best.bytes <= 0.5 * info.bytes


def test_a_budget_out_of_reach_names_the_least(info: ModelInfo, scan: Scan, measure: Additive):
    with pytest.raises(SearchError, match=r"size=0\.01 cannot be reached: the least is ([\d,]+) bytes") as error:
        search(problem(info, "size", 0.01), scan, measure)
    assert not measure.asked
    least = float(str(error.value).split("size=")[2].split(" ")[0])
    assert search(problem(info, "size", least), scan, measure).best.spent <= least


def test_a_layer_that_minds_more_in_company_is_swapped(info: ModelInfo, scan: Scan, measure: Additive):
    first = AdditiveModel(problem(info, "size", 0.1), scan).solve(0.1 * info.bytes)
    assert first is not None
    measure.multiply = {"d": 40.0}  # the scan, of each layer alone, cannot tell
    found = search(problem(info, "size", 0.1), scan, measure)
    assert found.best.recipe != first.recipe
    assert measure.distortion(found.best.recipe) < measure.distortion(first.recipe)


def test_a_few_lucky_samples_do_not_choose_among_recipes_alike(info: ModelInfo, scan: Scan, measure: Additive):
    def lucky(recipe: Recipe, report: Report) -> Result:
        result = measure(recipe, report)
        # of the search's own recipes, the later one is measured the more samples it happens to get right
        luck = 5.0 * len(measure.asked) if recipe.default.is_empty else 0.0
        assert result.drop is not None
        return replace(result, drop=replace(result.drop, value=result.drop.value - luck))

    task = problem(info, "size", 0.125)
    found = search(task, scan, lucky)
    assert found.best.recipe == search(task, scan, measure).best.recipe


def test_a_few_lucky_samples_bring_no_recipe_within_a_drop(info: ModelInfo, scan: Scan, measure: Additive):
    def lucky(recipe: Recipe, report: Report) -> Result:
        result = measure(recipe, report)
        assert result.drop is not None
        return replace(result, drop=replace(result.drop, value=result.drop.value - 0.4))

    found = search(problem(info, "drop", 0.5), scan, lucky)
    assert found.best.drop is not None
    assert found.best.likely is not None
    assert found.best.drop.value < 0.11  # 0.4 points are luck
    assert found.best.judged == found.best.likely <= 0.5
    assert 100 * measure.distortion(found.best.recipe) <= 0.5


def measured(kind: Kind, distortion: float, drop: float, half: float, likely: float = 0.0) -> FrontierPoint:
    top1 = [Measurement("top1", value, value - half, value + half, 500) for value in (90 - drop, drop)]
    return FrontierPoint(kind, "", Recipe(), 8000, 900, 0.25, distortion, None, *top1, likely)


def test_drops_decide_where_their_intervals_lie_apart_and_the_distortion_where_they_do_not():
    mild, lucky = measured("search", 0.01, 0.9, 0.5), measured("uniform", 0.02, 0.2, 0.5)
    assert (decided_by(mild, lucky), better(mild, lucky)) == ("distortion", mild)
    clear = measured("uniform", 0.02, 0.2, 0.1)
    assert (decided_by(mild, clear), better(mild, clear)) == ("drop", clear)
    assert better(clear, mild) == clear


def test_a_drop_is_judged_by_the_samples_or_by_the_distortion_whichever_says_more():
    assert measured("search", 0.01, 0.2, 0.5, likely=0.6).judged == 0.6
    assert measured("search", 0.01, 0.8, 0.5, likely=0.6).judged == 0.8


def test_the_reasons_say_what_decided():
    best, uniform = measured("search", 0.01, 0.2, 0.5, likely=0.31), measured("uniform", 0.02, 0.4, 0.5)
    outcome = SearchOutcome(best, uniform, None, (), 1.0, decided_by="distortion")
    (chosen,) = reasons(outcome, Target("size", 0.25))
    assert "by the distortion of the outputs" in chosen
    held, same = reasons(outcome, Target("drop", 0.5))
    assert held.startswith("Held against 0.5: a drop of 0.2 on the samples and of 0.31 that")
    assert same == chosen
    assert reasons(replace(outcome, decided_by=None), None) == ()


@pytest.mark.parametrize(("kind", "limit"), [("macs", 0.6), ("nonzeros", 0.4)])
def test_other_budgets_are_kept_too(info: ModelInfo, scan: Scan, measure: Additive, kind: str, limit: float):
    task = problem(info, kind, limit)
    found = search(task, scan, measure)
    assert task.spent(found.best.recipe, task.widest(found.best.recipe)) <= limit * task.original
    assert found.best.spent <= limit


def test_half_a_point_buys_the_smallest_file_within_it(info: ModelInfo, scan: Scan, measure: Additive):
    found = search(problem(info, "drop", 0.5), scan, measure)
    assert found.best.drop is not None
    assert found.best.drop.value <= 0.5
    worse = [p for p in found.frontier if p.kind == "search" and p.drop is not None and p.drop.value > 0.5]
    assert all(point.bytes < found.best.bytes for point in worse)
    assert found.best.bytes < 0.2 * info.bytes


def test_points_are_told_as_expected_and_then_as_measured(info: ModelInfo, scan: Scan, measure: Additive):
    told, progress = list[FrontierPoint](), list[Progress]()
    found = search(problem(info, "size", 0.125), scan, measure, report=progress.append, publish=told.append)
    first = {point.key: told.index(point) for point in told if not point.is_measured}
    measured = [number for number, point in enumerate(told) if point.is_measured]
    assert {told[number].key for number in measured} == {point.key for point in found.frontier if point.is_measured}
    assert all(first.get(told[number].key, -1) < number for number in measured)
    assert len(first) >= 10
    assert {now.total for now in progress} == {progress[0].total}
    assert [now.done for now in progress] == sorted(now.done for now in progress)


def test_cancelling_ends_it_between_two_measurements(info: ModelInfo, scan: Scan, measure: Additive):
    def stop(now: Progress) -> None:
        if now.done == 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        search(problem(info, "size", 0.125), scan, measure, report=stop)
    assert len(measure.asked) == 2


def test_a_rank_is_taken_to_spend_what_its_most_expensive_form_does(info: ModelInfo):
    task = problem(info, "size", 0.5)
    recipe = task.recipe({name: rank(0.5) for name in NAMES})
    assert set(task.widest(recipe)) == set(NAMES)
    assert task.spent(recipe, task.widest(recipe)) >= task.spent(recipe, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size", "is no target"),
        ("sise=0.5", "Did you mean 'size'"),
        ("size=small", "'small' is no number"),
        ("size=1.5", "above 0 and at most 1"),
        ("size=nan", "above 0 and at most 1"),
        ("drop=-1", "cannot be negative"),
    ],
)
def test_a_target_that_means_nothing_is_one_clear_line(text: str, message: str):
    with pytest.raises(SearchError, match=message):
        parse_target(text)


def test_a_target_is_a_kind_and_a_number():
    assert [parse_target(text).words for text in ("size=0.125", "drop=0.5", "latency=2ms", "macs=0.4")] == [
        "8× smaller", "smallest, losing at most 0.5", "at most 2 ms", "40 % of the operations",
    ]  # fmt: skip
    assert parse_target("size = 0.25") == Target("size", 0.25)
    assert parse_target("drop=0.5") == Target("drop", 0.5)
