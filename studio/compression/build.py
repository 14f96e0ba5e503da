"""One layer, its settings and what it is fitted to become a compressed layer: rank → sparsity → quantization."""

import torch
from torch import Tensor, nn

from studio.analysis.inputs import HasRows
from studio.compression.fit import Fit
from studio.compression.modules import CompressedLayer, compressed_like, factored_like
from studio.compression.prune import prune
from studio.compression.quantize import find_grid, fit_to_grid
from studio.compression.rank import factor, moment_after, resolve_rank, second_factor
from studio.compression.stored import DenseWeight, IntegerWeight, StoredWeight
from studio.recipe.settings import LayerSettings


@torch.no_grad()
def build_layer(layer: HasRows, settings: LayerSettings, fit: Fit) -> CompressedLayer:
    """Compresses one layer.

    Args:
        layer: the original.
        settings: canonical and not empty.
        fit: what the result should do.
    """
    if settings.rank is not None:
        return _factored(layer, settings, fit, resolve_rank(layer.weight.detach().flatten(1), settings.rank))
    stored = _store(fit.weight, fit.moment, settings, layer.weight.shape)
    return compressed_like(layer, stored, fit.bias_for(stored()))


def _factored(layer: HasRows, settings: LayerSettings, fit: Fit, rank: int) -> CompressedLayer:
    W, H = fit.weight[0], None if fit.moment is None else fit.moment[0]
    first, second = factor(W, H, rank)
    ones = () if isinstance(layer, nn.Linear) else (1,) * len(layer.kernel_size)
    stored_first = _store(first[None], fit.moment, settings, (rank, *layer.weight.shape[1:]))
    if settings.prune or settings.quantize:
        first = stored_first().flatten(1).double()
        second = second_factor(W, H, first)
    inner = moment_after(first, H)
    stored_second = _store(second[None], None if inner is None else inner[None], settings, (*second.shape, *ones))
    product = stored_second().flatten(1) @ stored_first().flatten(1)
    return factored_like(layer, stored_first, stored_second, fit.bias_for(product))


def _store(W: Tensor, H: Tensor | None, settings: LayerSettings, shape: tuple[int, ...]) -> StoredWeight:
    """Puts W ``[groups, rows, n]`` into the form that the settings ask for, of `shape` ``[out, in, *kernel]``."""
    keep = mask = None
    if settings.prune is not None:
        W, keep = prune(W, H, settings.prune)
        mask = keep.reshape(shape)
    if settings.quantize is None:
        return DenseWeight(W.float().reshape(shape), mask)
    chosen = settings.quantize
    grid = find_grid(W.flatten(0, 1), chosen.weight_bits, chosen.granularity, chosen.group_size)
    integers, grid = fit_to_grid(W, H, grid, keep)
    return IntegerWeight(integers, grid.scale, grid.bits, grid.block_size, shape, mask)
