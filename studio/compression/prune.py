"""Pruning of single weights: which become zero, anywhere or n of every m, and what the others make of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.compression.solver import damped, inverse_diagonal, row_errors, solve_kept
from studio.recipe.settings import PruneSettings

#: Rounds in which the zeros are chosen when inputs are known: after each one the kept weights are solved anew, so
#: that the next choice sees what they have taken over.
_ROUNDS = 8

#: Steps of the solver between two rounds; after the last one it goes on to the end.
_STEPS = 4

#: Rounds in which weights of a group change places; later ones gain next to nothing.
_EXCHANGES = 12


def prune(W: Tensor, H: Tensor | None, settings: PruneSettings) -> tuple[Tensor, Tensor]:
    """Sets exactly as many weights to zero as `PruneSettings.zeros` says, in the pattern that is asked for.

    Without data the smallest go. With H, those whose removal costs least at the output once the others of the row
    have made up for it (`inverse_diagonal`), in several rounds; the kept
    ones are then the exact least-squares solution.

    Args:
        W: ``[groups, rows, n]``.
        H: second moment of the inputs, ``[groups, n, n]``, or None.
        settings: the pattern; groups of ``n_m`` run along the last dimension of W.

    Returns:
        The pruned weight and the Boolean mask of kept weights, both of the shape of W.
    """
    groups, rows, columns = W.shape
    count = settings.zeros(groups * rows, columns)
    if H is None:
        keep = keep_all_but(count, _within(settings, W**2))
        return W * keep, keep
    H = damped(H)
    cost = inverse_diagonal(H)[:, None].float()
    wanted, seen = W.float(), H.float()  # the choice and its solution need no more than single precision
    pruned = wanted
    for done in range(1, _ROUNDS + 1):
        share = 1 - (1 - done / _ROUNDS) ** 3  # many at first, few at last: Zhu & Gupta 2017, arXiv 1710.01878
        keep = keep_all_but(round(count * share), _within(settings, pruned**2 / cost))
        pruned = solve_kept(wanted, seen, pruned, keep, steps=_STEPS)
    pruned = solve_kept(wanted, seen, pruned, keep)
    if settings.kind == "n_m":
        pruned, keep = _exchanged(wanted, seen, pruned, keep, settings.m)
    return pruned.double(), keep


def _exchanged(W: Tensor, H: Tensor, pruned: Tensor, keep: Tensor, m: int) -> tuple[Tensor, Tensor]:
    """Kept and dropped weights of a group change places as long as that brings their row nearer.

    In every round each row tries the exchanges that promise most, one a group, in a share of its groups that halves
    from round to round; it takes them all or, when the solved row is no better, none.
    """
    groups = -(-keep.shape[-1] // m)
    share = 0.5
    least = row_errors(W - pruned, H)
    for _ in range(_EXCHANGES):
        tried = _exchange(W, H, pruned, keep, m, max(1, int(share * groups)))
        solved = solve_kept(W, H, pruned, tried)
        error = row_errors(W - solved, H)
        better = error < least
        least = torch.where(better, error, least)
        keep = torch.where(better[..., None], tried, keep)
        pruned = torch.where(better[..., None], solved, pruned)
        share /= 2
    return pruned, keep


def _exchange(W: Tensor, H: Tensor, pruned: Tensor, keep: Tensor, m: int, most: int) -> Tensor:
    """The mask with the best exchange, all other weights staying as they are, in the `most` best groups of a row.

    Dropping the solved weight wⱼ and taking up the best value at i changes the error by
    ``Hⱼⱼ wⱼ² − (gᵢ + wⱼ Hᵢⱼ)² / Hᵢᵢ``, with the gradient ``g = (W − Ŵ) H``.
    """
    columns = W.shape[-1]
    power = _in_groups(H.diagonal(dim1=-2, dim2=-1), m, 1.0)[:, None]
    blocks = -(-columns // m)
    square = F.pad(H, (0, blocks * m - columns, 0, blocks * m - columns)).reshape(-1, blocks, m, blocks, m)
    within = square.diagonal(dim1=-4, dim2=-2).movedim(-1, -3)[:, None]  # [groups, 1, blocks, m, m]
    gradient, weight, kept = (_in_groups(values, m) for values in ((W - pruned) @ H, pruned, keep))
    taken = (gradient[..., :, None] + weight[..., None, :] * within).square() / power[..., :, None]
    change = (power * weight.square())[..., None, :] - taken  # [groups, rows, blocks, i, j]
    real = _in_groups(torch.ones_like(keep), m)
    possible = (real & ~kept)[..., :, None] & kept[..., None, :]
    gain, pair = change.masked_fill(~possible, torch.inf).flatten(-2).min(-1)
    chosen = torch.zeros_like(gain, dtype=torch.bool).scatter_(-1, gain.topk(most, largest=False).indices, True)
    chosen &= gain.isfinite()
    i, j = (F.one_hot(index, m).bool() & chosen[..., None] for index in (pair // m, pair % m))
    exchanged: Tensor = ((kept | i) & ~j).flatten(-2)[..., :columns]
    return exchanged


def _in_groups(values: Tensor, m: int, missing: float = 0.0) -> Tensor:
    """``[…, n]`` as ``[…, groups, m]``, what is missing from the last group filled in."""
    padded = F.pad(values, (0, -values.shape[-1] % m), value=missing)
    return padded.reshape(*padded.shape[:-1], -1, m)


def _within(settings: PruneSettings, saliency: Tensor) -> Tensor:
    """The saliency, infinite where the pattern forbids a zero: with ``n_m`` for the n largest of every group."""
    if settings.kind == "unstructured":
        return saliency
    columns, m = saliency.shape[-1], settings.m
    padded = F.pad(saliency, (0, -columns % m), value=-1.0)  # what is missing from the last group goes first
    order = padded.reshape(*padded.shape[:-1], -1, m).argsort(dim=-1, stable=True)
    kept = torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order[..., m - settings.n :], True)
    return saliency.masked_fill(kept.flatten(-2)[..., :columns], torch.inf)


def keep_all_but(count: int, saliency: Tensor) -> Tensor:
    """A mask that drops the `count` smallest entries; among equals the first ones go."""
    keep = torch.ones(saliency.numel(), dtype=torch.bool)
    keep[saliency.flatten().argsort(stable=True)[:count]] = False
    return keep.reshape(saliency.shape)
