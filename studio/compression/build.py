"""One layer, its settings and what it is fitted to become a compressed layer: rank → sparsity → quantization."""

import torch
from torch import Tensor, nn

import studio.compression.ops  # noqa: F401 (registers the op that stored integers are read with)
from studio.analysis.inputs import HasRows
from studio.compression.fit import Fit
from studio.compression.modules import CompressedLayer, compressed_like, factored_like
from studio.compression.prune import prune
from studio.compression.quantize import find_grid, quantize
from studio.compression.rank import factor, moment_after, resolve_rank, second_factor
from studio.compression.stored import DenseWeight, IntegerWeight, StoredWeight
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings


@torch.no_grad()
def build_layer(layer: HasRows, settings: LayerSettings, fit: Fit) -> CompressedLayer:
    """Compresses one layer.

    Args:
        layer: the original.
        settings: canonical and not empty.
        fit: what the result should do.
    """
    if settings.rank is not None:
        return _factored(layer, settings, fit)
    stored = _store(fit.weight, fit.moment, settings, layer.weight.shape)
    return compressed_like(layer, stored, fit.bias_for(stored()))


def _factored(layer: HasRows, settings: LayerSettings, fit: Fit) -> CompressedLayer:
    assert settings.rank is not None
    W, H = fit.weight[0], None if fit.moment is None else fit.moment[0]
    rank = resolve_rank(layer.weight.detach().flatten(1), settings.rank)
    first, second = factor(W, H, rank)
    ones = () if isinstance(layer, nn.Linear) else (1,) * len(layer.kernel_size)
    stored_first = _store(first[None], fit.moment, settings, (rank, *layer.weight.shape[1:]))
    if settings.prune or settings.quantize:
        first = stored_first().flatten(1).double()
        second = second_factor(W, H, first)
    inner = moment_after(first, H)
    stored_second = _store(
        second[None], None if inner is None else inner[None], settings, (*second.shape, *ones)
    )
    product = stored_second().flatten(1) @ stored_first().flatten(1)
    return factored_like(layer, stored_first, stored_second, fit.bias_for(product))


def _store(
    W: Tensor, H: Tensor | None, settings: LayerSettings, shape: torch.Size | tuple[int, ...]
) -> StoredWeight:
    """Puts W ``[groups, rows, n]`` into the form that the settings ask for, of `shape` ``[out, in / groups, *kernel]``."""
    pruned, keep = _pruned(W, H, settings.prune)
    mask = None if keep is None else keep.reshape(shape)
    if settings.quantize is None:
        return DenseWeight(pruned.float().reshape(shape), mask)
    return _integers(W if keep is None else pruned, H, settings.quantize, keep, shape)


def _pruned(W: Tensor, H: Tensor | None, settings: PruneSettings | None) -> tuple[Tensor, Tensor | None]:
    return (W, None) if settings is None else prune(W, H, settings.ratio)


def _integers(
    W: Tensor,
    H: Tensor | None,
    settings: QuantizeSettings,
    keep: Tensor | None,
    shape: torch.Size | tuple[int, ...],
) -> StoredWeight:
    grid = find_grid(W.flatten(0, 1), settings.weight_bits, settings.granularity, settings.group_size)
    q = quantize(W, H, grid, keep)
    mask = None if keep is None else keep.reshape(shape)
    return IntegerWeight(q, grid.scale, grid.bits, grid.block_size, shape, mask)
