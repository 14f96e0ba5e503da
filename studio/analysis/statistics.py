"""What a layer's weights look like before and after: histogram, spread and signal-to-noise ratio."""

import math

import numpy as np
import torch
from torch import Tensor

from studio.analysis.views import Array, WeightView


def weight_view(
    original: Tensor,
    compressed: Tensor | None,
    moment: Tensor | None = None,
    leverage: Tensor | None = None,
    bins: int = 201,
) -> WeightView:
    """The weights of a layer before and after, over the same bins.

    The bins span the values of both, symmetric about 0 when they have either sign, so that zero falls in the middle
    of a bin of its own (with an odd number of bins) and pruned and near-zero weights can be told apart.

    Args:
        original: weight matrix ``[out, in]``.
        compressed: the same matrix as the compressed layer computes with it, None when the layer is unchanged.
        moment: second moment of the layer's inputs, see `output_error`; None when nothing is known of them.
        leverage: what the model's outputs feel of each channel ``[out]``, see `model_error`; None when not known.
        bins: number of bins.
    """
    learnt = None if compressed is None or moment is None else (compressed, moment)
    before = _values(original)
    after = None if compressed is None else _values(compressed)
    edges = _edges(before if after is None else np.concatenate([before, after]), bins)
    shown = before if after is None else after
    return WeightView(
        edges=edges,
        original=_histogram(before, edges),
        compressed=None if after is None else _histogram(after[after != 0], edges),
        zeros=float(np.mean(shown == 0)) if shown.size else 0.0,
        mean=float(before.mean()) if before.size else 0.0,
        std=float(before.std()) if before.size else 0.0,
        low=float(before.min()) if before.size else 0.0,
        high=float(before.max()) if before.size else 0.0,
        sqnr_db=None if after is None else sqnr_db(before, after),
        output_error=None if learnt is None else output_error(original, *learnt),
        model_error=None if learnt is None or leverage is None else model_error(original, *learnt, leverage),
    )


def sqnr_db(original: Array, compressed: Array) -> float:
    """Signal to quantization noise ratio ``10·log10(Σw² / Σ(w − ŵ)²)`` in dB; infinite when both are equal."""
    signal, noise = float(np.sum(original**2)), float(np.sum((original - compressed) ** 2))
    if noise == 0:
        return math.inf
    return 10 * math.log10(signal / noise) if signal > 0 else -math.inf


def output_error(original: Tensor, compressed: Tensor, moment: Tensor) -> float:
    """How far the layer's outputs are off, ``‖(W − Ŵ) H^½‖ / ‖W H^½‖``; infinite where something came from nothing.

    Args:
        original: ``[out, in]``.
        compressed: ``[out, in]``.
        moment: ``E[x xᵀ]`` of the layer's inputs ``[in, in]``, or ``[groups, in, in]`` for grouped convolutions;
            centred where the layer's bias makes up for a shifted mean.
    """
    signal, noise = (float(_energy(weight, moment).sum()) for weight in (original, original - compressed))
    if noise <= 0:
        return 0.0
    return math.sqrt(noise / signal) if signal > 0 else math.inf


def model_error(original: Tensor, compressed: Tensor, moment: Tensor, leverage: Tensor) -> float:
    """How far the model's outputs will be off, relative to them: a forecast, see `studio.analysis.leverage`.

    Args:
        original: ``[out, in]``.
        compressed: ``[out, in]``.
        moment: as of `output_error`.
        leverage: of the layer's channels, ``[out]``.
    """
    return math.sqrt(max(0.0, float(_energy(original - compressed, moment) @ leverage)))


def _energy(weight: Tensor, moment: Tensor) -> Tensor:
    """The diagonal of ``W H Wᵀ``, ``[out]``; over all groups where H is ``[groups, in, in]``."""
    second = moment.double().reshape(-1, *moment.shape[-2:])
    rows = weight.detach().double().reshape(len(second), -1, second.shape[-1])
    return ((rows @ second) * rows).sum(-1).flatten()


def _values(weight: Tensor) -> Array:
    return weight.detach().to("cpu", torch.float64).flatten().numpy()


def _edges(values: Array, bins: int) -> Array:
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if low < 0 < high:
        high = max(-low, high)
        low = -high
    if low == high:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, bins + 1)


def _histogram(values: Array, edges: Array) -> Array:
    return np.histogram(values, edges)[0].astype(np.float64)
