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


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Singular values of a layer's matrix ``[out, in·k·k]``.

    Attributes:
        singular_values: ``[min(out, in·k·k)]``, largest first.
        break_even_rank: ``m·n / (m + n)``: above it two factors hold more weights than the layer.
    """

    singular_values: Array
    break_even_rank: float

    @property
    def energy(self) -> Array:
        """Share of the squared singular values that ranks 1, 2, … keep: ``[min(out, in·k·k)]``, rising to 1."""
        squares = np.cumsum(self.singular_values**2)
        return squares / squares[-1] if len(squares) and squares[-1] > 0 else np.ones_like(squares)

    def rank_for(self, energy: float) -> int:
        """The smallest rank that keeps at least `energy` (0..1] of the squared singular values."""
        return min(int(np.searchsorted(self.energy, energy - 1e-12)) + 1, len(self.singular_values))
