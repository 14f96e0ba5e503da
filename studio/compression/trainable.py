"""Compressed models as something to train, and back: masks, factors and quantizers in force at every step."""

import copy
from dataclasses import replace

from torch import fx, nn

from studio.compression.activations import (
    FOLDER,
    LearnedActivation,
    RoundedActivation,
    site_numbers,
    with_rounded_biases,
)
from studio.compression.compressed import CompressedModel
from studio.compression.modules import CompressedConv, CompressedLinear
from studio.compression.stored import IntegerWeight, LearnedStepWeight
from studio.models.sites import sites_of
from studio.recipe.rounding import integer_layers


def trainable(compressed: CompressedModel, *, learn_steps: bool = False) -> fx.GraphModule:
    """A deep copy to train, which at every moment computes what could be stored.

    All parameters train, those of uncompressed layers, biases and norms too, except in layers that the recipe keeps.

    Args:
        compressed: where training begins.
        learn_steps: the scales of integers and the levels of rounded activations train too.
    """
    graph = copy.deepcopy(compressed.graph)
    for layer in stored_layers(graph):
        stored = layer.stored
        if learn_steps and isinstance(stored, IntegerWeight):
            layer.stored = LearnedStepWeight(stored)
        else:
            layer.stored = stored.trainable()
    if learn_steps:
        _learn_levels(graph, compressed)
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
    for tensor in (*graph.parameters(), *graph.buffers()):  # channels may lie last while it trains
        tensor.data = tensor.data.contiguous()
    for layer in stored_layers(graph):
        layer.stored = layer.stored.frozen()
    for name, module in list(graph.named_modules(remove_duplicate=False)):
        if isinstance(module, LearnedActivation):
            graph.set_submodule(name, module.frozen())
    graph = with_rounded_biases(graph.requires_grad_(False).eval(), integer_layers(compressed.settings))
    return replace(compressed, graph=graph)


def _learn_levels(graph: fx.GraphModule, compressed: CompressedModel) -> None:
    """Makes all levels trainable; where a node only moves values, they stay those of what it moves."""
    numbers = site_numbers(sites_of(compressed.model.graph, compressed.model.info.layers))
    learned = dict[int, LearnedActivation]()
    for name, module in list(graph.named_modules()):
        if isinstance(module, RoundedActivation):
            number = numbers[name.removeprefix(f"{FOLDER}.")]
            graph.set_submodule(name, learned.setdefault(number, LearnedActivation(module)))


def stored_layers(graph: nn.Module) -> list[CompressedLinear | CompressedConv]:
    """The layers of a graph, or the parts of one layer, that have a stored weight."""
    return [module for module in graph.modules() if isinstance(module, CompressedLinear | CompressedConv)]
