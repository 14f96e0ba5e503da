import numpy as np
import torch

from studio.compression.rank import factor, moment_after, resolve_rank, second_factor
from studio.compression.solver import row_errors
from studio.recipe.settings import RankSettings


def weights(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(size: int) -> torch.Tensor:
    mixing = weights(size, size, seed=9)
    return mixing @ mixing.mT / size


def test_energy_is_the_smallest_rank_that_keeps_the_share() -> None:
    W = torch.diag(torch.tensor([3.0, 2.0, 1.0]))  # squares 9, 4, 1 of 14
    assert resolve_rank(W, RankSettings(energy=9 / 14)) == 1
    assert resolve_rank(W, RankSettings(energy=0.9)) == 2
    assert resolve_rank(W, RankSettings(energy=1.0)) == 3
    assert resolve_rank(W, RankSettings(rank=2)) == 2


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
    second = second_factor(W, H, first)
    gradient = (second @ first - W) @ H @ first.mT
    assert gradient.abs().max() < 1e-4 * (W @ H @ first.mT).abs().max()


def test_what_the_first_factor_gives_has_its_own_moment() -> None:
    x, first = weights(50, 8), weights(3, 8, seed=5)
    given = x @ first.mT
    torch.testing.assert_close(moment_after(first, x.mT @ x / 50), given.mT @ given / 50)
    assert moment_after(first, None) is None
