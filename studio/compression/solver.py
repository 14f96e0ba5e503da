"""One problem under all methods: the allowed weight nearest to W as the layer's real inputs see it.

    minimise  tr((W − Ŵ) H (W − Ŵ)ᵀ)        W: [groups, out / groups, n],  H = E[x xᵀ]: [groups, n, n]

What is allowed differs: zeros in some places (`prune`), values on a grid (`quantize`), a low rank (`rank`). Without
data H is the identity, written None: then the nearest weight is the nearest in every single entry. All in float64.
"""

from collections.abc import Callable

import torch
from torch import Tensor

#: Columns that a sweep works through before the rest of the matrix hears of their errors.
_BLOCK = 64

#: Damping of H as a share of its mean diagonal: enough to make it invertible without moving the optimum.
DAMPING = 0.01


def damped(H: Tensor, share: float = DAMPING) -> Tensor:
    """H with `share` of its mean diagonal added on the diagonal; the identity for inputs that are always zero."""
    level = H.diagonal(dim1=-2, dim2=-1).mean(-1)
    level = torch.where(level > 0, share * level, 1.0)
    return H + level[..., None, None] * torch.eye(H.shape[-1], dtype=H.dtype)


def inverse_factor(H: Tensor) -> Tensor:
    """The upper triangular U with ``H⁻¹ = Uᵀ U``, for positive definite H, ``[groups, n, n]``.

    From the Cholesky factor of H turned round, so that no inverse is formed.
    """
    turned = torch.linalg.cholesky(H.flip(-2, -1)).flip(-2, -1)  # H = turned @ turned.mT, upper triangular
    identity = torch.eye(H.shape[-1], dtype=H.dtype).expand_as(H)
    U: Tensor = torch.linalg.solve_triangular(turned, identity, upper=True)
    return U


def inverse_diagonal(H: Tensor) -> Tensor:
    """``[H⁻¹]ᵢᵢ`` as ``[groups, n]``, for positive definite H.

    ``w² / [H⁻¹]ᵢᵢ`` is what the removal of a weight costs once the others of its row have made up for it: the saliency
    of Optimal Brain Surgeon (Hassibi & Stork 1993).
    """
    return inverse_factor(H).square().sum(-2)


def row_errors(difference: Tensor, H: Tensor | None) -> Tensor:
    """``d H dᵀ`` for every row d of ``W − Ŵ``: ``[groups, out / groups]``, in units of the output squared."""
    weighted = difference if H is None else difference @ H
    return (weighted * difference).sum(-1)


def sweep(W: Tensor, U: Tensor, allow: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Goes through the columns once; each takes an allowed value, and those still to come make up for its error.

    The step is that of Optimal Brain Surgeon for one weight with the rest of its row free (GPTQ, arXiv 2210.17323).

    Args:
        W: ``[groups, rows, n]``.
        U: `inverse_factor` of the damped H.
        allow: given column values ``[groups, rows]`` and the column's index, the allowed values nearest to them.
    """
    W, allowed = W.clone(), list[Tensor]()
    columns = W.shape[-1]
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        block = W[..., start:stop].mT.contiguous()  # [groups, columns, rows]: a column lies together
        factor = U[:, start:stop, start:stop, None]
        errors = list[Tensor]()
        for i, column in enumerate(block.unbind(1)):
            value = allow(column, start + i)
            error = (column - value).div_(factor[:, i, i])
            block[:, i + 1 :].addcmul_(factor[:, i, i + 1 :], error[:, None], value=-1)
            allowed.append(value)
            errors.append(error)
        W[..., stop:] -= torch.stack(errors, -1) @ U[:, start:stop, stop:]
    return torch.stack(allowed, -1)


def solve_kept(W: Tensor, H: Tensor, start: Tensor, keep: Tensor, steps: int = 50, tolerance: float = 1e-3) -> Tensor:
    """The best weight that is zero outside `keep`: least squares for all rows at once, by conjugate gradients.

    Preconditioned by the diagonal of H, as ALPS (arXiv 2406.07831) does.

    Args:
        W: ``[groups, rows, n]``.
        H: damped, ``[groups, n, n]``.
        start: a first guess, of the shape of W.
        keep: Boolean, of the shape of W.
        steps: at most so many iterations.
        tolerance: stops when the residual is down to this share of what it was.
    """
    tiny = torch.finfo(W.dtype).tiny
    diagonal = H.diagonal(dim1=-2, dim2=-1)[:, None]
    solution = start * keep
    residual = ((W - solution) @ H) * keep
    direction = residual / diagonal
    product = (residual * direction).sum(-1, keepdim=True)
    enough = product.sum() * tolerance**2
    for _ in range(steps):
        if product.sum() <= enough:
            break
        curved = (direction @ H) * keep
        length = product / (direction * curved).sum(-1, keepdim=True).clamp_min(tiny)
        solution = solution + length * direction
        residual = residual - length * curved
        scaled = residual / diagonal
        renewed = (residual * scaled).sum(-1, keepdim=True)
        direction = scaled + renewed / product.clamp_min(tiny) * direction
        product = renewed
    return solution
