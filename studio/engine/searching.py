"""A search as a sequence of other requests: a scan, which is kept and so resumed, and measurements of recipes."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from studio.engine.door import Publish
from studio.engine.requests import MeasureExportSize, OpenModel, Preview, ScanLayers, Search
from studio.evaluation.candidates import candidates
from studio.evaluation.result import Result
from studio.progress import Progress, Report
from studio.recipe.recipe import Recipe
from studio.search.outcome import SearchOutcome
from studio.search.problem import Problem
from studio.search.run import MEASURED, search
from studio.search.target import checked_target

#: How much longer it takes to fit and measure a whole recipe than a point of a scan, about.
RECIPE = 20

#: Whatever answers requests: request, progress, what is published on the way.
Ask = Callable[[Any, Report, Publish], Any]


def answer_search(request: Search, ask: Ask, report: Report, publish: Publish) -> SearchOutcome:
    """Does what `request` asks.

    Args:
        request: what is sought.
        ask: answers other requests.
        report: told of the scan's points and of every measurement.
        publish: receives points of the frontier.

    Raises:
        SearchError: the target cannot be reached.
    """
    source, target = request.source, checked_target(request.target)
    info = ask(OpenModel(source.model, source.skeleton), report, _nothing)
    exported = ask(MeasureExportSize(source.model, source.skeleton), report, _nothing)
    problem = Problem(info, source.recipe, exported, target)
    held = frozenset(problem.held)
    # units of progress: one for each point of the scan
    scanning = sum(one.layer.name not in held for one in candidates(info))

    whole = scanning + RECIPE * MEASURED

    def while_scanning(now: Progress) -> None:
        left = (now.total or 0) - now.done
        report(Progress(max(0, scanning - left), whole, now.message))

    def while_measuring(now: Progress) -> None:
        report(Progress(scanning + RECIPE * now.done, whole, now.message))

    plain = replace(source, recipe=Recipe(options=source.recipe.options))
    points = ScanLayers(plain, request.data, request.scan_samples, request.seed, keep=request.keep, skip=held)
    scan = ask(points, while_scanning, _nothing)

    def measure(recipe: Recipe, told: Report) -> Result:
        asked = Preview(replace(source, recipe=recipe), request.data, request.samples, request.seed)
        result: Result = ask(asked, told, _nothing)
        return result

    return search(problem, scan, measure, report=while_measuring, publish=publish)


def _nothing(_value: object) -> None:
    """What is published on the way to an answer is of no use here."""
