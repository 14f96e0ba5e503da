"""Pruning of single weights: which become zero, anywhere or n of every m, and what the others make of it."""

import torch
import torch.nn.functional as F
from torch import Tensor

from studio.compression.solver import damped, inverse_factor, solve_kept
from studio.recipe.settings import PruneSettings

#: Rounds in which the zeros are chosen when inputs are known: after each one the kept weights are solved anew, so
#: that the next choice sees what they have taken over.
_ROUNDS = 8

#: Steps of the solver between two rounds; after the last one it goes on to the end.
_STEPS = 4


def prune(W: Tensor, H: Tensor | None, settings: PruneSettings) -> tuple[Tensor, Tensor]:
    """Sets exactly as many weights to zero as `PruneSettings.zeros` says, in the pattern that is asked for.

    Without data the smallest go. With H, those whose removal costs least at the output once the others of the row
    have made up for it, ``w² / [H⁻¹]ᵢᵢ`` (Optimal Brain Surgeon, Hassibi & Stork 1993), in several rounds; the kept
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
        keep = _keep_all_but(count, _within(settings, W**2))
        return W * keep, keep
    H = damped(H)
    cost = inverse_factor(H).square().sum(-2)[:, None].float()  # [H⁻¹]ᵢᵢ: [groups, 1, n]
    wanted, seen = W.float(), H.float()  # the choice and its solution need no more than single precision
    pruned = wanted
    for done in range(1, _ROUNDS + 1):
        share = 1 - (1 - done / _ROUNDS) ** 3  # many at first, few at last: Zhu & Gupta 2017, arXiv 1710.01878
        keep = _keep_all_but(round(count * share), _within(settings, pruned**2 / cost))
        pruned = solve_kept(wanted, seen, pruned, keep, steps=_STEPS)
    return solve_kept(wanted, seen, pruned, keep).double(), keep


def _within(settings: PruneSettings, saliency: Tensor) -> Tensor:
    """The saliency, infinite where the pattern forbids a zero: with ``n_m`` for the n largest of every group."""
    if settings.kind == "unstructured":
        return saliency
    columns, m = saliency.shape[-1], settings.m
    padded = F.pad(saliency, (0, -columns % m), value=-1.0)  # what is missing from the last group goes first
    order = padded.reshape(*padded.shape[:-1], -1, m).argsort(dim=-1, stable=True)
    kept = torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order[..., m - settings.n :], True)
    return saliency.masked_fill(kept.flatten(-2)[..., :columns], torch.inf)


def _keep_all_but(count: int, saliency: Tensor) -> Tensor:
    """A mask that drops the `count` smallest entries; among equals the first ones go."""
    keep = torch.ones(saliency.numel(), dtype=torch.bool)
    keep[saliency.flatten().argsort(stable=True)[:count]] = False
    return keep.reshape(saliency.shape)
