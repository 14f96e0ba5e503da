"""What an analysis hands to the window: small torch-free values, already binned and sorted."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WeightView:
    """A layer's weights before and after, over the same bins.

    Attributes:
        edges: bin borders ``[bins + 1]``, in the weight's unit.
        original: counts ``[bins]`` of the original weights.
        compressed: counts of the compressed weights (exact zeros not counted), None when the layer is unchanged.
        zeros: share of exact zeros among the compressed (or original) weights, 0..1.
        mean, std, low, high: of the original weights.
        sqnr_db: ``10·log10(Σw² / Σ(w − ŵ)²)`` in dB, None when the layer is unchanged, infinite when equal.
        output_error: relative error of the layer's outputs ``‖(W − Ŵ)X‖ / ‖WX‖`` on calibration inputs, None when
            the layer is unchanged or there is no calibration.
        model_error: the same of the model's outputs as it is expected with this layer alone changed: a forecast, None
            where that is not known.
    """

    edges: Array
    original: Array
    compressed: Array | None
    zeros: float
    mean: float
    std: float
    low: float
    high: float
    sqnr_db: float | None
    output_error: float | None
    model_error: float | None = None


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of a layer's matrix ``[out, in·k·k]``, of a huge one the leading ones alone.

    Attributes:
        singular_values: ``[found]``, largest first; `found` is ``min(out, in·k·k)`` unless there is a rest.
        break_even_rank: ``m·n / (m + n)``: above it two factors hold more weights than the layer.
        rest: how many smaller values were not computed one by one.
        rest_energy: what their squares sum up to, which is known all the same: all squares sum up to ``‖W‖²``.
    """

    singular_values: Array
    break_even_rank: float
    rest: int = 0
    rest_energy: float = 0.0

    @property
    def full_rank(self) -> int:
        """``min(out, in·k·k)``."""
        return len(self.singular_values) + self.rest

    @property
    def energy(self) -> Array:
        """Share of the squared singular values that ranks 1, 2, … keep: ``[min(out, in·k·k)]``, rising to 1.

        Of ranks among the rest the least that they can keep: values fall, so that the first of the rest hold at least
        what as many of equal size would.
        """
        rest = np.full(self.rest, self.rest_energy / max(1, self.rest))
        squares = np.cumsum(np.concatenate([self.singular_values**2, rest]))
        return squares / squares[-1] if len(squares) and squares[-1] > 0 else np.ones_like(squares)

    def reaches(self, energy: float) -> bool:
        """Whether the values that were computed one by one hold `energy` (0..1], so that its rank is exact."""
        return not self.rest or bool(self.energy[len(self.singular_values) - 1] >= energy - 1e-12)

    def rank_for(self, energy: float) -> int:
        """The smallest rank that surely keeps at least `energy` (0..1] of the squared singular values."""
        return min(int(np.searchsorted(self.energy, energy - 1e-12)) + 1, self.full_rank)
