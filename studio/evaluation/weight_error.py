"""How far a compressed model's weights are off: what can be measured where there is no network to run.

It says how near the weights are, not how well the network does: layers mind the same error very differently.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from studio.compression.compressed import CompressedModel
from studio.evaluation.result import WEIGHT_ERROR, Measurement, Result
from studio.models.model import Model
from studio.progress import Progress, Report, silent

#: Weights that are held in float64 at once (32 MiB).
_SLICE = 4 * 2**20


class WeightNorms:
    """Squares of the weights of a model's layers, summed, each computed once."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._total: float | None = None

    def total(self, report: Report = silent) -> float:
        """Of all layers together, ``Σ ‖W‖²``."""
        if self._total is None:
            layers, found = self._model.info.layers, 0.0
            for done, layer in enumerate(layers):
                report(Progress(done, len(layers), f"Reading {layer.name}"))
                found += sum(float(part.square().sum()) for part in _slices(self._weight(layer.name)))
            self._total = found
        return self._total

    def _weight(self, name: str) -> Tensor:
        return self._model.module(name).get_parameter("weight")


def weight_error(compressed: CompressedModel, norms: WeightNorms, report: Report = silent) -> Result:
    """The error ``‖W − Ŵ‖ / ‖W‖`` over the weights of all layers, in percent, and the same as SQNR in dB.

    Args:
        compressed: what the recipe made.
        norms: of its original.
        report: told of every layer; may raise `Cancelled`.
    """
    model, noise = compressed.model, 0.0
    for done, name in enumerate(compressed.settings):
        report(Progress(done, len(compressed.settings), f"Comparing {name}"))
        noise += squared_difference(model.module(name).get_parameter("weight"), compressed.effective_weight(name))
    result = error_result(noise, norms.total(report), sum(layer.parameters for layer in model.info.layers))
    return replace(result, fit=compressed.fit, factors=compressed.factors)


def squared_difference(original: Tensor, other: Tensor) -> float:
    """``‖W − Ŵ‖²`` of two weights of one shape."""
    pairs = zip(_slices(original), _slices(other), strict=True)
    return sum(float((one - two).square().sum()) for one, two in pairs)


def error_result(noise: float, signal: float, count: int) -> Result:
    """The result of ``Σ (w − ŵ)²`` and ``Σ w²`` over `count` weights; it has no interval, for all were compared."""
    share = math.sqrt(noise / signal) if signal > 0 else math.inf if noise > 0 else 0.0
    error = Measurement(WEIGHT_ERROR, 100 * share, 100 * share, 100 * share, count)
    sqnr = math.inf if noise == 0 else -20 * math.log10(share) if share < math.inf else -math.inf
    return Result(error, None, error, count, labelled=False, sqnr_db=sqnr)


def _slices(weight: Tensor) -> Iterator[Tensor]:
    flat = weight.detach().reshape(-1)
    for start in range(0, len(flat), _SLICE):
        yield flat[start : start + _SLICE].to(torch.float64)
