"""The multiple-choice knapsack: one option for every item, the least loss in all, within what may be spent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

#: Size of the largest loss as the solver sees it, well above its absolute tolerances.
_SCALE = 1e4

#: In how many items a choice differs at least from one that it shall be unlike: a swap changes two.
APART = 2


def choose(
    spent: Sequence[Sequence[float]],
    losses: Sequence[Sequence[float]],
    limit: float,
    unlike: Sequence[Sequence[int]] = (),
) -> list[int] | None:
    """Minimises ``Σ losses[i][k_i]`` subject to ``Σ spent[i][k_i] <= limit``, exactly (HiGHS, branch and bound).

    Args:
        spent: what each option of each item spends.
        losses: what it costs, in the same order; finite.
        limit: what may be spent in all.
        unlike: earlier choices, from each of which the new one differs in at least `APART` items.

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
    found = milp(
        _SCALE / (float(np.abs(loss).max()) or 1.0) * loss,
        integrality=np.ones(len(loss), np.int64),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    return None if found.x is None else _chosen(found.x, starts, counts)


def _chosen(x: NDArray[np.float64], starts: NDArray[np.int64], counts: Sequence[int]) -> list[int]:
    """The option of each item whose variable is one."""
    return [int(np.argmax(x[start : start + count])) for start, count in zip(starts, counts, strict=True)]
