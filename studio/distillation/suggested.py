"""What a distillation is asked where nobody says, with the reasons, and what of a model it cannot be asked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from studio.distillation.settings import DistillSettings
from studio.models.layer import Layer, ModelInfo
from studio.recipe.settings import LayerSettings

#: Names of the settings that are suggested.
SUGGESTED = ("epochs", "learning_rate", "batch_size", "temperature", "crop", "gradual", "learn_steps")

#: Names of the settings that are for images alone.
OF_IMAGES = ("flip", "crop")

#: Steps of a run, of one that has much to win back, and of an epoch, that it takes to learn anything; fewer samples
#: pass more often in smaller batches.
_STEPS, _MANY_STEPS, _STEPS_PER_EPOCH = 550, 1200, 80

_BATCHES = (16, 128)
_EPOCHS = (2, 20)

#: Of answers for every token: a perplexity is measured without softening. On held-out text of the built-in sample, at 4
#: bits and half rank, three epochs end at 3.21 with it and at 3.25 with 4 (3.90 before).
_TOKEN_TEMPERATURE = 1.0

#: Share of zeros from which on weights go gradually. ResNet-20 on CIFAR-10 at 80 %: 8 epochs so, with
#: shifted images, end at 86.57, 4 epochs of all zeros at once at 85.97.
_MANY_ZEROS = 0.6

#: Share of the weights in layers that lose rank or channels, or keep 3 bits or fewer, from which on a run is longer.
_MUCH = 0.5

#: Where weights are rounded and nothing else: a larger rate undoes more than rounding costs.
_GENTLE_RATE = 0.0003

#: Share of an image's smaller side that it is shifted by at most: the usual 4 of 32 pixels.
_SHIFT = 1 / 8

#: Why each setting is suggested, by the setting or by what it is for.
_REASONS: Mapping[str, str] = {
    "usual": "about {steps} steps of {batch} samples",
    "much": "{what}: about {steps} steps of {batch} samples, twice the usual",
    "batch_size": "{samples} samples make {each} steps an epoch",
    "learning_rate": "weights are only rounded, to 4 bits or more: small steps keep what is right",
    "temperature": "answers for every token are compared as they are measured",
    "crop": "shifted colour images are other examples of the same class",
    "gradual": "{zeros} % of the weights become zero: they go while the others learn to make up for them",
    "learn_steps": "few levels serve better where they are learnt too",
}


@dataclass(frozen=True)
class Demand:
    """What a recipe asks of a network's weights, in shares of all of them.

    Attributes:
        zeros: that become zero, anywhere in their layer.
        reshaped: in layers that lose rank or channels.
        coarse: that keep 3 bits or fewer.
        rounds: whether weights keep 4 bits or fewer, or activations 8.
        only_rounds: whether rounding to 4 bits or more is all that happens.
    """

    zeros: float
    reshaped: float
    coarse: float
    rounds: bool
    only_rounds: bool

    @property
    def much(self) -> str:
        """Why there is much to win back, in words; empty where there is not."""
        if self.zeros >= _MANY_ZEROS:
            return "many weights go"
        if self.reshaped >= _MUCH:
            return "many layers lose rank or channels"
        return "few bits stay" if self.coarse >= _MUCH else ""


@dataclass(frozen=True)
class Suggestion:
    """Settings, and by the name of each that was suggested the reason."""

    settings: DistillSettings
    reasons: Mapping[str, str]


def demand_of(layers: tuple[Layer, ...], chosen: Mapping[str, LayerSettings]) -> Demand:
    """What the settings `chosen` for `layers`, by name, come to; layers without any stay as they are."""
    total = sum(prod(layer.shape) for layer in layers)
    zeros = reshaped = coarse = 0
    rounds = only_rounds = others = False
    for layer in layers:
        settings = chosen.get(layer.name, LayerSettings())
        weights, prune, quantize = prod(layer.shape), settings.prune, settings.quantize
        others = others or prune is not None or settings.rank is not None or settings.channels is not None
        if prune is not None and prune.kind == "unstructured":
            zeros += prune.zeros(*layer.matrix_shape)
        if settings.rank is not None or settings.channels is not None:
            reshaped += weights
        if quantize is not None:
            coarse += weights * (quantize.weight_bits <= 3)
            rounds = rounds or quantize.weight_bits <= 4 or quantize.activation_bits is not None
            only_rounds = True
    total = max(1, total)
    gently = only_rounds and not others and not coarse
    return Demand(zeros / total, reshaped / total, coarse / total, rounds, gently)


def suggested(
    given: DistillSettings, samples: int, info: ModelInfo, chosen: Mapping[str, LayerSettings] | None = None
) -> Suggestion:
    """`given` with a value for those of `SUGGESTED` that it leaves open.

    Args:
        given: fields that were set stay.
        samples: to train on.
        info: of the teacher.
        chosen: what a recipe asks for each layer, by name; None for a student that is not a compressed model.
    """
    fields, demand = given.model_fields_set, demand_of(info.layers, chosen or {})
    values, why = dict[str, Any](), dict[str, str]()

    def suggest(name: str, value: Any, reason: str) -> None:
        if name not in fields:
            values[name], why[name] = value, reason

    batch, epochs = _lengths(given, samples, _MANY_STEPS if demand.much else _STEPS)
    each = math.ceil(samples / batch)
    told = {"what": demand.much, "steps": f"{epochs * each:,}", "batch": batch, "each": each, "samples": f"{samples:,}"}
    suggest("epochs", epochs, _REASONS["much" if demand.much else "usual"].format(**told))
    suggest("batch_size", batch, _REASONS["batch_size"].format(**told))
    if demand.only_rounds:
        suggest("learning_rate", _GENTLE_RATE, _REASONS["learning_rate"])
        if demand.rounds:
            suggest("learn_steps", True, _REASONS["learn_steps"])
    if demand.zeros >= _MANY_ZEROS and given.channel_steps == 1 and epochs * each >= _STEPS:  # in few it ends worse
        suggest("gradual", True, _REASONS["gradual"].format(zeros=f"{100 * demand.zeros:.0f}"))
    if info.outputs and len(info.outputs[0].shape) == 3:
        suggest("temperature", _TOKEN_TEMPERATURE, _REASONS["temperature"])
    if shift := _shift(info):
        suggest("crop", shift, _REASONS["crop"])
    return Suggestion(given.model_copy(update=values), why)


def _lengths(given: DistillSettings, samples: int, steps: int) -> tuple[int, int]:
    """Samples of a step and epochs: those given, or those with which so many steps are made."""
    least, most = _BATCHES
    wanted = 2 ** math.floor(math.log2(max(1, samples / _STEPS_PER_EPOCH)))
    batch = given.batch_size if "batch_size" in given.model_fields_set else min(max(wanted, least), most)
    few, many = _EPOCHS
    wanted = round(steps / math.ceil(samples / batch))
    return batch, given.epochs if "epochs" in given.model_fields_set else min(max(wanted, few), many)


def _shift(info: ModelInfo) -> int:
    """Pixels by which colour images may be moved without another class; 0 for anything else."""
    if not info.outputs or len(info.outputs[0].shape) != 2:
        return 0
    sizes = [one.shape[2:] for one in info.inputs if len(one.shape) == 4 and one.shape[1] == 3]
    sides = [side for size in sizes for side in size if side is not None]
    return round(_SHIFT * min(sides)) if sides else 0


def why_no_images(info: ModelInfo) -> str:
    """Why `OF_IMAGES` do not fit a model, empty where they do: images are ``[batch, channels, height, width]``."""
    return "" if any(len(spec.shape) == 4 for spec in info.inputs) else "Only for images, and this model takes none."
