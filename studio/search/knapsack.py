"""The multiple-choice knapsack: one option for every item, the least loss in all, within what may be spent.

Items may be tied: an option of one then presumes an option of another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

#: Size of the largest loss as the solver sees it, well above its absolute tolerances.
_SCALE = 1e4

#: In how many items a choice differs at least from one that it shall be unlike: a swap changes two.
APART = 2


@dataclass(frozen=True)
class Tie:
    """An item that presumes how another one is chosen.

    Attributes:
        item: number of the item.
        other: number of the other one.
        presumed: for each option of `item`, the number of the option of `other` with which alone it may be chosen.
    """

    item: int
    other: int
    presumed: Sequence[int]


def choose(
    spent: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    limit: float,
    unlike: Sequence[Sequence[int]] = (),
    ties: Sequence[Tie] = (),
) -> list[int] | None:
    """Minimises ``Σ losses[i][k_i]`` subject to ``Σ spent[i][k_i] <= limit``, exactly (HiGHS, branch and bound).

    Args:
        spent: what each option of each item spends.
        losses: what it costs, in the same order; finite.
        limit: what may be spent in all.
        unlike: earlier choices, from each of which the new one differs in at least `APART` items.
        ties: items that presume how others are chosen.

    Returns:
        The chosen option of every item; None where nothing fits.
    """
    if not spent:
        return [] if limit >= 0 and not unlike else None
    counts = [len(options) for options in spent]
    starts = np.cumsum([0, *counts[:-1]])
    item = np.repeat(np.arange(len(counts)), counts)
    weight, loss = (np.concatenate([np.asarray(options, float) for options in given]) for given in (spent, losses))
    reach = max(abs(limit), 1.0)
    one_each = csr_array((np.ones(len(item)), (item, np.arange(len(item)))))
    constraints = [LinearConstraint(one_each, 1, 1), LinearConstraint(weight[None] / reach, -np.inf, limit / reach)]
    for choice in unlike:
        same = np.zeros(len(item))
        same[starts + np.asarray(choice)] = 1
        constraints.append(LinearConstraint(same[None], -np.inf, len(counts) - APART))
    constraints += [LinearConstraint(rows, 0, 0) for rows in _tied(ties, starts, counts)]
    found = milp(
        _SCALE / (float(np.abs(loss).max()) or 1.0) * loss,
        integrality=np.ones(len(loss), np.int64),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    return None if found.x is None else _chosen(found.x, starts, counts)


def _tied(ties: Sequence[Tie], starts: NDArray[np.int64], counts: Sequence[int]) -> Iterator[csr_array]:
    """For each tie and each option of the other item: the options that presume it are chosen as often as it is."""
    for tie in ties:
        options, other = starts[tie.item] + np.arange(counts[tie.item]), counts[tie.other]
        values = np.concatenate([np.ones(len(options)), -np.ones(other)])
        rows = np.concatenate([np.asarray(tie.presumed, int), np.arange(other)])
        columns = np.concatenate([options, starts[tie.other] + np.arange(other)])
        yield csr_array((values, (rows, columns)), shape=(other, int(sum(counts))))


def _chosen(x: NDArray[np.float64], starts: NDArray[np.int64], counts: Sequence[int]) -> list[int]:
    """The option of each item whose variable is one."""
    return [int(np.argmax(x[start : start + count])) for start, count in zip(starts, counts, strict=True)]
