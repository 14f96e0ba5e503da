"""Pruning while training: the share of zeros grows step by step, so that the weights left can make up for each."""

import torch
from torch import Tensor, fx

from studio.compression.compressed import CompressedModel
from studio.compression.prune import keep_all_but
from studio.compression.stored import LatentWeight, MaskedWeight
from studio.compression.trainable import stored_layers
from studio.recipe.settings import PruneSettings

#: Times that the zeros are chosen anew on the way.
_UPDATES = 100


class GradualPruning:
    """Brings unstructured sparsity from none to what the settings ask for.

    The cubic schedule ``s_t = s_f + (s_i − s_f) (1 − (t − t₀) / (n Δt))³`` with ``s_i = 0`` and ``t₀ = 0`` (M. Zhu and
    S. Gupta, To prune, or not to prune, arXiv 1710.01878), n being `_UPDATES` where there are as many steps. Every time
    the smallest weights of each layer go; those that are gone stay zero.

    Attributes:
        end: the step from which on the share is the final one, ``n Δt``.
    """

    def __init__(self, graph: fx.GraphModule, compressed: CompressedModel, span: int) -> None:
        self._every = max(1, span // _UPDATES)
        self.end = max(1, span // self._every) * self._every
        self._weights = [
            (layer.stored, settings.prune)
            for name, settings in compressed.settings.items()
            if settings.prune is not None and settings.prune.kind == "unstructured"
            for layer in stored_layers(graph.get_submodule(name))
            if isinstance(layer.stored, MaskedWeight | LatentWeight)
        ]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to prune."""
        return not self._weights

    def share(self, step: int) -> float:
        """How much of the final sparsity holds at step `step`, 0..1."""
        return 1 - (1 - min(step, self.end) / self.end) ** 3

    def before(self, step: int) -> None:
        """Prunes as far as step `step` (0-based) wants it, if it is one at which zeros are chosen."""
        if step <= self.end and step % self._every == 0:
            for weight, settings in self._weights:
                prune_to(weight, self.share(step), settings)


@torch.no_grad()
def prune_to(stored: MaskedWeight | LatentWeight, share: float, settings: PruneSettings) -> None:
    """Sets the smallest weights to zero: `share` of as many as the settings ask for."""
    values: Tensor = stored.weight if isinstance(stored, MaskedWeight) else stored.latent
    if stored.mask is None:
        raise ValueError("a weight that is to be pruned needs a mask")
    count = round(share * settings.zeros(len(values), values[0].numel()))
    keep = keep_all_but(count, (values * stored.mask).abs().cpu())
    stored.mask.copy_(keep)
