"""The additive model of a search: options by layer, solved exactly for any budget."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from studio.evaluation.sensitivity import Scan
from studio.recipe.recipe import Recipe
from studio.search.knapsack import choose
from studio.search.options import Option, options_of
from studio.search.problem import Problem

#: Share of a budget by which it is tightened at least where a solution exceeds it: more than the solver's tolerance.
STEP = 1e-5


@dataclass(frozen=True)
class Solution:
    """A choice for every free layer.

    Attributes:
        choice: number of each free layer's option.
        recipe: what it comes to.
        loss: expected distortion of the outputs.
        limit: what it may spend.
    """

    choice: tuple[int, ...]
    recipe: Recipe
    loss: float
    limit: float


class AdditiveModel:
    """Chooses among all options as if their losses added up.

    Args:
        problem: model and budget.
        scan: what the options are expected to cost.
    """

    def __init__(self, problem: Problem, scan: Scan) -> None:
        self._problem = problem
        self.options: Mapping[str, Sequence[Option]] = {
            layer.name: options_of(layer, scan.of(layer.name), problem.spent_by) for layer in problem.free
        }

    @cached_property
    def least(self) -> float:
        """The least that can be spent for certain."""
        smallest = self._solution([0] * len(self.options), 0.0).recipe
        added = self._problem.fixed + sum(options[0].spent for options in self.options.values())
        return max(added, self._problem.spent(smallest, self._problem.widest(smallest)))

    @cached_property
    def most(self) -> float:
        """What the recipe spends that is expected to lose nothing."""
        return self._problem.fixed + sum(options[-1].spent for options in self.options.values())

    def solve(self, limit: float, unlike: Sequence[Solution] = ()) -> Solution | None:
        """The recipe of the least expected loss that never spends more than `limit`, however ranks are split.

        Args:
            limit: what may be spent.
            unlike: solutions for the same limit that it shall not be like.
        """
        room = limit - self._problem.fixed
        while True:
            choice = choose(
                [[option.spent for option in options] for options in self.options.values()],
                [[option.loss for option in options] for options in self.options.values()],
                room,
                [other.choice for other in unlike],
            )
            if choice is None:
                return None
            solution = self._solution(choice, limit)
            excess = self._problem.spent(solution.recipe, self._problem.widest(solution.recipe)) - limit
            if excess <= 0:
                return solution
            room -= max(excess, STEP * limit)  # the parts of a file do not add up to the byte

    def _solution(self, choice: Sequence[int], limit: float) -> Solution:
        chosen = {name: options[k] for (name, options), k in zip(self.options.items(), choice, strict=True)}
        recipe = self._problem.recipe({name: option.settings for name, option in chosen.items()})
        return Solution(tuple(choice), recipe, sum(option.loss for option in chosen.values()), limit)
