"""The recovery ladder: what can bring accuracy back, the cheapest first, and which of it to try next.

A rung is a way to carry out the same recipe (its `Options`), up to training; the layers' settings never change.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any

from studio.evaluation.result import Measurement
from studio.models.layer import Layer, ModelInfo
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings

NOT_COMPRESSED = "Compress at least one layer first: there is nothing to recover yet."
NO_DATA = "There is no data to fit to: choose training data (or test data)."
NO_TRAINING_DATA = "There is no training data to learn from: choose some."
TRAINED = "Trained weights stay as training has left them."
NO_BIAS = "No layer has a bias, which would take up a channel's mean."
NO_NORM = "There is no BatchNorm to recalibrate: layers on sequences go with norms that measure every sample anew."
NONE_WITH_BIAS = "No compressed layer has a bias that could be corrected."


@dataclass(frozen=True)
class Rung:
    """One remedy.

    Attributes:
        key: its name on the command line.
        title: for a person.
        what: what it would do, in plain words.
        options: the fields of `Options` that carry it out; empty for training.
        fit: how layers are then fitted, ``layer`` or ``sequential``; what it takes is told from earlier fits.
    """

    key: str
    title: str
    what: str
    options: Mapping[str, Any]
    fit: str = "layer"

    @property
    def trains(self) -> bool:
        """Whether it trains weights instead of fitting them."""
        return not self.options


def _fit(fit: str, *, biases: bool, norms: bool) -> dict[str, Any]:
    return {"fit": fit, "bias_correction": biases, "norm_recalibration": norms}


LEAVE = Rung(
    "leave",
    "Leave norms alone",
    "Each layer is compressed by itself; means, norms and biases stay as they are.",
    _fit("layer", biases=False, norms=False),
)
NORMS = Rung(
    "norms",
    "BatchNorm recalibration",
    "Every channel gets the mean and spread back that it had in the original. BatchNorms are folded into the layers "
    "when a model is opened, so their weights and biases take it up.",
    _fit("layer", biases=False, norms=True),
)
BIASES = Rung(
    "biases",
    "Bias correction",
    "Each layer's bias makes up for the shift that its new weights give to its mean output.",
    _fit("layer", biases=True, norms=False),
)
REFIT = Rung(
    "refit",
    "Data-aware re-fit",
    "Every layer is fitted in sequence to what the compressed layers before it really give; biases are corrected too.",
    _fit("sequential", biases=True, norms=False),
    "sequential",
)
DISTIL = Rung(
    "distil",
    "Distil",
    "The compressed model learns from the original by training; zeros, ranks and bits stay in force, rounding included "
    "(quantization-aware).",
    {},
)

#: The cheapest first.
RUNGS = (LEAVE, NORMS, BIASES, REFIT, DISTIL)


@dataclass(frozen=True)
class Footing:
    """What the ladder stands on.

    Attributes:
        info: the model.
        recipe: what is chosen for it.
        chosen: the settings that hold for each layer, by name.
        fits: whether there is data to fit to.
        trains: whether there is data to train on.
        trained: whether the weights are trained ones.
    """

    info: ModelInfo
    recipe: Recipe
    chosen: Mapping[str, LayerSettings]
    fits: bool
    trains: bool
    trained: bool = False

    @cached_property
    def changed(self) -> list[Layer]:
        """Layers that the recipe does something to."""
        return [layer for layer in self.info.layers if not self.chosen[layer.name].is_empty]


def standing(on: Footing) -> Rung | None:
    """The rung that holds: by the recipe's own options, unless they make no difference; None for a mix of several."""
    if on.trained:
        return DISTIL
    options = on.recipe.options
    if not (on.fits and options.data_aware):
        return LEAVE
    own = {name: getattr(options, name) for name in LEAVE.options}
    return next((rung for rung in RUNGS if rung.options == own), None)


def carried_out(recipe: Recipe, rung: Rung) -> Recipe:
    """The recipe as a rung carries it out; where nothing fits to data yet, all but the first make it do so."""
    fitting = {} if rung in (LEAVE, DISTIL) else {"data_aware": True}
    return recipe.with_options(**rung.options, **fitting)


def why_not(rung: Rung, on: Footing) -> str:
    """The reason why a rung would bring nothing; empty where it applies."""
    if not on.changed:
        return NOT_COMPRESSED
    lack = _lack(on.info, "train" if rung.trains else "fit" if rung is not LEAVE else "measure")
    if lack:
        return lack
    if rung.trains:
        return "" if on.trains else NO_TRAINING_DATA
    if on.trained:
        return TRAINED
    if rung is LEAVE:
        return ""
    if not on.fits:
        return NO_DATA
    if rung is NORMS and not any(layer.has_bias for layer in on.info.layers):
        return NO_BIAS
    if rung is NORMS and not _may_have_norms(on.info.layers):
        return NO_NORM
    return NONE_WITH_BIAS if rung is BIASES and not any(layer.has_bias for layer in on.changed) else ""


def _lack(info: ModelInfo, ability: str) -> str:
    """Why a model has none of an ability, a sentence; empty where it has it."""
    lack = info.lacks.get(ability, "")
    return f"{lack[:1].upper()}{lack[1:].rstrip('.')}." if lack else ""


def _may_have_norms(layers: Iterable[Layer]) -> bool:
    """Whether most of the arithmetic is in layers that a BatchNorm may have been folded into.

    A file whose norms are folded does not tell that it had any. They stand behind convolutions, and behind linear
    layers that run once a sample; linear layers on sequences, as in a transformer, go with norms of another kind.
    """
    macs = {True: 0, False: 0}
    for layer in layers:
        macs[layer.has_bias and (len(layer.shape) > 2 or layer.macs <= prod(layer.shape))] += layer.macs
    return macs[True] >= macs[False]


@dataclass(frozen=True)
class Advice:
    """What to do next.

    Attributes:
        rung: the rung to take; None where nothing is to be done, or nothing can be.
        why: the reason, a sentence or two.
    """

    rung: Rung | None
    why: str


def advice(on: Footing, drops: Mapping[str, Measurement], present: Measurement | None) -> Advice:
    """Suggests the next rung from what was measured.

    In this order:

    1. The present drop is within the noise (its paired 95 % interval reaches down to zero): nothing is needed.
    2. A rung that was measured is within the noise: the cheapest such one. Otherwise the one that lost least, if its
       drop lies below the interval of the present one.
    3. The next rung above the present one, of those that apply and were not measured, by the cause of the drop: where
       weights are removed (zeros, channels, rank) the spread of channels shrinks, which norms make up for (REPAIR,
       arXiv 2211.08403); rounding alone shifts means, so that biases come first (Nagel et al. 2019, arXiv 1906.04721).
       Then the fit in sequence, for errors that add up from layer to layer, then training.

    Args:
        on: what the ladder stands on.
        drops: drops that were measured on the rungs of these settings, by key (positive: worse).
        present: drop of what holds now; None while it is being measured.
    """
    if not on.changed:
        return Advice(None, NOT_COMPRESSED)
    if lack := _lack(on.info, "measure"):  # how far weights are off is no drop
        return Advice(None, lack)
    if present is None:
        return Advice(None, "The present state is not measured yet.")
    if present.low <= 0:
        return Advice(None, "The drop is within the noise: nothing is needed.")
    now = standing(on)
    better = _best(drops, now, present)
    if better is not None:
        found = drops[better.key]
        how = "is within the noise" if found.low <= 0 else f"lost {present.value - found.value:.2f} less"
        return Advice(better, f"{better.title} was measured and {how}: take it.")
    ahead = [rung for rung in _by_cause(on) if rung.key not in drops and not why_not(rung, on)]
    if ahead and not ahead[0].trains:
        return Advice(ahead[0], f"The drop is beyond the noise; {_cause(on)}.")
    if ahead or (now is DISTIL and not why_not(DISTIL, on)):
        again = "training longer, or milder settings" if now is DISTIL else "what is left takes training"
        return Advice(DISTIL, f"The drop is beyond the noise; {again}.")
    return Advice(None, f"The drop is beyond the noise. {why_not(DISTIL, on) or 'Milder settings lose less.'}")


def _best(drops: Mapping[str, Measurement], now: Rung | None, present: Measurement) -> Rung | None:
    """A measured rung that is better than the present one beyond doubt, or that leaves nothing to recover."""
    measured = [rung for rung in RUNGS if rung.key in drops and rung is not now]
    enough = next((rung for rung in measured if drops[rung.key].low <= 0), None)
    if enough is not None:
        return enough
    best = min(measured, key=lambda rung: drops[rung.key].value, default=None)
    return best if best is not None and drops[best.key].value < present.low else None


def _by_cause(on: Footing) -> tuple[Rung, ...]:
    """The rungs above the present one, in the order that the cause of the drop suggests."""
    present = RUNGS.index(standing(on) or LEAVE)
    order = (NORMS, BIASES, REFIT, DISTIL) if _removes(on) else (BIASES, NORMS, REFIT, DISTIL)
    return tuple(rung for rung in order if RUNGS.index(rung) > present)


def _removes(on: Footing) -> bool:
    """Whether weights are removed anywhere, and not just rounded."""
    chosen = [on.chosen[layer.name] for layer in on.changed]
    return any(one.prune or one.channels or one.rank for one in chosen)


def _cause(on: Footing) -> str:
    """Why the next rung comes next."""
    if standing(on) in (NORMS, BIASES):
        return "errors may add up from layer to layer"
    return "weights removed make channels spread less" if _removes(on) else "rounding shifts the means of channels"
