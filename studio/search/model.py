"""The additive model of a search: options by layer and by group of channels, solved exactly for any budget."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from studio.evaluation.sensitivity import Scan
from studio.models.layer import Layer
from studio.recipe.recipe import Recipe
from studio.search.knapsack import Tie, choose
from studio.search.options import Option, options_of, undominated
from studio.search.problem import Problem
from studio.search.widths import RATIOS, Widths, widths_of

#: Share of a budget by which it is tightened at least where a solution exceeds it: more than the solver's tolerance.
STEP = 1e-5


@dataclass(frozen=True)
class Solution:
    """A choice for every free layer, and for every group of channels.

    Attributes:
        choice: number of each group's share, then of each free layer's option.
        recipe: what it comes to.
        loss: expected distortion of the outputs.
        limit: what it may spend.
        narrows: whether channels go.
    """

    choice: tuple[int, ...]
    recipe: Recipe
    loss: float
    limit: float
    narrows: bool = False


@dataclass(frozen=True)
class _Item:
    """A free layer as the knapsack has it.

    Attributes:
        layer: the original.
        touching: numbers of the groups whose channels it gives or takes.
        presumed: for each option, the numbers of these groups' shares.
        options: for each combination of shares, those that spend ever more and lose ever less.
    """

    layer: Layer
    touching: Sequence[int]
    presumed: Sequence[tuple[int, ...]]
    options: Sequence[Option]

    def ties(self, number: int) -> Iterator[Tie]:
        """What binds it, the item of this number, to the groups, which are the items before all layers."""
        for place, group in enumerate(self.touching):
            yield Tie(number, group, [shares[place] for shares in self.presumed])

    def extreme(self, share: int, which: int) -> int:
        """Number of the option that spends least (`which` 0) or most (-1) with the same share of all groups."""
        like = [number for number, shares in enumerate(self.presumed) if all(one == share for one in shares)]
        return like[which]


class AdditiveModel:
    """Chooses among all options as if their losses added up.

    Args:
        problem: model and budget.
        scan: what the options are expected to cost.
        channels: whether channels may go.
    """

    def __init__(self, problem: Problem, scan: Scan, channels: bool = True) -> None:
        self._problem = problem
        self._widths = widths_of(problem, scan) if channels else Widths(problem.info.layers, ())
        self._items = [_item(problem, self._widths, layer, scan) for layer in problem.free]

    @property
    def narrows(self) -> bool:
        """Whether there are channels that may go."""
        return bool(self._widths.all)

    @cached_property
    def least(self) -> float:
        """The least that can be spent for certain."""
        narrowest = len(RATIOS) - 1
        numbers = [item.extreme(narrowest, 0) for item in self._items]
        smallest = self._solution([*(narrowest for _ in self._widths.all), *numbers], 0.0).recipe
        added = sum(item.options[number].spent for item, number in zip(self._items, numbers, strict=True))
        return max(self._problem.fixed + added, self._problem.spent(smallest, self._problem.widest(smallest)))

    @cached_property
    def most(self) -> float:
        """What the recipe spends that is expected to lose nothing."""
        return self._problem.fixed + sum(item.options[item.extreme(0, -1)].spent for item in self._items)

    def solve(self, limit: float, unlike: Sequence[Solution] = ()) -> Solution | None:
        """The recipe of the least expected loss that never spends more than `limit`, however ranks are split.

        Args:
            limit: what may be spent.
            unlike: solutions for the same limit that it shall not be like.
        """
        room, groups = limit - self._problem.fixed, len(self._widths.all)
        while True:
            choice = choose(
                [*([0.0] * len(RATIOS) for _ in range(groups)), *self._of_layers("spent")],
                [*(width.losses for width in self._widths.all), *self._of_layers("loss")],
                room,
                [other.choice for other in unlike],
                [tie for number, item in enumerate(self._items, groups) for tie in item.ties(number)],
            )
            if choice is None:
                return None
            solution = self._solution(choice, limit)
            excess = self._problem.spent(solution.recipe, self._problem.widest(solution.recipe)) - limit
            if excess <= 0:
                return solution
            room -= max(excess, STEP * limit)  # the parts of a file do not add up to the byte

    def _of_layers(self, attribute: str) -> Iterator[list[float]]:
        return ([getattr(option, attribute) for option in item.options] for item in self._items)

    def _solution(self, choice: Sequence[int], limit: float) -> Solution:
        shares, numbers = choice[: len(self._widths.all)], choice[len(self._widths.all) :]
        chosen = {item.layer.name: item.options[k] for item, k in zip(self._items, numbers, strict=True)}
        settings = {name: option.settings for name, option in chosen.items()}
        for name, channels in self._widths.settings(shares).items():
            settings[name] = settings[name].model_copy(update={"channels": channels})
        loss = sum(width.losses[share] for width, share in zip(self._widths.all, shares, strict=True))
        loss += sum(option.loss for option in chosen.values())
        return Solution(tuple(choice), self._problem.recipe(settings), loss, limit, any(shares))


def _item(problem: Problem, widths: Widths, layer: Layer, scan: Scan) -> _Item:
    """The options of a layer at each of its widths: what no other option beats at full width, counted anew."""
    whole = options_of(layer, scan.of(layer.name), problem.spent_by)
    presumed, options = list[tuple[int, ...]](), list[Option]()
    for shares, rest in widths.versions(layer):
        narrower = (replace(one, spent=problem.spent_by(layer, one.settings, rest)) for one in whole)
        found = undominated(narrower) if rest != layer else whole
        options += found
        presumed += [shares] * len(found)
    return _Item(layer, widths.touching(layer), presumed, options)
