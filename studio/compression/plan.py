"""What a recipe means for the layers of one graph: their settings, and what stays of them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx

from studio.analysis.calibration import Calibration
from studio.analysis.gradients import Gradients
from studio.analysis.inputs import HasRows, layer_at
from studio.compression.build import build_layer
from studio.compression.channels import Cut, cut_layer, cuts_of, new_arguments, removed_by
from studio.compression.fit import Fit, fit_of_rest, layer_fit
from studio.compression.importance import least_by_magnitude, least_by_taylor, least_for_outputs
from studio.compression.modules import CompressedLayer
from studio.compression.rank import allowed_weights
from studio.errors import CompressionError
from studio.models.channels import Channels, find_channels
from studio.models.layer import channel_groups
from studio.models.model import Model
from studio.recipe.channels import fitted, kept_channels, narrowed
from studio.recipe.recipe import Recipe
from studio.recipe.settings import ChannelSettings, LayerSettings


@dataclass(frozen=True, eq=False)
class Plan:
    """What is done to the layers of a graph.

    Attributes:
        graph: the original.
        settings: of the layers that change, in running order and without channels; empty ones where channels are all
            that a layer loses.
        cuts: what stays of the layers that lose channels.
        arguments: of the graph's nodes that name a number of channels which is another one now.
        bias_correction: whether biases may change too.
    """

    graph: fx.GraphModule
    settings: Mapping[str, LayerSettings]
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    arguments: Mapping[fx.Node, tuple[Any, ...]] = field(default_factory=dict)
    bias_correction: bool = True

    def layer(self, name: str) -> HasRows:
        """What stays of a layer, with its own weights."""
        layer = layer_at(self.graph, name)
        return cut_layer(layer, self.cuts[name]) if name in self.cuts else layer

    def layer_fit(self, name: str, calibration: Calibration | None) -> Fit:
        """What that is to be fitted to where each layer is fitted alone."""
        layer = layer_at(self.graph, name)
        fit = layer_fit(name, layer, calibration, self.bias_correction)
        return fit_of_rest(fit, layer, self.cuts[name]) if name in self.cuts else fit

    def build(self, name: str, fit: Fit) -> CompressedLayer:
        """What stays of a layer, compressed as its settings say.

        Raises:
            CompressionError: its weights are not finite, or what it is fitted to cannot be computed with.
        """
        layer = self.layer(name)
        if not layer.weight.isfinite().all():
            raise CompressionError(f"{name}: it holds weights that are not finite (NaN or infinite): keep it as it is.")
        try:
            return build_layer(layer, self.settings[name], fit)
        except torch.linalg.LinAlgError as error:  # type: ignore[attr-defined]
            raise CompressionError(
                f"{name}: what it is given on the data is too large, or not finite, and cannot be fitted to: keep the "
                "layer as it is, or leave Fit to data (data_aware) off."
            ) from error


def make_plan(
    model: Model,
    recipe: Recipe,
    graph: fx.GraphModule,
    calibration: Calibration | None,
    known_cuts: Mapping[str, Cut],
    gradients: Gradients | None = None,
) -> Plan:
    """Finds out which channels go and what then applies to every layer.

    Args:
        model: the original.
        recipe: what is wanted; it fits the model.
        graph: the model's, or the same graph with other weights.
        calibration: what the layers' inputs look like.
        known_cuts: an earlier choice, which stands where it takes as many channels as the recipe.
        gradients: how the loss leans on the channels.

    Raises:
        CompressionError: channels are to go by what the loss leans on, which is not known.
    """
    layers = model.info.layers
    settings = {
        name: chosen.model_copy(update={"channels": None}) for name, chosen in recipe.settings_of(layers).items()
    }
    chosen = recipe.groups_of(layers)
    kept = kept_channels(layers, chosen)
    if not kept:
        changed = {name: one for name, one in settings.items() if not one.is_empty}
        return Plan(graph, changed, bias_correction=recipe.options.bias_correction)
    channels = find_channels(graph, model.example())
    known_before = removed_by(known_cuts, channels)
    removed = _removed(model, graph, channels, chosen, kept, calibration, gradients, known_before)
    cuts = cuts_of(graph, channels, removed)
    for layer in layers:
        if layer.name in cuts:
            known = _with_known_rank(layer_at(graph, layer.name), settings[layer.name])
            settings[layer.name] = fitted(known, narrowed(layer, kept))
    plan = {name: one for name, one in settings.items() if name in cuts or not one.is_empty}
    return Plan(graph, plan, cuts, new_arguments(channels, removed), recipe.options.bias_correction)


def _removed(
    model: Model,
    graph: fx.GraphModule,
    channels: Channels,
    chosen: Mapping[str, ChannelSettings],
    kept: Mapping[tuple[str, int], int],
    calibration: Calibration | None,
    gradients: Gradients | None,
    known: set[int],
) -> set[int]:
    """Ids of all channels that go.

    Raises:
        CompressionError: the gradients that a choice needs are not known.
    """

    def fit_of(name: str, layer: HasRows) -> Fit:
        return layer_fit(name, layer, calibration)

    removed = set[int]()
    for group in channel_groups(model.info.layers):
        if group.name not in chosen:
            continue
        counts = {
            block: size - kept[group.name, block]
            for block, size in enumerate(group.blocks)
            if (group.name, block) in kept
        }
        before = [one for one in known if one in channels.blocks and channels.blocks[one][0] == group.name]
        if counts == Counter(channels.blocks[one][1] for one in before):
            removed.update(before)
        elif chosen[group.name].importance == "magnitude":
            removed |= least_by_magnitude(graph, channels, group.name, counts)
        elif chosen[group.name].importance == "taylor":
            removed |= least_by_taylor(_known_gates(gradients, group.name), channels, group.name, counts)
        else:
            removed |= least_for_outputs(graph, channels, group.name, counts, fit_of)
    return removed


def _known_gates(gradients: Gradients | None, group: str) -> Mapping[str, Tensor]:
    """The gradients, where there are any.

    Raises:
        CompressionError: there is no data to learn them from.
    """
    if gradients is None:
        raise CompressionError(
            f"{group}: how the loss leans on channels is learnt from data: choose training data (--calibration) and "
            "leave Fit to data (data_aware) on, or choose channels by another importance."
        )
    return gradients.gates


def _with_known_rank(layer: HasRows, settings: LayerSettings) -> LayerSettings:
    """An energy as the rank that it comes to in the whole layer: it is known without the choice of channels."""
    if settings.rank is None or settings.rank.energy is None:
        return settings
    matrix = layer.weight.detach().flatten(1)
    rank = allowed_weights(matrix, tuple(layer.weight.shape), settings.rank) // sum(matrix.shape)
    return settings.model_copy(update={"rank": settings.rank.model_copy(update={"energy": None, "rank": rank})})
