"""Low rank: a weight matrix as the product of two thin ones."""

import torch
from torch import Tensor

from studio.analysis.views import Spectrum
from studio.compression.solver import damped
from studio.recipe.settings import RankSettings

#: Less damping than the sweeps take: the factors are not fed any errors, only solved for.
_DAMPING = 0.001


def resolve_rank(W: Tensor, settings: RankSettings) -> int:
    """The rank that the settings mean for the matrix W ``[out, n]``: energy refers to its plain singular values."""
    if settings.rank is not None:
        return settings.rank
    if settings.energy is None:
        raise ValueError("the settings hold neither rank nor energy")
    rows, columns = W.shape
    values = torch.linalg.svdvals(W.double()).numpy()
    return Spectrum(values, rows * columns / (rows + columns)).rank_for(settings.energy)


def factor(W: Tensor, H: Tensor | None, rank: int) -> tuple[Tensor, Tensor]:
    """The best factors ``second @ first`` of rank `rank` as the inputs see it.

    With ``H = L Lᵀ`` the error is ``‖(W − Ŵ) L‖²``, so the truncated singular value decomposition of ``W L`` is the
    optimum (Eckart & Young 1936; SVD-LLM, arXiv 2403.07378). Rows of the first factor give uncorrelated values of
    equal power, so that rounding errors of the second one count alike.

    Args:
        W: ``[out, n]`` float64.
        H: ``[n, n]``, or None for the plain decomposition.
        rank: 1 to ``min(out, n)``.

    Returns:
        first: ``[rank, n]``.
        second: ``[out, rank]``; both of equal norm, so that training moves them alike.
    """
    L = torch.linalg.cholesky(damped(H, _DAMPING)) if H is not None else None
    U, S, V = torch.linalg.svd(W if L is None else W @ L, full_matrices=False)
    first, second = V[:rank], U[:, :rank] * S[:rank]
    if L is not None:
        first = torch.linalg.solve_triangular(L, first, upper=False, left=False)
    norms = torch.linalg.matrix_norm(first), torch.linalg.matrix_norm(second)
    balance = (norms[1] / norms[0]).sqrt() if norms[1] > 0 else torch.ones(())
    return first * balance, second / balance


def second_factor(W: Tensor, H: Tensor | None, first: Tensor) -> Tensor:
    """The best second factor for a first one that is given, such as after it was rounded: ``[out, rank]``."""
    seen = first if H is None else first @ H
    gram = damped(seen @ first.mT, 1e-6)
    solved: Tensor = torch.linalg.solve(gram, seen @ W.mT)
    return solved.mT


def moment_after(first: Tensor, H: Tensor | None) -> Tensor | None:
    """The second moment of what the first factor gives, ``[rank, rank]``."""
    return None if H is None else first @ H @ first.mT
