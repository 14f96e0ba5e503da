"""One layer, its settings and what it is fitted to become a compressed layer: rank → sparsity → quantization."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from studio.analysis.inputs import HasRows
from studio.compression.fit import Fit
from studio.compression.half import HALF_DTYPES, HalfWeight
from studio.compression.modules import CompressedLayer, chained, compressed_like, factored_like
from studio.compression.prune import prune
from studio.compression.quantize import find_grid, fit_to_grid
from studio.compression.rank import allowed_weights, factor, moment_after, moment_seen, rest_for, split, spread
from studio.compression.stored import DenseWeight, IntegerWeight, StoredWeight
from studio.recipe.factorization import Factorization, candidates
from studio.recipe.settings import LayerSettings


@torch.no_grad()
def build_layer(
    layer: HasRows, settings: LayerSettings, fit: Fit, factorization: Factorization | None = None
) -> CompressedLayer:
    """Compresses one layer.

    Args:
        layer: the original.
        settings: canonical and not empty.
        fit: what the result should do.
        factorization: how to split a layer that has a rank; None chooses what comes nearest within its settings.
    """
    if settings.rank is None:
        stored = _store(fit.weight, fit.moment, settings, layer.weight.shape)
        return compressed_like(layer, stored, fit.bias_for(stored()), settings.quantize)
    shape, W, H = tuple(layer.weight.shape), fit.weight[0], None if fit.moment is None else fit.moment[0]
    if factorization is not None:
        chosen = _factors(W, H, shape, factorization)
    else:
        weights = allowed_weights(layer.weight.detach().flatten(1), shape, settings.rank)
        tried = [_factors(W, H, shape, candidate) for candidate in candidates(settings.rank, shape, weights)]
        chosen = min(tried, key=lambda factors: factors.error(W, H)) if len(tried) > 1 else tried[0]
    stored_factors = _stored_factors(chosen, W, H, settings)
    weight = chained([stored() for stored in stored_factors])
    form = chosen.factorization.form
    return factored_like(layer, form, stored_factors, fit.bias_for(weight), settings.quantize)


@dataclass(frozen=True, eq=False)
class _Factors:
    """A weight split in two: the first factor ``[r, seen]`` and the rest ``[out, r · places]``, of given shapes."""

    factorization: Factorization
    shapes: tuple[tuple[int, ...], ...]
    first: Tensor
    rest: Tensor

    def error(self, W: Tensor, H: Tensor | None) -> float:
        """``‖(W − Ŵ) H^½‖²``; the rest counts at the rank it will have."""
        places = self.rest.shape[1] // len(self.first)
        rest = self.rest
        if len(self.shapes) == 3:
            core, last = factor(rest, moment_after(self.first, H), self.factorization.ranks[1])
            rest = last @ core
        difference = W - rest @ spread(self.first, places).mT
        seen = difference if H is None else difference @ H
        return float((seen * difference).sum())


def _factors(W: Tensor, H: Tensor | None, shape: tuple[int, ...], factorization: Factorization) -> _Factors:
    shapes = factorization.shapes(shape)
    places = W.shape[1] // math.prod(shapes[0][1:])
    return _Factors(factorization, shapes, *split(W, H, factorization.ranks[0], places))


def _stored_factors(factors: _Factors, W: Tensor, H: Tensor | None, settings: LayerSettings) -> list[StoredWeight]:
    """Stores factor after factor, what comes behind solved anew for those that are stored already."""
    changed = settings.prune is not None or settings.quantize is not None
    first, rest = factors.first, factors.rest
    stored = [_store(first[None], _alone(moment_seen(H, rest.shape[1] // len(first))), settings, factors.shapes[0])]
    if changed:
        first = stored[0]().flatten(1).double()
        rest = rest_for(W, H, first)
    inner = moment_after(first, H)
    if len(factors.shapes) == 3:
        core, last = factor(rest, inner, factors.factorization.ranks[1])
        stored.append(_store(core[None], _alone(inner), settings, factors.shapes[1]))
        if changed:
            core = stored[1]().flatten(1).double()
            last = rest_for(rest, inner, core)
        rest, inner = last, moment_after(core, inner)
    stored.append(_store(rest[None], _alone(inner), settings, factors.shapes[-1]))
    return stored


def _alone(H: Tensor | None) -> Tensor | None:
    """A moment as that of the only group."""
    return None if H is None else H[None]


def _store(W: Tensor, H: Tensor | None, settings: LayerSettings, shape: tuple[int, ...]) -> StoredWeight:
    """Puts W ``[groups, rows, n]`` into the form that the settings ask for, of `shape` ``[out, in, *kernel]``."""
    keep = mask = None
    if settings.prune is not None:
        W, keep = prune(W, H, settings.prune)
        mask = keep.reshape(shape)
    if settings.quantize is None:
        return DenseWeight(W.float().reshape(shape), mask)
    chosen = settings.quantize
    if chosen.weight_bits == 16:
        return HalfWeight(W.float().reshape(shape), HALF_DTYPES[chosen.float_format], mask)
    grid = find_grid(
        W.flatten(0, 1), chosen.weight_bits, chosen.granularity, chosen.group_size, symmetric=chosen.symmetric
    )
    q, grid = fit_to_grid(W, H, grid, keep)
    return IntegerWeight(q, grid.scale, grid.bits, grid.block_size, shape, mask, grid.zero_point)
