"""Ranges of rounded activations, measured anew while the weights before them change."""

from collections.abc import Mapping

import torch
from torch import Tensor, fx

from studio.compression.activations import FOLDER, RoundedActivation, range_methods, site_numbers
from studio.compression.compressed import CompressedModel
from studio.compression.ranges import RangeMethod, find_levels
from studio.models.sites import sites_of
from studio.recipe.rounding import rounded_layers


class RangeRenewal:
    """Gives the rounded activations of a graph the levels that suit what reaches them now.

    As in R. Krishnamoorthi, Quantizing deep convolutional networks for efficient inference, arXiv 1806.08342, ranges
    follow the activations in training; here each is chosen as the recipe says, from one batch.
    """

    def __init__(self, graph: fx.GraphModule, compressed: CompressedModel) -> None:
        self._graph = graph
        sites = sites_of(compressed.model.graph, compressed.model.info.layers)
        self._numbers = site_numbers(sites)
        layers = rounded_layers(compressed.settings)
        chosen = {n: s.quantize.activation_range for n, s in compressed.settings.items() if n in layers and s.quantize}
        self._methods: Mapping[int, RangeMethod] = range_methods(sites, chosen) if chosen else {}
        self._first = {number: name for name, number in reversed(self._numbers.items())}

    @torch.no_grad()
    def renew(self, inputs: tuple[Tensor, ...]) -> None:
        """Chooses all levels from what `inputs` lead to, one site after the other as it is reached."""
        modules = {
            name.removeprefix(f"{FOLDER}."): module
            for name, module in self._graph.named_modules()
            if isinstance(module, RoundedActivation)
        }

        def measure(name: str, module: RoundedActivation, given: tuple[Tensor, ...]) -> None:
            number = self._numbers[name]
            first = modules[self._first[number]]
            if module is first:
                levels = find_levels(given[0].cpu(), self._methods[number])
                module.scale.fill_(levels.scale)
                module.zero_point.fill_(levels.zero_point)
            else:  # what only moves values stays on their levels
                module.scale.copy_(first.scale)
                module.zero_point.copy_(first.zero_point)

        def hook(name: str, module: RoundedActivation) -> torch.utils.hooks.RemovableHandle:
            return module.register_forward_pre_hook(lambda own, given: measure(name, own, given))

        hooks = [hook(name, module) for name, module in modules.items()]
        try:
            self._graph(*inputs)
        finally:
            for one in hooks:
                one.remove()
