"""A search for a shorter time: foreseen from the times of layers, measured as a whole, tightened if need be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from studio.evaluation.result import Result
from studio.evaluation.sensitivity import Scan
from studio.progress import Progress, Report, silent
from studio.recipe.recipe import Recipe
from studio.search.model import AdditiveModel
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.points import Measure
from studio.search.problem import Problem
from studio.search.run import MEASURED, search

#: Searches at most: the first, and two with a tighter limit.
ROUNDS = 3


@dataclass(frozen=True)
class WholeTime:
    """Milliseconds of a whole model and of its original, which took turns."""

    ms: float
    original: float


#: Times a recipe; told where to report progress.
Clock = Callable[[Recipe, Report], WholeTime]


def search_in_time(
    problem: Problem,
    scan: Scan,
    measure: Measure,
    clock: Clock,
    *,
    within_ms: float | None = None,
    report: Report = silent,
    publish: Callable[[FrontierPoint], None] = lambda _point: None,
) -> SearchOutcome:
    """Finds the best recipe within a time.

    What is found is timed as a whole. Where that takes longer than the target allows, what was foreseen for it, divided
    by how many times longer, is the next limit; of several that all take too long the quickest is offered.

    Args:
        problem: model and budget, with times.
        scan: of the model.
        measure: compresses and measures a recipe.
        clock: times a recipe.
        within_ms: what the whole may take; None where the target's share of the original, timed with it, counts.
        report: as `search`.
        publish: as `search`; receives the offered point again with its measured time.

    Raises:
        SearchError: the budget cannot be reached by what the table foresees.
    """
    wanted = problem.target.limit
    found, known, measured = list[tuple[float, SearchOutcome]](), dict[str, Result](), dict[str, FrontierPoint]()

    def once(recipe: Recipe, told: Report) -> Result:
        key = recipe.model_dump_json()
        known[key] = known.get(key) or measure(recipe, told)
        return known[key]

    for number in range(ROUNDS):
        told = _part(report, number)
        outcome = search(problem, scan, once, report=told, publish=lambda one: publish(measured.get(one.key, one)))
        taken = clock(outcome.best.recipe, _at_end(told))
        best = replace(outcome.best, ms=taken.ms)
        measured[best.key] = best
        publish(best)
        excess = taken.ms / (wanted * taken.original if within_ms is None else within_ms)
        found.append((excess, replace(outcome, best=best, original_ms=taken.original)))
        tighter = replace(problem, target=replace(problem.target, limit=best.spent / max(excess, 1.0)))
        if excess <= 1 or AdditiveModel(tighter, scan).solve(tighter.target.limit * tighter.original) is None:
            break
        problem = tighter
    excess, offered = min(found, key=lambda one: one[0]) if found[-1][0] > 1 else found[-1]
    return replace(
        offered,
        frontier=_merged([outcome for _, outcome in found], measured),
        seconds=sum(outcome.seconds for _, outcome in found),
        late=excess > 1,
    )


def _part(report: Report, number: int) -> Report:
    """Reports a round's progress as a part of all rounds."""
    return lambda now: report(Progress(number * MEASURED + now.done, ROUNDS * MEASURED, now.message))


def _at_end(report: Report) -> Report:
    """Reports that a round is at its end, whatever is told."""
    return lambda now: report(Progress(MEASURED, MEASURED, now.message))


def _merged(outcomes: list[SearchOutcome], timed: Mapping[str, FrontierPoint]) -> tuple[FrontierPoint, ...]:
    """The points of all rounds, measured ones rather than expected ones, those that spend least first."""
    points = dict[str, FrontierPoint]()
    for point in sorted((one for outcome in outcomes for one in outcome.frontier), key=lambda one: one.is_measured):
        points[point.key] = timed.get(point.key, point)
    return tuple(sorted(points.values(), key=lambda one: (one.spent, not one.is_measured)))
