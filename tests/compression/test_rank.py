import numpy as np
import torch

from studio.compression.rank import allowed_weights, factor, moment_after, rest_for, split, spread
from studio.compression.solver import row_errors
from studio.recipe.settings import RankSettings


def weights(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(size: int) -> torch.Tensor:
    mixing = weights(size, size, seed=9)
    return mixing @ mixing.mT / size


def test_energy_is_the_smallest_rank_that_keeps_the_share() -> None:
    W = torch.diag(torch.tensor([3.0, 2.0, 1.0]))  # squares 9, 4, 1 of 14
    for energy, rank in ((9 / 14, 1), (0.9, 2), (1.0, 3)):
        assert allowed_weights(W, (3, 3), RankSettings(energy=energy)) == rank * (3 + 3)
    assert allowed_weights(W, (3, 3), RankSettings(rank=2)) == 12
    assert allowed_weights(W, (3, 3), RankSettings(parameters=0.5)) == 4


def test_without_data_the_product_is_the_truncated_decomposition_of_numpy() -> None:
    W = weights(6, 9)
    first, second = factor(W, None, 2)
    U, S, V = np.linalg.svd(W.numpy())
    np.testing.assert_allclose((second @ first).numpy(), (U[:, :2] * S[:2]) @ V[:2], atol=1e-12)
    assert first.shape == (2, 9)
    assert second.shape == (6, 2)


def test_full_rank_gives_the_matrix_back_whatever_the_inputs() -> None:
    W = weights(6, 9)
    first, second = factor(W, moment(9), 6)
    torch.testing.assert_close(second @ first, W)


def test_both_factors_are_of_equal_norm() -> None:
    first, second = factor(weights(6, 9), moment(9), 3)
    torch.testing.assert_close(torch.linalg.matrix_norm(first), torch.linalg.matrix_norm(second))


def test_known_inputs_give_a_smaller_error_at_the_output() -> None:
    W, H = weights(12, 20), moment(20)
    errors = []
    for given in (None, H):
        first, second = factor(W, given, 4)
        errors.append(float(row_errors((W - second @ first)[None], H[None]).sum()))
    assert errors[1] < 0.9 * errors[0]


def test_a_matrix_of_zeros_can_be_factored() -> None:
    first, second = factor(torch.zeros(3, 4, dtype=torch.float64), None, 2)
    assert torch.equal(second @ first, torch.zeros(3, 4, dtype=torch.float64))
    assert first.isfinite().all()


def test_the_second_factor_is_least_squares_for_a_given_first() -> None:
    """Moving any entry of it makes the output error larger, so that its gradient there is zero."""
    W, H, first = weights(5, 8), moment(8), weights(3, 8, seed=5)
    second = rest_for(W, H, first)
    gradient = (second @ first - W) @ H @ first.mT
    assert gradient.abs().max() < 1e-4 * (W @ H @ first.mT).abs().max()


def test_what_the_first_factor_gives_has_its_own_moment() -> None:
    x, first = weights(50, 8), weights(3, 8, seed=5)
    given = x @ first.mT
    torch.testing.assert_close(moment_after(first, x.mT @ x / 50), given.mT @ given / 50)
    assert moment_after(first, None) is None


def spread_error(W: torch.Tensor, H: torch.Tensor, first: torch.Tensor, rest: torch.Tensor) -> float:
    product = rest @ spread(first, W.shape[1] // first.shape[1]).mT
    return float(row_errors((W - product)[None], H[None]).sum())


def test_a_first_factor_at_several_places_works_at_each_alike() -> None:
    first = weights(2, 3)
    spread_out = spread(first, 4).mT.reshape(2, 4, 3, 4)  # [rank, place, seen, place]
    for place in range(4):
        for other in range(4):
            expected = first if place == other else torch.zeros_like(first)
            assert torch.equal(spread_out[:, place, :, other], expected)


def test_a_kernel_that_falls_into_columns_and_rows_is_found_exactly() -> None:
    first, rest = weights(2, 6), weights(5, 2 * 3, seed=4)
    W = rest @ spread(first, 3).mT
    for given in (None, moment(18)):
        found, remaining = split(W, given, 2, 3)
        torch.testing.assert_close(remaining @ spread(found, 3).mT, W, atol=1e-4, rtol=1e-4)


def test_turns_between_the_factors_bring_them_nearer_than_their_start() -> None:
    W, H = weights(8, 18), moment(18)
    start, _ = factor(W.reshape(8, 6, 3).mT.flatten(0, 1), H.reshape(6, 3, 6, 3).diagonal(dim1=1, dim2=3).mean(-1), 3)
    first, rest = split(W, H, 3, 3)
    assert spread_error(W, H, first, rest) < 0.95 * spread_error(W, H, start, rest_for(W, H, start))


def test_no_small_change_of_either_factor_brings_them_nearer() -> None:
    W, H = weights(8, 18), moment(18)
    first, rest = split(W, H, 3, 3)
    least = spread_error(W, H, first, rest)
    for seed in range(5):
        moved = spread_error(W, H, first + 0.03 * weights(3, 6, seed=seed) * first.std(), rest)
        assert moved > least
