"""Recipes that treat every layer alike: what a search has to beat, each as mild as the budget allows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from studio.evaluation.sensitivity import Scan
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.search.losses import LayerLoss
from studio.search.problem import Problem

#: What may go with the bits.
_WAYS = ("rank", "channels", "prune")

#: Strengths in percent of what is taken away beside the bits: from nothing to nearly everything.
_STRENGTHS = range(96)

#: Of recipes whose loss can be foreseen, those within this factor of the least are worth measuring …
_CLOSE = 1.5

#: … and at most so many.
_MOST = 2


@dataclass(frozen=True)
class Uniform:
    """The same settings for every layer.

    Attributes:
        way: what goes with the bits: ``rank``, ``channels``, ``prune`` or nothing.
        label: the settings in words.
        settings: as a recipe has them.
        strength: in percent, what the way takes away.
        loss: distortion that the scan lets one expect; None where it cannot tell.
    """

    way: str
    label: str
    settings: LayerSettings
    strength: int
    loss: float | None = None


def uniform_recipes(problem: Problem, scan: Scan, limit: float, channels: bool = True) -> list[Uniform]:
    """The mildest recipe of each way within the budget, as far as it may turn out the best.

    Args:
        problem: model and budget.
        scan: from which the loss of bits, zeros and ranks is foreseen.
        limit: what may be spent.
        channels: whether channels may go.
    """
    ways = [way for way in _WAYS if channels or way != "channels"]
    found = [replace(one, loss=_expected(problem, scan, one)) for one in _within_budget(problem, limit, ways)]
    known = sorted((one.loss, number) for number, one in enumerate(found) if one.loss is not None)
    close = [found[number] for loss, number in known if loss <= _CLOSE * known[0][0]][:_MOST]
    unknown = sorted((one for one in found if one.loss is None), key=lambda one: one.strength)
    return [*close, *unknown[:1]]


def _within_budget(problem: Problem, limit: float, ways: Sequence[str]) -> Iterator[Uniform]:
    for bits in _bits():
        for way in ways:
            mildest = _mildest(problem, limit, way, bits)
            if mildest is not None:
                yield mildest
                if mildest.strength == 0:
                    break  # the bits alone will do


def _bits() -> Iterator[QuantizeSettings | None]:
    yield None
    yield QuantizeSettings(weight_bits=8)
    yield QuantizeSettings(weight_bits=4)
    yield QuantizeSettings(weight_bits=4, granularity="tensor")


def _mildest(problem: Problem, limit: float, way: str, bits: QuantizeSettings | None) -> Uniform | None:
    """The least strength within the budget, by bisection; None where even the greatest is not enough."""

    def fits(strength: int) -> bool:
        recipe = problem.uniform(_made(way, bits, strength).settings)
        return problem.spent(recipe, problem.widest(recipe)) <= limit

    low, high = _STRENGTHS[0], _STRENGTHS[-1]
    if not fits(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return _made(way, bits, low)


def _made(way: str, bits: QuantizeSettings | None, strength: int) -> Uniform:
    share, words = strength / 100, list[str]()
    settings = LayerSettings(quantize=bits)
    if strength and way == "rank":
        settings = LayerSettings(quantize=bits, rank=RankSettings(parameters=1 - share))
        words = [f"rank with {100 - strength} % of the weights"]
    elif strength and way == "channels":
        settings = LayerSettings(quantize=bits, channels=ChannelSettings(ratio=share))
        words = [f"{strength} % fewer channels"]
    elif strength and way == "prune":
        settings = LayerSettings(quantize=bits, prune=PruneSettings(kind="unstructured", ratio=share))
        words = [f"{strength} % zeros"]
    if bits is not None:
        words = [f"{bits.weight_bits} bit" + (", one scale a layer" if bits.granularity == "tensor" else ""), *words]
    return Uniform(way if strength else "", ", ".join(words) or "as it is", settings, strength)


def _expected(problem: Problem, scan: Scan, one: Uniform) -> float | None:
    """The sum of what each layer's scan lets one expect; None where one of them cannot tell."""
    settings = problem.uniform(one.settings).settings_of(problem.free)
    losses = [LayerLoss(scan.of(layer.name))(settings[layer.name]) for layer in problem.free]
    known = [loss for loss in losses if loss is not None]
    return sum(known) if len(known) == len(losses) else None
