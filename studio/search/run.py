"""A search: what the scan lets one expect, measured, refined, and held against recipes that treat all layers alike.

Recipes that take channels away are measured beside ones that leave every layer as wide as it is: what layers lose
together adds up less surely, and a search with channels shall never end worse than one without.
"""

import time
from collections.abc import Callable, Iterator
from functools import reduce
from math import exp, log

from studio.errors import SearchError
from studio.evaluation.expected_drop import ExpectedDrop
from studio.evaluation.sensitivity import Scan
from studio.progress import Report, silent
from studio.search.model import AdditiveModel, Solution
from studio.search.outcome import Decided, FrontierPoint, SearchOutcome, better, decided_by
from studio.search.points import Measure, Points
from studio.search.problem import Problem
from studio.search.target import DROP
from studio.search.uniform import uniform_recipes

#: Budgets for which a recipe is foreseen, between the smallest that can be reached and the original.
FORESEEN = 16

#: Recipes that are measured for the budget itself: the best by the additive model, and swaps of it.
TRIED = 6

#: The same of recipes that take channels away.
NARROWED = 3

#: Budgets beside the target, as shares of it, that are measured too.
BESIDE = (0.8, 1.25, 1.6)

#: Uniform recipes that are measured, about.
UNIFORM = 3

#: Measurements that close in on the smallest file within a given drop.
HALVINGS = 6

#: Recipes that are measured in all, about.
MEASURED = TRIED + NARROWED + UNIFORM + len(BESIDE)


def search(
    problem: Problem,
    scan: Scan,
    measure: Measure,
    *,
    channels: bool = True,
    report: Report = silent,
    publish: Callable[[FrontierPoint], None] = lambda _point: None,
) -> SearchOutcome:
    """Finds the best recipe under a budget.

    Args:
        problem: model and budget.
        scan: of the model.
        measure: compresses and measures a recipe.
        channels: whether channels may go, where the scan tells what that costs.
        report: told of every measurement; raising `Cancelled` from it stops the work.
        publish: receives points of the frontier, first as expected, then as measured.

    Raises:
        SearchError: the budget cannot be reached.
    """
    began = time.monotonic()
    points = Points(problem, ExpectedDrop(scan.points), measure, MEASURED, report, publish)
    work = _Search(problem, scan, points, channels)
    best, uniform = work.within_drop() if problem.target.kind == DROP else work.within_budget()
    offered, decided = (best, None) if uniform is None else work.offered(best, uniform)
    seconds = time.monotonic() - began
    return SearchOutcome(offered, uniform, points.original, points.all, seconds, decided_by=decided)


class _Search:
    """The steps of one search."""

    def __init__(self, problem: Problem, scan: Scan, points: Points, channels: bool) -> None:
        self._problem = problem
        self._scan = scan
        self._channels = channels
        self._points = points
        self._whole = AdditiveModel(problem, scan, channels=False)
        narrowing = AdditiveModel(problem, scan) if channels else self._whole
        self._model = narrowing if narrowing.narrows else self._whole

    def within_budget(self) -> tuple[FrontierPoint, FrontierPoint | None]:
        """The best recipe of the search's own within the target, and the best uniform one.

        Raises:
            SearchError: the target is less than what can be reached.
        """
        limit = self._problem.target.limit * self._problem.original
        if self._model.solve(limit) is None:
            raise self._unreachable()
        self._foresee()
        tried = [(self._points.measured(self._expected(one)), one.narrows) for one in self._alternatives(limit)]
        best, narrows = min(tried, key=lambda one: one[0].nearness)
        uniform, model = self._uniform(limit), self._model if narrows else self._whole
        for share in BESIDE:
            beside = model.solve(share * limit) if share * limit < model.most else None
            if beside is not None:
                self._points.measured(self._expected(beside))
        return best, uniform

    def within_drop(self) -> tuple[FrontierPoint, FrontierPoint | None]:
        """The smallest file whose drop is within the target (`_keeps`), and the best uniform recipe of its size.

        Between a size that is good and one that is not the next is tried in the middle, on a logarithmic scale; the
        first where the scan expects just the drop. Where the recipe for a size takes channels away and loses too
        much, the one that does not is tried too.
        """
        wanted, low, high = self._problem.target.limit, log(self._model.least), log(self._model.most)
        foreseen = [point for point in self._foresee() if point.expected is not None and point.expected <= wanted]
        best = self._points.measured(self._expected(self._solved(self._model.most)))
        middle = log(min(point.spent for point in foreseen) * self._problem.original) if foreseen else (low + high) / 2
        for _ in range(HALVINGS):
            good = next((point for point in self._tried(exp(middle)) if self._keeps(point)), None)
            if good is not None:
                best = min(best, good, key=lambda one: one.spent)
                high = middle
            else:
                low = middle
            middle = (low + high) / 2
        return best, self._uniform(best.spent * self._problem.original)

    def offered(self, best: FrontierPoint, uniform: FrontierPoint) -> tuple[FrontierPoint, Decided]:
        """The better one of the search's own and the uniform recipe, and what tells it to be so.

        Where a drop is asked for, a recipe that keeps within it goes before one that does not.
        """
        if self._problem.target.kind == DROP and self._keeps(best) and not self._keeps(uniform):
            return best, "target"
        return better(best, uniform), decided_by(best, uniform)

    def _keeps(self, point: FrontierPoint) -> bool:
        """Whether a measured recipe's drop is within the target."""
        return point.judged <= self._problem.target.limit

    def _tried(self, limit: float) -> Iterator[FrontierPoint]:
        """The best recipe for a size, measured, and where that takes channels away also the best that does not."""
        solution = self._solved(limit)
        yield self._points.measured(self._expected(solution))
        whole = self._whole.solve(limit) if solution.narrows else None
        if whole is not None:
            yield self._points.measured(self._expected(whole))

    def _solved(self, limit: float) -> Solution:
        """The solution for a budget, or for the least that can be reached.

        Raises:
            SearchError: there is none.
        """
        solution = self._model.solve(max(limit, self._model.least))
        if solution is None:
            raise self._unreachable()
        return solution

    def _alternatives(self, limit: float) -> list[Solution]:
        """The recipes that are worth measuring: those that leave layers as wide as they are.

        Where the additive model finds one best that does not, it and its like come too.
        """
        whole = _next_best(self._whole, limit, TRIED)
        best = self._model.solve(limit)
        if best is None or not best.narrows:
            return whole
        narrower = _next_best(self._model, limit, NARROWED if whole else TRIED)
        return [*whole, *(solution for solution in narrower if solution.narrows)]

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
        found = uniform_recipes(self._problem, self._scan, limit, self._channels)
        points = [
            self._points.foresee("uniform", one.label, self._problem.uniform(one.settings), one.loss) for one in found
        ]
        measured = [self._points.measured(point) for point in points]
        return reduce(better, measured) if measured else None

    def _unreachable(self) -> SearchError:
        target, least = self._problem.target, self._model.least
        share = self._problem.share(least)
        held = f" with {len(self._problem.held)} layers held as they are" if self._problem.held else ""
        return SearchError(
            f"{target.kind}={target.limit:g} cannot be reached{held}: the least is {least:,.0f} {self._problem.unit}, "
            f"{target.kind}={share + 0.00005:.4f} of the original's {self._problem.original:,.0f}."
        )


def _next_best(model: AdditiveModel, limit: float, count: int) -> list[Solution]:
    """The recipe that an additive model finds best, and the next best that differ from it by swaps at least."""
    found = list[Solution]()
    while len(found) < count and (solution := model.solve(limit, found)) is not None:
        found.append(solution)
    return found
