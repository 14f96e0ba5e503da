"""Pruning while training: the share of zeros grows step by step, so that the weights left can make up for each."""

from functools import partial

import torch
from torch import Tensor, fx, nn

from studio.analysis.calibration import RunningMoments
from studio.compression.compressed import CompressedModel
from studio.compression.prune import keep_all_but
from studio.compression.solver import damped, inverse_diagonal, solve_kept
from studio.compression.stored import LatentWeight, MaskedWeight
from studio.compression.trainable import stored_layers
from studio.recipe.settings import PruneSettings

#: Times that the zeros are chosen anew on the way.
_UPDATES = 20


class GradualPruning:
    """Brings unstructured sparsity from none to what the settings ask for.

    The cubic schedule ``s_t = s_f + (s_i − s_f) (1 − (t − t₀) / (n Δt))³`` with ``s_i = 0`` and ``t₀ = 0`` (M. Zhu and
    S. Gupta, To prune, or not to prune, arXiv 1710.01878), n being `_UPDATES` where there are as many steps. Every time
    those weights of each layer go that its inputs, as the student gives them now, miss least; those that are gone stay
    zero, and the others make up for them at once (`prune_to`).

    Attributes:
        end: the step from which on the share is the final one, ``n Δt``.
    """

    def __init__(self, graph: fx.GraphModule, compressed: CompressedModel, span: int) -> None:
        self._graph = graph
        self._every = max(1, span // _UPDATES)
        self.end = max(1, span // self._every) * self._every
        self._layers = [
            (layer, layer.stored, settings.prune)
            for name, settings in compressed.settings.items()
            if settings.prune is not None and settings.prune.kind == "unstructured"
            for layer in stored_layers(graph.get_submodule(name))
            if isinstance(layer.stored, MaskedWeight | LatentWeight)
        ]

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to prune."""
        return not self._layers

    def share(self, step: int) -> float:
        """How much of the final sparsity holds at step `step`, 0..1."""
        return 1 - (1 - min(step, self.end) / self.end) ** 3

    def before(self, step: int, inputs: tuple[Tensor, ...]) -> None:
        """Prunes as far as step `step` (0-based) wants it, if it is one at which zeros are chosen.

        Args:
            step: the step to come.
            inputs: samples that show what the layers see.
        """
        if 0 < step <= self.end and step % self._every == 0:
            for moments, (_, stored, settings) in zip(self._seen(inputs), self._layers, strict=True):
                prune_to(stored, moments.second, self.share(step), settings)

    @torch.no_grad()
    def _seen(self, inputs: tuple[Tensor, ...]) -> list[RunningMoments]:
        """The moments of what reaches the layers."""
        seen = [RunningMoments(layer.outline()) for layer, _, _ in self._layers]
        hooks = [
            layer.register_forward_pre_hook(partial(_look, moments))
            for moments, (layer, _, _) in zip(seen, self._layers, strict=True)
        ]
        try:
            self._graph(*inputs)
        finally:
            for hook in hooks:
                hook.remove()
        return seen


def _look(moments: RunningMoments, _layer: nn.Module, given: tuple[Tensor, ...]) -> None:
    moments.add(given[0].cpu())


@torch.no_grad()
def prune_to(stored: MaskedWeight | LatentWeight, H: Tensor, share: float, settings: PruneSettings) -> None:
    """Sets weights to zero, `share` of as many as the settings ask for, and solves the others anew.

    Args:
        stored: what is trained.
        H: second moment of the inputs, float64 ``[groups, n, n]``.
        share: 0..1.
        settings: the final sparsity.

    Raises:
        ValueError: the weight has no mask.
    """
    if stored.mask is None:
        raise ValueError("a weight that is to be pruned needs a mask")
    values: Tensor = stored.weight if isinstance(stored, MaskedWeight) else stored.latent
    H = damped(H)
    groups, columns, _ = H.shape
    W = (values * stored.mask).cpu().reshape(groups, -1, columns)
    count = round(share * settings.zeros(len(values), columns))
    keep = keep_all_but(count, W.double() ** 2 / inverse_diagonal(H)[:, None])
    values.copy_(solve_kept(W, H.float(), W, keep).reshape(values.shape))
    stored.mask.copy_(keep.reshape(values.shape))
