"""Low rank: a weight as a chain of thin factors, the best ones for what the inputs look like.

All forms (`studio.recipe.factorization`) come down to one split: the columns of W ``[out, n]`` are pairs of what the
first factor sees and the places that remain for the rest, ``n = seen · places``. The first factor ``[r, seen]`` works
at every place alike; the rest is ``[out, r · places]``.
"""

import torch
from torch import Tensor

from studio.analysis.spectrum import spectrum
from studio.compression.solver import damped
from studio.recipe.factorization import budget
from studio.recipe.settings import RankSettings

#: Less damping than the sweeps take: the factors are not fed any errors, only solved for.
_DAMPING = 0.001

#: The same where a small system is solved that H was projected to.
_INNER_DAMPING = 1e-6

#: Turns in which the first factor and the rest are fitted to each other, and steps of the solver in each.
_TURNS = 8
_STEPS = 8


def allowed_weights(W: Tensor, shape: tuple[int, ...], settings: RankSettings) -> int:
    """The weights that the settings allow the factors of W ``[out, n]``, in full of `shape`.

    Energy refers to the plain singular values.
    """
    rank = None
    if settings.energy is not None:
        rank = spectrum(W, settings.energy).rank_for(settings.energy)
    weights = budget(settings, shape, rank)
    if weights is None:
        raise ValueError("the settings hold neither rank, energy nor parameters")
    return weights


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
    return _balanced(first, second)


def split(W: Tensor, H: Tensor | None, rank: int, places: int) -> tuple[Tensor, Tensor]:
    """The first factor and the rest, for a first factor that works at `places` places alike.

    With one place this is `factor`. Otherwise no closed form is known: from the best factors for the average place,
    the rest is solved for exactly and the first factor improved by conjugate gradients, in turns, so that the error
    never grows.

    Args:
        W: ``[out, seen · places]`` float64.
        H: second moment of the inputs, ``[seen · places, seen · places]``, or None.
        rank: of the first factor.
        places: where it works.

    Returns:
        first: ``[rank, seen]``.
        rest: ``[out, rank · places]``; both of equal norm.
    """
    if places == 1:
        return factor(W, H, rank)
    at_places = _by_place(W, places).mT.flatten(0, 1)  # [out · places, seen]
    first, _ = factor(at_places, moment_seen(H, places), rank)
    if H is not None:
        held = damped(H, _DAMPING)
        for _ in range(_TURNS):
            first = _improved(W, held, first, rest_for(W, H, first))
    return _balanced(first, rest_for(W, H, first))


def rest_for(W: Tensor, H: Tensor | None, first: Tensor) -> Tensor:
    """The best rest for a first factor ``[rank, seen]`` that is given, such as after it was rounded.

    Returns:
        ``[out, rank · places]``.
    """
    seen = spread(first, W.shape[1] // first.shape[1], H)
    gram = damped(_gathered(first, seen), _INNER_DAMPING)
    solved: Tensor = torch.linalg.solve(gram, seen.mT @ W.mT)
    return solved.mT


def moment_seen(H: Tensor | None, places: int) -> Tensor | None:
    """The second moment of what the first factor sees, averaged over its places: ``[seen, seen]``."""
    if H is None:
        return None
    pairs = H.reshape(len(H) // places, places, len(H) // places, places)
    return pairs.diagonal(dim1=1, dim2=3).mean(-1)


def moment_after(first: Tensor, H: Tensor | None) -> Tensor | None:
    """The second moment of what the first factor ``[rank, seen]`` gives at its places: ``[rank · places]²``."""
    return None if H is None else _gathered(first, spread(first, len(H) // first.shape[1], H))


def spread(first: Tensor, places: int, H: Tensor | None = None) -> Tensor:
    """``H Bᵀ`` for the first factor at all places, B ``[rank · places, seen · places]``; without H ``Bᵀ`` itself."""
    if H is None:
        H = torch.eye(first.shape[1] * places, dtype=first.dtype)
    return torch.einsum("nsp,rs->nrp", _by_place(H, places), first).flatten(1)


def _by_place(columns: Tensor, places: int) -> Tensor:
    """``[…, seen · places]`` as ``[…, seen, places]``."""
    return columns.reshape(*columns.shape[:-1], -1, places)


def _gathered(first: Tensor, seen: Tensor) -> Tensor:
    """``B X`` for X ``[seen · places, …]``."""
    places = len(seen) // first.shape[1]
    return torch.einsum("rs,spx->rpx", first, seen.reshape(-1, places, seen.shape[1])).flatten(0, 1)


def _improved(W: Tensor, H: Tensor, first: Tensor, rest: Tensor) -> Tensor:
    """A first factor with less error for the given rest: some steps of conjugate gradients from the present one."""
    rank = len(first)
    places = rest.shape[1] // rank
    weights = _by_place(rest, places)

    def product(values: Tensor) -> Tensor:
        return torch.einsum("orp,rs->osp", weights, values).flatten(1)

    def adjoint(errors: Tensor) -> Tensor:
        return torch.einsum("osp,orp->rs", _by_place(errors, places), weights)

    power = weights.square().sum((0, 2))[:, None] * H.diagonal().reshape(-1, places).mean(1)
    power = power.clamp_min(torch.finfo(W.dtype).tiny)
    residual = adjoint((W - product(first)) @ H)
    direction = residual / power
    along = (residual * direction).sum()
    for _ in range(_STEPS):
        curved = adjoint(product(direction) @ H)
        curvature = (direction * curved).sum()
        if along <= 0 or curvature <= 0:
            break
        first = first + along / curvature * direction
        residual = residual - along / curvature * curved
        scaled = residual / power
        renewed = (residual * scaled).sum()
        direction, along = scaled + renewed / along * direction, renewed
    return first


def _balanced(first: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """The same product with factors of equal norm."""
    norms = torch.linalg.matrix_norm(first), torch.linalg.matrix_norm(rest)
    balance = (norms[1] / norms[0]).sqrt() if norms[0] > 0 and norms[1] > 0 else torch.ones(())
    return first * balance, rest / balance
