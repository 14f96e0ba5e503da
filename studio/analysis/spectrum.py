"""The singular values of a layer's matrix: how many ranks carry its energy."""

import torch
from torch import Tensor

from studio.analysis.views import Spectrum

#: Below this share of the largest one, singular values from the Gram matrix are lost in rounding.
_GRAM_LIMIT = 1e-6

#: How much longer one side must be than the other before the Gram matrix pays off.
_GRAM_ASPECT = 2.0


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a layer's matrix ``[out, in·k·k]``.

    Args:
        matrix: weights; computed in float64 whatever its dtype.
    """
    rows, columns = matrix.shape
    values = singular_values(matrix)
    return Spectrum(values.numpy(), rows * columns / (rows + columns))


def singular_values(matrix: Tensor) -> Tensor:
    """Singular values in float64 ``[min(rows, columns)]``, largest first.

    A matrix much longer on one side is reduced to its Gram matrix ``A·Aᵀ``, whose eigenvalues are the squares of the
    singular values. Squaring loses what is below ``√ε ≈ 1.5e-8`` of the largest value, so that where such small
    values occur the exact decomposition is used instead (Golub & Van Loan, Matrix Computations, §8.6).
    """
    wide = matrix.detach().to("cpu", torch.float64)
    if wide.shape[0] > wide.shape[1]:
        wide = wide.T
    if wide.shape[1] < _GRAM_ASPECT * wide.shape[0]:
        return _exact(wide)
    values: Tensor = torch.linalg.eigvalsh(wide @ wide.T).clamp(min=0).sqrt().flip(0)
    if values[-1] <= _GRAM_LIMIT * values[0]:
        return _exact(wide)
    return values


def _exact(matrix: Tensor) -> Tensor:
    values: Tensor = torch.linalg.svdvals(matrix)
    return values
