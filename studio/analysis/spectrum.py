"""The singular values of a layer's matrix: how many ranks carry its energy."""

import numpy as np
import torch
from torch import Tensor

from studio.analysis.leading import leading_values, leading_work
from studio.analysis.views import Array, Spectrum

#: Below this share of the largest one, singular values from the Gram matrix are lost in rounding.
_GRAM_LIMIT = 1e-6

#: The same where the Gram matrix is summed in single precision: its error stays below 8 ε₃₂ ≈ 1e-6 of σ₁² (0.25 ε₃₂
#: was seen), so that a value σ is off by less than 1e-6 · σ₁² / 2σ, which is 5e-5 of σ₁ here.
_SINGLE_LIMIT = 1e-2

#: Single precision pays where the product, not its eigenvalues, takes the time: from so many columns, and so many rows
#: to a column. Square matrices have values too small for it.
_SINGLE_COLUMNS = 128
_SINGLE_ASPECT = 2

#: Rows that are summed in single precision before float64 takes their sum.
_SINGLE_ROWS = 4096

#: Multiplications from which a matrix is huge: about ten seconds of one core. All values of 4,096 × 11,008 take four.
_HUGE = 1e12

#: Blocks that a Gram matrix is made of, and columns of a block at least: more and smaller ones take longer again.
_BLOCKS = 4
_LEAST_BLOCK = 64

#: Weights that are held in float64 at once (64 MiB): an embedding is not doubled as a whole.
_SLICE = 8 * 2**20


def spectrum(matrix: Tensor, reach: float = 1.0) -> Spectrum:
    """The spectrum of a layer's matrix ``[out, in·k·k]``.

    Args:
        matrix: weights; computed in float64 whatever its dtype.
        reach: share of the energy whose values are needed one by one. Of a huge matrix the leading values alone are
            computed where these hold it.
    """
    values = leading_values(matrix) if reach < 1 and _is_huge(*matrix.shape) else np.empty(0)
    if len(values) and (leading := spectrum_of(values, matrix)).reaches(reach):
        return leading
    return spectrum_of(singular_values(matrix), matrix)


def spectrum_of(values: Array, matrix: Tensor) -> Spectrum:
    """The spectrum of a matrix whose largest singular values are known, or all of them."""
    rows, columns = matrix.shape
    rest = min(rows, columns) - len(values)
    rest_energy = max(0.0, _energy(matrix) - float(np.square(values).sum())) if rest else 0.0
    return Spectrum(values, rows * columns / (rows + columns), rest, rest_energy)


def _is_huge(rows: int, columns: int) -> bool:
    """Whether all values take long, and the leading ones at most half as long.

    The Gram matrix is a product; its eigenvalues take as long as three of its size (2.1 s against 0.7 s at 4,096).
    """
    short, long = sorted((rows, columns))
    work = (long + 3.0 * short) * short**2
    return work >= max(_HUGE, 2 * leading_work(long, short))


def _energy(matrix: Tensor) -> float:
    """``‖W‖²``, the sum of the squared singular values."""
    step = max(1, _SLICE // matrix.shape[1])
    parts = (matrix[start : start + step].detach().double() for start in range(0, len(matrix), step))
    return sum(float(part.square().sum()) for part in parts)


def singular_values(matrix: Tensor) -> Array:
    """Singular values in float64 ``[min(rows, columns)]``, largest first.

    They are the square roots of the eigenvalues of the smaller Gram matrix, which takes a fraction of the time of a
    decomposition of the matrix itself. Squaring loses what is below ``√ε ≈ 1.5e-8`` of the largest value, so that
    where such small values occur the exact decomposition is used instead (Golub & Van Loan, Matrix Computations,
    §8.6). Of long matrices in single precision the Gram matrix is summed in it, unless a value turns out too small.
    """
    weights = matrix.detach().to("cpu", torch.promote_types(matrix.dtype, torch.float32))
    tall = weights if weights.shape[0] >= weights.shape[1] else weights.T
    rows, columns = tall.shape
    if tall.dtype == torch.float32 and columns >= _SINGLE_COLUMNS and rows >= _SINGLE_ASPECT * columns:
        nearly = _roots(_gram(tall, _SINGLE_ROWS, torch.float32))
        if nearly[-1] > _SINGLE_LIMIT * nearly[0]:
            return nearly
    values = _roots(_gram(tall, max(1, _SLICE // columns), torch.float64))
    if values[-1] <= _GRAM_LIMIT * values[0]:
        exact: Array = np.linalg.svd(tall.double().numpy(), compute_uv=False)
        return exact
    return values


def _roots(gram: Tensor) -> Array:
    """Square roots of the eigenvalues of a lower triangle, largest first."""
    eigenvalues = torch.linalg.eigvalsh(gram.T, UPLO="U").numpy()  # by columns, as the solver has it: nothing is copied
    roots: Array = np.sqrt(np.maximum(eigenvalues, 0.0))[::-1]
    return roots


def _gram(tall: Tensor, step: int, dtype: torch.dtype) -> Tensor:
    """Lower triangle of ``tallᵀ · tall`` in float64, block by block: little more than half of the whole product.

    Args:
        tall: ``[rows, columns]``.
        step: rows that are multiplied at once.
        dtype: in which their product is summed: float32 or float64.
    """
    count, columns = tall.shape
    if count <= step and columns <= _LEAST_BLOCK:  # most layers of small models: the product alone
        whole = tall.to(dtype)
        return (whole.T @ whole).double()
    block = max(_LEAST_BLOCK, -(-columns // _BLOCKS))
    gram = torch.zeros(columns, columns, dtype=torch.float64)
    for first in range(0, count, step):
        rows = tall[first : first + step].to(dtype)
        for start in range(0, columns, block):
            end = min(start + block, columns)
            if dtype == torch.float64:
                gram[start:end, :end].addmm_(rows[:, start:end].T, rows[:, :end])
            else:
                gram[start:end, :end] += rows[:, start:end].T @ rows[:, :end]
    return gram
