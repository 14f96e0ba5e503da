"""A search: what the scan lets one expect, measured, refined, and held against recipes that treat all layers alike."""

import time
from collections.abc import Callable
from math import exp, log

from studio.errors import SearchError
from studio.evaluation.sensitivity import Scan
from studio.progress import Report, silent
from studio.search.expect import ExpectedDrop
from studio.search.model import AdditiveModel, Solution
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.points import Measure, Points
from studio.search.problem import Problem
from studio.search.target import DROP
from studio.search.uniform import uniform_recipes

#: Budgets for which a recipe is foreseen, between the smallest that can be reached and the original.
FORESEEN = 16

#: Recipes that are measured for the budget itself: the best by the additive model, and swaps of it.
TRIED = 6

#: Budgets beside the target, as shares of it, that are measured too.
BESIDE = (0.8, 1.25, 1.6)

#: Uniform recipes that are measured, about.
UNIFORM = 3

#: Measurements that close in on the smallest file within a given drop.
HALVINGS = 6

#: Recipes that are measured in all, about.
MEASURED = TRIED + UNIFORM + len(BESIDE)


def search(
    problem: Problem,
    scan: Scan,
    measure: Measure,
    *,
    report: Report = silent,
    publish: Callable[[FrontierPoint], None] = lambda _point: None,
) -> SearchOutcome:
    """Finds the best recipe under a budget.

    Args:
        problem: model and budget.
        scan: of the model.
        measure: compresses and measures a recipe.
        report: told of every measurement; raising `Cancelled` from it stops the work.
        publish: receives points of the frontier, first as expected, then as measured.

    Raises:
        SearchError: the budget cannot be reached.
    """
    began = time.monotonic()
    points = Points(problem, ExpectedDrop(scan.points), measure, MEASURED, report, publish)
    work = _Search(problem, scan, points)
    best, uniform = work.within_drop() if problem.target.kind == DROP else work.within_budget()
    offered = best if uniform is None or best.rank <= uniform.rank else uniform
    return SearchOutcome(offered, uniform, points.original, points.all, time.monotonic() - began)


class _Search:
    """The steps of one search."""

    def __init__(self, problem: Problem, scan: Scan, points: Points) -> None:
        self._problem = problem
        self._scan = scan
        self._points = points
        self._model = AdditiveModel(problem, scan)

    def within_budget(self) -> tuple[FrontierPoint, FrontierPoint | None]:
        """The best recipe of the search's own within the target, and the best uniform one.

        Raises:
            SearchError: the target is less than what can be reached.
        """
        limit = self._problem.target.limit * self._problem.original
        if self._model.solve(limit) is None:
            raise self._unreachable()
        self._foresee()
        best = min((self._points.measured(point) for point in self._alternatives(limit)), key=lambda one: one.nearness)
        uniform = self._uniform(limit)
        for share in BESIDE:
            beside = self._model.solve(share * limit) if share * limit < self._model.most else None
            if beside is not None:
                self._points.measured(self._expected(beside))
        return best, uniform

    def within_drop(self) -> tuple[FrontierPoint, FrontierPoint | None]:
        """The smallest file whose measured drop is within the target, and the best uniform recipe of its size.

        Between a size that is good and one that is not the next is tried in the middle, on a logarithmic scale; the
        first where the scan expects just the drop.
        """
        wanted, low, high = self._problem.target.limit, log(self._model.least), log(self._model.most)
        foreseen = [point for point in self._foresee() if point.expected is not None and point.expected <= wanted]
        best = self._points.measured(self._expected(self._solved(self._model.most)))
        middle = log(min(point.spent for point in foreseen) * self._problem.original) if foreseen else (low + high) / 2
        for _ in range(HALVINGS):
            point = self._points.measured(self._expected(self._solved(exp(middle))))
            if point.drop is not None and point.drop.value <= wanted:
                best = min(best, point, key=lambda one: one.spent)
                high = middle
            else:
                low = middle
            middle = (low + high) / 2
        return best, self._uniform(best.spent * self._problem.original)

    def _solved(self, limit: float) -> Solution:
        """The solution for a budget, or for the least that can be reached.

        Raises:
            SearchError: there is none.
        """
        solution = self._model.solve(max(limit, self._model.least))
        if solution is None:
            raise self._unreachable()
        return solution

    def _alternatives(self, limit: float) -> list[FrontierPoint]:
        """The recipe that the additive model finds best, and the next best that differ from it by swaps at least."""
        found = list[Solution]()
        while len(found) < TRIED and (solution := self._model.solve(limit, found)) is not None:
            found.append(solution)
        return [self._expected(solution) for solution in found]

    def _foresee(self) -> list[FrontierPoint]:
        """The frontier as the scan lets one expect it."""
        low, high = log(self._model.least), log(self._model.most)
        between = [exp(low + (high - low) * step / (FORESEEN - 1)) for step in range(1, FORESEEN - 1)]
        limits = [self._model.least, *between, self._model.most]
        return [self._expected(one) for one in map(self._model.solve, limits) if one is not None]

    def _expected(self, solution: Solution) -> FrontierPoint:
        share = self._problem.share(solution.limit)
        return self._points.foresee("search", f"{100 * share:.1f} %", solution.recipe, solution.loss)

    def _uniform(self, limit: float) -> FrontierPoint | None:
        """The best uniform recipe that spends no more than `limit`, measured."""
        found = uniform_recipes(self._problem, self._scan, limit)
        points = [
            self._points.foresee("uniform", one.label, self._problem.uniform(one.settings), one.loss) for one in found
        ]
        return min((self._points.measured(point) for point in points), key=lambda one: one.rank, default=None)

    def _unreachable(self) -> SearchError:
        target, least = self._problem.target, self._model.least
        share = self._problem.share(least)
        held = f" with {len(self._problem.held)} layers held as they are" if self._problem.held else ""
        return SearchError(
            f"{target.kind}={target.limit:g} cannot be reached{held}: the least is {least:,.0f} {self._problem.unit}, "
            f"{target.kind}={share + 0.00005:.4f} of the original's {self._problem.original:,.0f}."
        )
