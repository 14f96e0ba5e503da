"""What a search finds: torch-free values that cross the engine's door."""

import math
from dataclasses import dataclass
from typing import Literal

from studio.evaluation.result import Measurement
from studio.recipe.recipe import Recipe

Kind = Literal["search", "uniform"]

#: What tells one recipe to be better than another; ``target``: it alone keeps within what was asked for.
Decided = Literal["drop", "distortion", "target"]


@dataclass(frozen=True)
class FrontierPoint:
    """One recipe between small and accurate.

    Attributes:
        kind: ``search``, or ``uniform`` where every layer has the same settings.
        label: its settings in words where they are uniform, otherwise the share of the original that it may spend.
        recipe: the recipe.
        bytes: of the exported file; until it is measured at most so many.
        macs: for one sample; likewise.
        spent: of the budget, as a share of the original's.
        loss: distortion of the outputs: added up from the scan, or measured; None where the scan cannot tell.
        expected: drop that the scan lets one expect; likewise.
        metric: measured value of the compressed model; None until it is measured.
        drop: measured drop, on the same samples as the original; None until it is measured.
        likely: drop that its measured distortion lets one expect, as the scan's points tell; None until it is measured.
        foreseen_ms: milliseconds that the times of its layers let one foresee; None where no time is asked for.
        ms: measured milliseconds of the whole; None until it is timed.
    """

    kind: Kind
    label: str
    recipe: Recipe
    bytes: int
    macs: int
    spent: float
    loss: float | None
    expected: float | None
    metric: Measurement | None = None
    drop: Measurement | None = None
    likely: float | None = None
    foreseen_ms: float | None = None
    ms: float | None = None

    @property
    def is_measured(self) -> bool:
        """Whether its accuracy was measured."""
        return self.metric is not None

    @property
    def key(self) -> str:
        """Tells it from other points: a point that is measured takes the place of the expected one."""
        return self.kind + self.recipe.model_dump_json(exclude_unset=True)

    @property
    def rank(self) -> tuple[float, float]:
        """Smaller is better: the drop, then the distortion, measured or else expected."""
        drop = self.expected if self.drop is None else self.drop.value
        return (math.inf if drop is None else drop), (math.inf if self.loss is None else self.loss)

    @property
    def judged(self) -> float:
        """The drop by which it is held against a limit: the measured one, or the likely one where that is more.

        A recipe is not within half a point because a few samples happened to come out right, and where its samples
        show more than its distortion lets one expect they count.
        """
        return max(math.inf if self.drop is None else self.drop.value, self.likely or 0.0)

    @property
    def nearness(self) -> tuple[float, float]:
        """Smaller is better, among recipes of one kind: the distortion, then the drop.

        Their drops lie a few samples apart, which is chance; every sample tells of the distortion.
        """
        drop, loss = self.rank
        return loss, drop


@dataclass(frozen=True)
class SearchOutcome:
    """The answer to a search.

    Attributes:
        best: what is offered: the better one of the search's own and the uniform recipe.
        uniform: the best uniform recipe within the same budget; None where there is none.
        original: the original's measured value; None where agreement with it counts.
        frontier: recipes for other budgets, the smallest first, measured ones and expected ones; `best` among them.
        seconds: that it took.
        original_ms: measured milliseconds of the original, in turns with the best; None where no time is asked for.
        late: the best, timed as a whole, takes longer than was asked for: no quicker one was found.
        decided_by: what tells the search's own recipe from the uniform one; None where there is no other.
    """

    best: FrontierPoint
    uniform: FrontierPoint | None
    original: Measurement | None
    frontier: tuple[FrontierPoint, ...]
    seconds: float
    original_ms: float | None = None
    late: bool = False
    decided_by: Decided | None = None


def decided_by(one: FrontierPoint, other: FrontierPoint) -> Literal["drop", "distortion"]:
    """What tells which of two measured recipes is better.

    Their drops where the intervals lie apart; where they overlap, the samples do not tell, and the distortion of the
    outputs does, of which every sample knows.
    """
    if one.drop is None or other.drop is None:
        return "distortion"
    return "drop" if one.drop.high < other.drop.low or other.drop.high < one.drop.low else "distortion"


def better(one: FrontierPoint, other: FrontierPoint) -> FrontierPoint:
    """The better one of two measured recipes, by what `decided_by` tells; of equal ones the first."""
    if decided_by(one, other) == "drop":
        return min(one, other, key=lambda point: point.rank)
    return min(one, other, key=lambda point: point.nearness)
