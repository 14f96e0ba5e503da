"""The singular values of a layer's matrix: how many ranks carry its energy."""

import numpy as np
from scipy.linalg import blas, eigvalsh
from torch import Tensor

from studio.analysis.views import Array, Spectrum

#: Below this share of the largest one, singular values from the Gram matrix are lost in rounding.
_GRAM_LIMIT = 1e-6

#: Weights that are held in float64 at once (64 MiB): an embedding is not doubled as a whole.
_SLICE = 8 * 2**20


def spectrum(matrix: Tensor) -> Spectrum:
    """The spectrum of a layer's matrix ``[out, in·k·k]``.

    Args:
        matrix: weights; computed in float64 whatever its dtype.
    """
    return spectrum_of(singular_values(matrix), matrix.shape)


def spectrum_of(values: Array, shape: tuple[int, ...]) -> Spectrum:
    """The spectrum of a matrix of `shape` ``[rows, columns]`` whose singular values are known."""
    rows, columns = shape
    return Spectrum(values, rows * columns / (rows + columns))


def singular_values(matrix: Tensor) -> Array:
    """Singular values in float64 ``[min(rows, columns)]``, largest first.

    They are the square roots of the eigenvalues of the smaller Gram matrix, which takes a fraction of the time of a
    decomposition of the matrix itself. Squaring loses what is below ``√ε ≈ 1.5e-8`` of the largest value, so that
    where such small values occur the exact decomposition is used instead (Golub & Van Loan, Matrix Computations,
    §8.6).
    """
    weights = matrix.detach().to("cpu").float().numpy() if matrix.itemsize < 4 else matrix.detach().cpu().numpy()
    tall = weights if weights.shape[0] >= weights.shape[1] else weights.T
    values: Array = np.sqrt(np.maximum(eigvalsh(_gram(tall), lower=False, overwrite_a=True), 0.0))[::-1]
    if values[-1] <= _GRAM_LIMIT * values[0]:
        exact: Array = np.linalg.svd(tall.astype(np.float64), compute_uv=False)
        return exact
    return values


def _gram(tall: Array) -> Array:
    """Upper triangle of ``tallᵀ · tall`` in float64: half the work of the whole product."""
    rows, columns = tall.shape
    gram = np.zeros((columns, columns), order="F")
    step = max(1, _SLICE // columns)
    for start in range(0, rows, step):
        part = np.ascontiguousarray(tall[start : start + step], dtype=np.float64)
        gram = blas.dsyrk(1.0, part.T, beta=1.0, c=gram, overwrite_c=True)
    return gram
