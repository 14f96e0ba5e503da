"""What a scan tries on every layer: a few strengths of each method, torch-free."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase

from studio.errors import RecipeError
from studio.models.layer import OK, Layer, ModelInfo
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings

#: Methods that a scan tries, and the verdict of the same name that must allow them.
METHODS = ("quantize", "prune", "rank", "channels")

WEIGHT_BITS = (8, 4, 3)
SPARSITIES = (0.3, 0.5, 0.7)
RANK_SHARES = (0.75, 0.5, 0.25)
CHANNEL_RATIOS = (0.125, 0.25, 0.5)


@dataclass(frozen=True)
class Candidate:
    """One strength of one method for one layer, in words and as a recipe has it; channels at their first layer."""

    layer: Layer
    method: str
    setting: str
    settings: LayerSettings


def candidates(
    info: ModelInfo,
    pattern: str = "*",
    activations: bool = False,
    skip: Collection[str] = (),
    channels: bool = True,
) -> list[Candidate]:
    """What is tried, in the order in which it is cheapest to measure: the last layers first, mildest settings first.

    Args:
        info: the model.
        pattern: glob of the layers.
        activations: also round what each layer reads and gives to 8 bits, its weights left as they are. Beside the
            points of its weights alone it tells which of the two a layer minds, and so what may help it.
        skip: names of layers that are left out, and with them the channels that they give or take.
        channels: also remove channels, of each group of coupled layers alone, at the first layer of the group.

    Raises:
        RecipeError: no layer matches.
    """
    layers = [layer for layer in info.layers if fnmatchcase(layer.name, pattern)]
    if not layers:
        raise RecipeError(f"--layers: the pattern '{pattern}' matches no layer of the model.")
    groups = {group.name for group in info.groups if not {*group.members, *group.consumers} & {*skip}}
    return [
        candidate
        for layer in reversed(layers)
        if layer.name not in skip
        for candidate in (*_of(layer, activations), *(_of_group(layer) if channels and layer.name in groups else ()))
    ]


def left_out(info: ModelInfo) -> dict[str, dict[str, str]]:
    """By layer and method, why a scan does not try it."""
    reasons = {
        layer.name: {method: layer.methods.get(method, OK) for method in METHODS if not layer.allows(method)}
        for layer in info.layers
    }
    return {name: why for name, why in reasons.items() if why}


def _of(layer: Layer, activations: bool) -> Iterator[Candidate]:
    if activations and layer.allows("activations"):
        quantize = QuantizeSettings(weight_bits=16, activation_bits=8)
        yield Candidate(layer, "activations", "8 bit", LayerSettings(quantize=quantize))
    if layer.allows("quantize"):
        for bits in WEIGHT_BITS:
            quantize = QuantizeSettings.model_validate({"weight_bits": bits})
            yield Candidate(layer, "quantize", f"{bits} bit", LayerSettings(quantize=quantize))
    if layer.allows("prune"):
        for ratio in SPARSITIES:
            prune = PruneSettings(kind="unstructured", ratio=ratio)
            yield Candidate(layer, "prune", f"{100 * ratio:.0f} %", LayerSettings(prune=prune))
    if layer.allows("rank"):
        for share in RANK_SHARES:
            rank = RankSettings(parameters=share)
            yield Candidate(layer, "rank", f"{100 * share:.0f} %", LayerSettings(rank=rank))


def _of_group(layer: Layer) -> Iterator[Candidate]:
    """The channels of the group whose first layer this is."""
    for ratio in CHANNEL_RATIOS:
        yield Candidate(layer, "channels", f"{100 * ratio:g} %", LayerSettings(channels=ChannelSettings(ratio=ratio)))
