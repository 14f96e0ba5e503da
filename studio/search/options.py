"""What can be done to one layer, what it spends and what it is expected to cost."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product

from studio.evaluation.sensitivity import ScanPoint
from studio.models.layer import Layer
from studio.recipe.cost import LayerCost, rest_cost
from studio.recipe.factorization import budget, candidates
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.search.losses import LayerLoss
from studio.search.target import Meter

#: Shares of the weights that a rank may keep, scanned ones and others between and beside them.
RANK_SHARES = (0.9, 0.8, 0.75, 0.7, 0.625, 0.5, 0.375, 0.25)


@dataclass(frozen=True)
class Option:
    """One way to treat a layer.

    Attributes:
        settings: as a recipe has it.
        spent: of the budget; where a rank leaves the form open, with the form that takes most.
        loss: expected distortion of the model's outputs.
    """

    settings: LayerSettings
    spent: float
    loss: float


def options_of(
    layer: Layer, points: Iterable[ScanPoint], spent: Callable[[Layer, LayerSettings], float]
) -> list[Option]:
    """All combinations of the scanned strengths of each method, but those that spend and lose no less than another.

    Args:
        layer: the original.
        points: of its scan; without any it can only stay as it is.
        spent: what a layer spends with its settings.

    Returns:
        Options that spend ever more and lose ever less.
    """
    points = tuple(points)
    loss = LayerLoss(points)
    expected = ((settings, loss(settings)) for settings in _combined(points))
    return undominated(
        Option(settings, spent(layer, settings), lost) for settings, lost in expected if lost is not None
    )


def undominated(options: Iterable[Option]) -> list[Option]:
    """The options that no other one beats in both, in the order of what they spend."""
    best = list[Option]()
    for option in sorted(options, key=lambda one: (one.spent, one.loss)):
        if not best or option.loss < best[-1].loss:
            best.append(option)
    return best


def spent_by(layer: Layer, settings: LayerSettings, meter: Meter, rest: Layer | None = None) -> float:
    """The most that a layer, or what is left of it, spends with its settings, whichever form its factors take."""
    return max(meter.of_layer(cost) for cost in _costs(layer, rest or layer, settings.normalised()))


def _combined(points: tuple[ScanPoint, ...]) -> Iterator[LayerSettings]:
    """Every choice of at most one strength of each method."""
    bits: list[QuantizeSettings | None] = [None, *(p.settings.quantize for p in points if p.method == "quantize")]
    zeros: list[PruneSettings | None] = [None, *(p.settings.prune for p in points if p.method == "prune")]
    ranks: list[RankSettings | None] = [None]
    if any(point.method == "rank" for point in points):
        ranks += [RankSettings(parameters=share) for share in RANK_SHARES]
    for quantize, prune, rank in product(bits, zeros, ranks):
        yield LayerSettings(quantize=quantize, prune=prune, rank=rank)


def _costs(layer: Layer, rest: Layer, settings: LayerSettings) -> list[LayerCost]:
    """What is left of the layer costs with each form that its factors may take."""
    weights = None if settings.rank is None else budget(settings.rank, rest.shape)
    if settings.rank is None or weights is None:
        return [rest_cost(layer, rest, settings)]
    return [rest_cost(layer, rest, settings, factors) for factors in candidates(settings.rank, rest.shape, weights)]
