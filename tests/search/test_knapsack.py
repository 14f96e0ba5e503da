"""The knapsack beside trying everything."""

from itertools import product

import numpy as np
import pytest

from studio.search.knapsack import APART, Tie, choose


def best_by_force(spent: list[list[float]], losses: list[list[float]], limit: float) -> float:
    """The least loss of all combinations."""
    choices = product(*(range(len(options)) for options in spent))
    fitting = [c for c in choices if sum(options[k] for options, k in zip(spent, c, strict=True)) <= limit]
    return min(sum(options[k] for options, k in zip(losses, c, strict=True)) for c in fitting)


@pytest.mark.parametrize("seed", range(12))
def test_the_choice_is_the_best_of_all_combinations(seed: int):
    random = np.random.default_rng(seed)
    counts = random.integers(1, 6, 5)
    spent = [random.integers(100, 40_000, count).astype(float).tolist() for count in counts]
    losses = [(10 ** random.uniform(-7, 0.5, count)).tolist() for count in counts]
    least, most = (sum(take(options) for options in spent) for take in (min, max))
    limit = least + random.uniform(0, 1) * (most - least)
    chosen = choose(spent, losses, limit)
    assert chosen is not None
    assert sum(options[k] for options, k in zip(spent, chosen, strict=True)) <= limit
    found = sum(options[k] for options, k in zip(losses, chosen, strict=True))
    assert found == pytest.approx(best_by_force(spent, losses, limit), rel=1e-9)


def test_all_of_the_budget_may_be_spent_and_no_byte_more():
    spent, losses = [[10.0, 20.0], [10.0, 20.0]], [[1.0, 0.0], [1.0, 0.0]]
    assert choose(spent, losses, 40) == [1, 1]
    assert sorted(choose(spent, losses, 39) or []) == [0, 1]
    assert choose(spent, losses, 20) == [0, 0]
    assert choose(spent, losses, 19) is None


def test_nothing_to_choose_spends_nothing():
    assert choose([], [], 0) == []
    assert choose([], [], -1) is None


@pytest.mark.parametrize("seed", range(6))
def test_tied_items_are_chosen_together_and_as_well_as_any(seed: int):
    random = np.random.default_rng(seed)
    spent = [[0.0] * 3, *(random.integers(10, 99, 9).astype(float).tolist() for _ in range(2))]
    losses = [random.uniform(0, 1, len(options)).tolist() for options in spent]
    ties = [Tie(1, 0, [0, 1, 2] * 3), Tie(2, 0, [0] * 3 + [1] * 3 + [2] * 3)]
    fitting = [
        c
        for c in product(range(3), range(9), range(9))
        if c[1] % 3 == c[0] == c[2] // 3 and sum(options[k] for options, k in zip(spent, c, strict=True)) <= 90
    ]
    chosen = choose(spent, losses, 90, ties=ties)
    if not fitting:
        assert chosen is None
        return
    assert chosen is not None
    assert tuple(chosen) in fitting
    best = min(sum(options[k] for options, k in zip(losses, c, strict=True)) for c in fitting)
    assert sum(options[k] for options, k in zip(losses, chosen, strict=True)) == pytest.approx(best)


def test_another_choice_differs_by_a_swap_at_least():
    spent, losses = [[1.0, 2.0, 3.0]] * 3, [[3.0, 1.0, 0.0]] * 3
    first = choose(spent, losses, 6)
    assert first is not None
    second = choose(spent, losses, 6, [first])
    assert second is not None
    assert sum(a != b for a, b in zip(first, second, strict=True)) >= APART
    assert sum(losses[0][k] for k in second) >= sum(losses[0][k] for k in first)
