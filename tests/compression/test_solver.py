"""The one problem under all methods, against closed forms and numpy."""

import numpy as np
import torch

from studio.compression.solver import damped, inverse_factor, row_errors, solve_kept, sweep


def random_moment(size: int, groups: int = 1) -> torch.Tensor:
    x = torch.randn(groups, 4 * size, size, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    return x.mT @ x / (4 * size)


def test_damping_adds_a_share_of_the_mean_diagonal() -> None:
    H = torch.diag(torch.tensor([1.0, 3.0], dtype=torch.float64))[None]
    assert torch.equal(damped(H, 0.5), torch.diag(torch.tensor([2.0, 4.0], dtype=torch.float64))[None])


def test_inputs_that_are_always_zero_count_alike() -> None:
    assert torch.equal(damped(torch.zeros(1, 3, 3)), torch.eye(3)[None])


def test_the_inverse_factor_is_upper_triangular_and_multiplies_to_the_inverse() -> None:
    H = random_moment(6, groups=2)
    U = inverse_factor(H)
    assert torch.equal(U, U.triu())
    np.testing.assert_allclose((U.mT @ U).numpy(), np.linalg.inv(H.numpy()), rtol=1e-9, atol=1e-9)


def test_row_errors_are_the_quadratic_form_of_each_row() -> None:
    d = torch.tensor([[[1.0, 2.0]]])
    H = torch.tensor([[[2.0, 1.0], [1.0, 3.0]]])
    assert row_errors(d, H).item() == 2 + 2 * 2 + 4 * 3
    assert row_errors(d, None).item() == 5


def test_a_sweep_hands_the_error_of_one_column_to_the_next() -> None:
    """With H = [[1, .5], [.5, 1]], dropping w₀ = 2 is best made up for by w₁ + 2 · ½."""
    H = torch.tensor([[[1.0, 0.5], [0.5, 1.0]]], dtype=torch.float64)
    W = torch.tensor([[[2.0, 1.0]]], dtype=torch.float64)
    swept = sweep(W, inverse_factor(H), lambda column, i: column * i)
    torch.testing.assert_close(swept, torch.tensor([[[0.0, 2.0]]], dtype=torch.float64))


def test_a_sweep_is_the_same_in_blocks_as_column_by_column() -> None:
    H = damped(random_moment(150))
    W = torch.randn(1, 4, 150, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    U = inverse_factor(H)
    expected, rest = torch.empty_like(W), W.clone()
    for i in range(150):
        expected[..., i] = rest[..., i].round()
        rest[..., i:] -= ((rest[..., i] - expected[..., i]) / U[:, i, i])[..., None] * U[:, None, i, i:]
    assert torch.equal(sweep(W, U, lambda column, i: column.round()), expected)


def test_kept_weights_are_the_least_squares_solution_of_each_row() -> None:
    H = damped(random_moment(8))
    W = torch.randn(1, 3, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    keep = torch.rand(1, 3, 8, generator=torch.Generator().manual_seed(6)) > 0.4
    solved = solve_kept(W, H, W, keep, tolerance=1e-10)
    for row, kept, found in zip(W[0].numpy(), keep[0].numpy(), solved[0].numpy(), strict=True):
        matrix = H[0].numpy()
        expected = np.linalg.solve(matrix[np.ix_(kept, kept)], matrix[kept] @ row)
        np.testing.assert_allclose(found[kept], expected, atol=1e-8)
        assert not found[~kept].any()
