"""The points of a frontier: expected ones, of which some are measured."""

from collections.abc import Callable
from dataclasses import replace

from studio.evaluation.expected_drop import ExpectedDrop
from studio.evaluation.result import Measurement, Result, distortion_of, drop_of
from studio.progress import Progress, Report
from studio.recipe.recipe import Recipe
from studio.search.outcome import FrontierPoint, Kind
from studio.search.problem import Problem

#: Compresses and measures a recipe; told where to report progress.
Measure = Callable[[Recipe, Report], Result]


class Points:
    """Collects points, and has them measured.

    Args:
        problem: model and budget.
        expected: what a distortion is expected to cost.
        measure: measures a recipe.
        total: how many measurements there will be, about.
        report: told of every measurement; raising `Cancelled` from it stops the work.
        publish: receives each point, as expected and as measured.

    Attributes:
        original: the original's measured value, None before the first measurement or where agreement counts.
    """

    def __init__(
        self,
        problem: Problem,
        expected: ExpectedDrop,
        measure: Measure,
        total: int,
        report: Report,
        publish: Callable[[FrontierPoint], None],
    ) -> None:
        self._problem = problem
        self._expected = expected
        self._measure = measure
        self._total = total
        self._report = report
        self._publish = publish
        self._points = dict[str, FrontierPoint]()
        self._done = 0
        self.original: Measurement | None = None

    @property
    def all(self) -> tuple[FrontierPoint, ...]:
        """Every point, those that spend least first."""
        return tuple(sorted(self._points.values(), key=lambda point: (point.spent, not point.is_measured)))

    def foresee(self, kind: Kind, label: str, recipe: Recipe, loss: float | None) -> FrontierPoint:
        """A point as it is expected; one that is known already stays as it is."""
        cost = self._problem.cost(recipe, self._problem.widest(recipe))
        expected = None if loss is None else self._expected(loss)
        spent = self._problem.share(self._problem.spent(recipe, self._problem.widest(recipe)))
        foreseen = self._problem.milliseconds(recipe)
        point = FrontierPoint(kind, label, recipe, cost.bytes, cost.macs, spent, loss, expected, foreseen_ms=foreseen)
        if point.key not in self._points:
            self._points[point.key] = point
            if expected is not None:
                self._publish(point)
        return self._points[point.key]

    def measured(self, point: FrontierPoint) -> FrontierPoint:
        """The point with what its recipe really does, and spends."""
        known = self._points.get(point.key, point)
        if known.is_measured:
            return known
        now = Progress(min(self._done, self._total - 1), self._total, f"Measuring {point.label}")
        self._report(now)
        result = self._measure(point.recipe, lambda _inner: self._report(now))
        self._done += 1
        self.original = result.original or self.original
        cost, distortion = self._problem.cost(point.recipe, result.factors), distortion_of(result)
        found = replace(
            point,
            bytes=cost.bytes,
            macs=cost.macs,
            spent=self._problem.share(self._problem.spent(point.recipe, result.factors)),
            loss=distortion,
            metric=result.metric,
            drop=drop_of(result),
            likely=self._expected(distortion),
        )
        self._points[point.key] = found
        self._publish(found)
        return found
