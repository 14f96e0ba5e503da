"""The value that compression makes: the model's graph with some layers replaced."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, fx, nn

from studio.compression.channels import Cut, widened
from studio.compression.modules import CompressedLayer
from studio.models.model import Model
from studio.recipe.factorization import Factorization
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings


@dataclass(frozen=True, eq=False)
class CompressedModel:
    """A model with a recipe carried out.

    Attributes:
        model: the original.
        recipe: what was asked for.
        graph: the compressed model in eval mode; layers that are neither changed nor
            recalibrated are those of the original itself.
        settings: canonical settings of the layers that are changed.
        factors: how every factored layer is split.
        cuts: what stays of every layer that lost channels; it belongs to `settings` even if those are empty.
        fit: whether each layer was fitted alone (``layer``) or to what the compressed layers before it give.
        fitted: the changed layers as another compression may take them over: in the layer fit without recalibration,
            which depends on the layers before them.
    """

    model: Model
    recipe: Recipe
    graph: fx.GraphModule
    settings: Mapping[str, LayerSettings]
    factors: Mapping[str, Factorization]
    fit: Literal["layer", "sequential"] = "layer"
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    fitted: Mapping[str, nn.Module] = field(default_factory=dict)

    @torch.no_grad()
    def effective_weight(self, name: str) -> Tensor:
        """The dense weight ``[out, in / groups, *kernel]`` that the layer `name` amounts to; lost channels are zeros.

        Raises:
            AttributeError: there is no such layer.
        """
        weight = effective_weight(self.graph.get_submodule(name))
        if name not in self.cuts:
            return weight
        return widened(weight, self.cuts[name], tuple(self.model.module(name).get_parameter("weight").shape))


def effective_weight(layer: nn.Module) -> Tensor:
    """The dense weight of a layer, compressed or not, apart from its gradient."""
    weight = layer.effective_weight() if isinstance(layer, CompressedLayer) else layer.get_parameter("weight")
    return weight.detach()


def with_layers(graph: fx.GraphModule, layers: Mapping[str, nn.Module]) -> fx.GraphModule:
    """A graph module with the given layers at their paths; all others are shared with `graph`, which stays as it is."""
    replaced = copy.copy(graph)
    for name, layer in layers.items():
        replaced.set_submodule(name, layer)
    return replaced.eval()
