"""A search as a sequence of other requests: a scan, which is kept and so resumed, and measurements of recipes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from studio.engine.door import Publish
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
from studio.errors import SearchError
from studio.evaluation.candidates import candidates
from studio.evaluation.result import Result
from studio.export.latency import Latency, LatencySettings, TimeTable
from studio.progress import Progress, Report
from studio.recipe.recipe import Recipe
from studio.search.outcome import SearchOutcome
from studio.search.problem import Problem
from studio.search.run import MEASURED, search
from studio.search.target import LATENCY, Target, checked_target, uncounted
from studio.search.timed import ROUNDS, WholeTime, search_in_time
from studio.search.times import CHOICES, ORIGINAL, LayerTimes

#: How much longer it takes to fit and measure a whole recipe than a point of a scan, about.
RECIPE = 20

#: How long each setting is run to time its layers, and how long what was found beside the original, in seconds.
TABLE = LatencySettings(seconds=1.0)
WHOLE = LatencySettings()

#: Whatever answers requests: request, progress, what is published on the way.
Ask = Callable[[Any, Report, Publish], Any]


def answer_search(request: Search, ask: Ask, report: Report, publish: Publish) -> SearchOutcome:
    """Does what `request` asks.

    Args:
        request: what is sought.
        ask: answers other requests.
        report: told of the scan's points and of every measurement.
        publish: receives the points of the scan, then those of the frontier.

    Raises:
        SearchError: the target cannot be reached.
    """
    source, target = request.source, checked_target(request.target)
    info = ask(OpenModel(source.model, source.skeleton), report, _nothing)
    if reason := uncounted(info, target.kind):
        raise SearchError(f"--target: {target.text}: {reason}.")
    times = _times(source, ask, report) if target.kind == LATENCY else None
    exported = ask(MeasureExportSize(source.model, source.skeleton), report, _nothing)
    problem = Problem(info, source.recipe, exported, target if times is None else _share(target, times), times)
    held, channels = frozenset(problem.held), request.channels and times is None
    # units of progress: one for each point of the scan
    scanning = len(candidates(info, skip=held, channels=channels))
    whole = scanning + RECIPE * MEASURED * (1 if times is None else ROUNDS)

    def while_scanning(now: Progress) -> None:
        left = (now.total or 0) - now.done
        report(Progress(max(0, scanning - left), whole, now.message))

    def while_measuring(now: Progress) -> None:
        report(Progress(scanning + RECIPE * now.done, whole, now.message))

    plain = replace(source, recipe=Recipe(options=source.recipe.options))
    layers = ScanLayers(
        plain, request.data, request.scan_samples, request.seed, keep=request.keep, skip=held, channels=channels
    )
    scan = ask(layers, while_scanning, publish)

    def measure(recipe: Recipe, told: Report) -> Result:
        asked = Preview(replace(source, recipe=recipe), request.data, request.samples, request.seed)
        result: Result = ask(asked, told, _nothing)
        return result

    def clock(recipe: Recipe, told: Report) -> WholeTime:
        found: Latency = ask(MeasureLatency(replace(source, recipe=recipe), WHOLE), told, _nothing)
        return WholeTime(found.now.ms, found.original.ms)

    if times is None:
        return search(problem, scan, measure, channels=channels, report=while_measuring, publish=publish)
    within = target.limit if target.absolute else None
    return search_in_time(problem, scan, measure, clock, within_ms=within, report=while_measuring, publish=publish)


def _times(source: Source, ask: Ask, report: Report) -> LayerTimes:
    """What the layers take under all settings that a search may choose, one run a setting.

    Raises:
        StudioError: the runtime cannot run the model, with the reason.
    """
    plain = replace(source, recipe=Recipe(options=source.recipe.options))
    table: TimeTable = ask(TimeSettings(plain, CHOICES, TABLE), report, _nothing)
    return LayerTimes(table.layers, table.rest[ORIGINAL])


def _share(target: Target, times: LayerTimes) -> Target:
    """Milliseconds as a share of what the original takes."""
    return Target(LATENCY, 1000 * target.limit / times.original) if target.absolute else target


def _nothing(_value: object) -> None:
    """What is published on the way to an answer is of no use here."""
