"""Channels that go: one choice for each group of coupled layers, and the layers as they are without them."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from math import ceil, prod

from studio.errors import RecipeError
from studio.models.layer import ChannelGroup, Layer, Share, channel_groups
from studio.recipe.settings import ChannelSettings, LayerSettings

#: How many channels stay, by group and number of the block.
Kept = Mapping[tuple[str, int], int]

_FLOAT = 4


def group_settings(
    layers: Iterable[Layer], settings: Mapping[str, LayerSettings], named: Mapping[str, LayerSettings]
) -> dict[str, ChannelSettings]:
    """What is chosen for each group; groups that lose nothing are absent.

    Any layer of a group may carry the choice. Layers named exactly go before the others, of which the first one
    counts; where none carries it the group stays whole. So does a group with a layer that is kept as it is, be it one
    that gives its channels or one that takes them.

    Args:
        layers: of the model.
        settings: what applies to each of them.
        named: entries of the recipe by exact name.

    Raises:
        RecipeError: two layers of one group are named with different choices.
    """
    chosen = dict[str, ChannelSettings]()
    if all(own.channels is None for own in settings.values()):
        return chosen  # the usual case, asked several times at every move of a slider
    for group in channel_groups(layers):
        if any(settings[name].keep for name in (*group.members, *group.consumers)):
            continue
        own = _carried(group, {name: entry.normalised() for name, entry in named.items() if name in group.members})
        _check_equal(own)
        given = own or _carried(group, settings)
        if given:
            chosen[group.name] = next(iter(given.values()))
    return chosen


def _carried(group: ChannelGroup, settings: Mapping[str, LayerSettings]) -> dict[str, ChannelSettings]:
    """The choices that layers of the group carry, by layer."""
    carried = ((name, settings[name].channels) for name in group.members if name in settings)
    return {name: choice for name, choice in carried if choice is not None}


def _check_equal(given: Mapping[str, ChannelSettings]) -> None:
    """Refuses two choices for the same channels.

    Raises:
        RecipeError: naming both layers.
    """
    names = list(given)
    for other in names[1:]:
        if given[other] != given[names[0]]:
            raise RecipeError(
                f"layers.{other}.channels: '{other}' and '{names[0]}' lose the same channels; "
                "give both the same settings, or only one of them.",
                ("layers", other, "channels"),
            )


def kept_channels(layers: Iterable[Layer], chosen: Mapping[str, ChannelSettings]) -> dict[tuple[str, int], int]:
    """How many channels of each block stay, at least one; blocks that stay whole are absent."""
    kept = dict[tuple[str, int], int]()
    for group in channel_groups(layers):
        if group.name in chosen:
            kept |= _kept_of(group, chosen[group.name])
    return kept


def _kept_of(group: ChannelGroup, settings: ChannelSettings) -> dict[tuple[str, int], int]:
    kept = dict[tuple[str, int], int]()
    for block, size in enumerate(group.blocks):
        wanted = max(1, size - round(settings.ratio * size))
        stay = min(size, ceil(wanted / settings.multiple_of) * settings.multiple_of)
        if stay < size:
            kept[group.name, block] = stay
    return kept


def narrowed(layer: Layer, kept: Kept) -> Layer:
    """The layer without the channels that go; the layer itself where it loses none."""
    rows = layer.shape[0] - _gone(layer.outputs, kept)
    depthwise = layer.groups > 1  # other grouped convolutions keep all their channels
    columns = layer.shape[1] if depthwise else layer.shape[1] - _gone(layer.inputs, kept)
    shape = (rows, columns, *layer.shape[2:])
    if shape == layer.shape:
        return layer
    parameters = prod(shape) + (rows if layer.has_bias else 0)
    return replace(
        layer,
        shape=shape,
        groups=rows if depthwise else layer.groups,
        parameters=parameters,
        bytes=_FLOAT * parameters,
        macs=int(Fraction(layer.macs, prod(layer.shape)) * prod(shape)),
    )


def _gone(shares: Iterable[Share], kept: Kept) -> int:
    return sum(share.times * (share.size - kept.get((share.group, share.block), share.size)) for share in shares)


def fitted(settings: LayerSettings, layer: Layer) -> LayerSettings:
    """The settings of a layer that lost channels, a rank within what it can still have."""
    rank = settings.rank
    if rank is None or rank.rank is None or rank.rank <= layer.full_rank:
        return settings
    return settings.model_copy(update={"rank": rank.model_copy(update={"rank": layer.full_rank})})
