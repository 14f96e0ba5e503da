"""How strong a layer's setting is, as one number a method: what sensitivity curves are drawn and read along."""

from math import prod

from studio.models.layer import Layer
from studio.recipe.factorization import Factorization, budget
from studio.recipe.settings import LayerSettings

#: Strength at which a method takes nothing away: weights of 16 bits, no zeros, as many weights and
#: channels as there were.
HARMLESS = {"quantize": -16.0, "prune": 0.0, "rank": -1.0, "channels": 0.0}


def strength(method: str, settings: LayerSettings) -> float | None:
    """A number that grows with what a method takes away; None where it is not used, or is set by another number."""
    if method == "activations":
        bits = settings.quantize.activation_bits if settings.quantize is not None else None
        return None if bits is None else -float(bits)
    if method == "quantize":
        return None if settings.quantize is None else -float(settings.quantize.weight_bits)
    if method == "channels":
        return None if settings.channels is None else settings.channels.ratio
    if method == "prune":
        return settings.prune.ratio if settings.prune is not None and settings.prune.kind == "unstructured" else None
    return None if settings.rank is None or settings.rank.parameters is None else -settings.rank.parameters


def strength_in(
    layer: Layer, method: str, settings: LayerSettings, factors: Factorization | None = None
) -> float | None:
    """The same for a known layer: its shape also tells what a rank leaves of it, and `factors` what an energy does."""
    known = strength(method, settings)
    if known is not None or method != "rank" or settings.rank is None:
        return known
    weights = factors.weights(layer.shape) if factors is not None else budget(settings.rank, layer.shape)
    return None if weights is None else -weights / prod(layer.shape)
