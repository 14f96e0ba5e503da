"""Compressed models as something to train, and back: masks, factors and quantizers in force at every step."""

import copy
from dataclasses import replace

from torch import fx

from studio.compression.activations import with_rounded_biases
from studio.compression.compressed import CompressedModel
from studio.compression.modules import CompressedConv, CompressedLinear
from studio.recipe.rounding import integer_layers


def trainable(compressed: CompressedModel) -> fx.GraphModule:
    """A deep copy to train, which at every moment computes what could be stored.

    All parameters train, those of uncompressed layers, biases and norms too, except in layers that the recipe keeps.
    """
    graph = copy.deepcopy(compressed.graph)
    for layer in _stored_layers(graph):
        layer.stored = layer.stored.trainable()
    graph.requires_grad_()
    for info in compressed.model.info.layers:
        if compressed.recipe.settings_for(info).keep:
            graph.get_submodule(info.name).requires_grad_(False)
    return graph


def freeze(compressed: CompressedModel, trained: fx.GraphModule) -> CompressedModel:
    """The compressed model with trained values: integers and zeros stored anew, on the CPU and in eval mode.

    Args:
        compressed: what `trained` was made from.
        trained: from `trainable`; it may go on training afterwards.
    """
    graph = copy.deepcopy(trained).cpu()
    for layer in _stored_layers(graph):
        layer.stored = layer.stored.frozen()
    graph = with_rounded_biases(graph.requires_grad_(False).eval(), integer_layers(compressed.settings))
    return replace(compressed, graph=graph)


def _stored_layers(graph: fx.GraphModule) -> list[CompressedLinear | CompressedConv]:
    return [module for module in graph.modules() if isinstance(module, CompressedLinear | CompressedConv)]
