from itertools import combinations, product

import pytest
import torch

from studio.compression.prune import prune
from studio.compression.solver import damped, row_errors, solve_kept
from studio.recipe.settings import PruneSettings


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def moment(groups: int, size: int) -> torch.Tensor:
    mixing = torch.randn(groups, size, size, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    return mixing @ mixing.mT / size


def n_of_m(n: int, m: int) -> PruneSettings:
    return PruneSettings(kind="n_m", n=n, m=m)


def test_without_data_the_smallest_weights_go_and_the_others_stay() -> None:
    W = torch.tensor([[[3.0, -1.0], [0.5, -2.0]]], dtype=torch.float64)
    pruned, keep = prune(W, None, PruneSettings(ratio=0.5))
    assert pruned.tolist() == [[[3.0, 0.0], [0.0, -2.0]]]
    assert keep.tolist() == [[[True, False], [False, True]]]


@pytest.mark.parametrize("ratio", [0.1, 0.33, 0.5, 0.9])
@pytest.mark.parametrize("known", [False, True])
def test_exactly_the_wanted_number_of_weights_goes(ratio: float, known: bool) -> None:
    W = weights(2, 5, 9)
    pruned, keep = prune(W, moment(2, 9) if known else None, PruneSettings(ratio=ratio))
    assert int((~keep).sum()) == round(ratio * 90) == int((pruned == 0).sum())


def test_equal_weights_still_give_the_exact_count() -> None:
    _, keep = prune(torch.ones(1, 4, 4, dtype=torch.float64), None, PruneSettings(ratio=0.25))
    assert int((~keep).sum()) == 4


def test_white_inputs_choose_as_no_data_does() -> None:
    W = weights(1, 6, 10)
    plain, keep = prune(W, None, PruneSettings(ratio=0.5))
    known, same = prune(W, torch.eye(10, dtype=torch.float64)[None], PruneSettings(ratio=0.5))
    assert torch.equal(keep, same)
    torch.testing.assert_close(known, plain, atol=1e-6, rtol=1e-6)


def test_uncorrelated_inputs_weigh_each_weight_by_their_power() -> None:
    """With diagonal H the cost of a zero is w² h: 2²·1 < 1²·9, although 2 > 1."""
    W = torch.tensor([[[2.0, 1.0]]], dtype=torch.float64)
    H = torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))[None]
    pruned, _ = prune(W, H, PruneSettings(ratio=0.5))
    torch.testing.assert_close(pruned, torch.tensor([[[0.0, 1.0]]], dtype=torch.float64), atol=1e-6, rtol=0)


def test_known_inputs_give_a_far_smaller_error_than_magnitude() -> None:
    W, H = weights(1, 16, 40), moment(1, 40)
    plain, known = (prune(W, given, PruneSettings(ratio=0.6))[0] for given in (None, H))
    assert row_errors(W - known, H).sum() < 0.5 * row_errors(W - plain, H).sum()


def test_without_data_every_group_keeps_its_largest_weights() -> None:
    W = torch.tensor([[[4.0, -3.0, 1.0, 2.0, 0.1, -0.4, 0.2, 0.3, 9.0, -8.0, 7.0]]], dtype=torch.float64)
    pruned, keep = prune(W, None, n_of_m(2, 4))
    assert pruned.tolist() == [[[4.0, -3.0, 0.0, 0.0, 0.0, -0.4, 0.0, 0.3, 9.0, -8.0, 0.0]]]
    assert torch.equal(keep, pruned != 0)


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (3, 4), (1, 2), (4, 8), (5, 7)])
@pytest.mark.parametrize("known", [False, True])
def test_exactly_n_of_m_neighbours_stay_and_of_a_short_rest_at_most_n(n: int, m: int, known: bool) -> None:
    W = weights(2, 6, 22)
    pruned, keep = prune(W, moment(2, 22) if known else None, n_of_m(n, m))
    whole, rest = divmod(22, m)
    groups = keep[..., : whole * m].unflatten(-1, (whole, m))
    assert (groups.sum(-1) == n).all()
    assert (keep[..., whole * m :].sum(-1) == min(n, rest)).all()
    assert torch.equal(pruned != 0, keep)
    assert int((~keep).sum()) == n_of_m(n, m).zeros(12, 22)


@pytest.mark.parametrize("known", [False, True])
def test_equal_weights_and_zeros_still_give_n_of_m(known: bool) -> None:
    for W in (torch.ones(1, 3, 8, dtype=torch.float64), torch.zeros(1, 3, 8, dtype=torch.float64)):
        _, keep = prune(W, moment(1, 8) if known else None, n_of_m(2, 4))
        assert (keep.unflatten(-1, (2, 4)).sum(-1) == 2).all()


def test_a_row_no_longer_than_n_is_left_alone() -> None:
    W = weights(1, 5, 2)
    pruned, keep = prune(W, None, n_of_m(2, 4))
    assert keep.all()
    assert torch.equal(pruned, W)


def test_the_power_of_the_inputs_decides_within_a_group() -> None:
    """With diagonal H the cost of a zero is w² h: 4, 9, 1·4, 1·16 keeps the second and the fourth."""
    W = torch.tensor([[[2.0, 3.0, 1.0, 1.0]]], dtype=torch.float64)
    H = torch.diag(torch.tensor([1.0, 1.0, 4.0, 16.0], dtype=torch.float64))[None]
    _, keep = prune(W, H, n_of_m(2, 4))
    assert keep.tolist() == [[[False, True, False, True]]]


def test_groups_that_keep_n_of_m_are_solved_anew() -> None:
    W, H = weights(1, 16, 40), moment(1, 40)
    plain, known = (prune(W, given, n_of_m(2, 4))[0] for given in (None, H))
    assert row_errors(W - known, H).sum() < 0.5 * row_errors(W - plain, H).sum()


def test_the_chosen_pattern_is_near_the_best_of_all() -> None:
    """Every one of the 6² patterns of a row of 8, solved: the choice is nearer to the best than magnitude comes."""
    W, H = weights(1, 12, 8), damped(moment(1, 8))
    known, plain = (row_errors(W - prune(W, given, n_of_m(2, 4))[0], H).sum() for given in (H, None))
    halves = [torch.tensor([i in pair for i in range(4)]) for pair in combinations(range(4), 2)]
    masks = [torch.cat(two).expand_as(W) for two in product(halves, repeat=2)]
    errors = torch.stack([row_errors(W - solve_kept(W, H, W, mask, tolerance=1e-9), H) for mask in masks])
    best = errors.amin(0).sum()
    assert best <= known + 1e-6
    assert known < 1.3 * best
    assert known < 0.3 * plain
