"""Singular values against numpy's full decomposition."""

import numpy as np
import pytest
import torch

from studio.analysis.spectrum import _is_huge, spectrum
from studio.analysis.views import Spectrum


@pytest.mark.parametrize("shape", [(8, 8), (16, 144), (144, 16), (1, 9), (30, 35), (3000, 4)])
def test_singular_values_are_those_of_the_full_decomposition(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    found = spectrum(matrix)
    np.testing.assert_allclose(
        found.singular_values, np.linalg.svd(matrix.double().numpy(), compute_uv=False), rtol=1e-9
    )
    assert found.break_even_rank == shape[0] * shape[1] / (shape[0] + shape[1])


def test_singular_values_below_the_reach_of_a_gram_matrix_are_exact():
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(60, 6, dtype=torch.float64, generator=generator))[0]
    values = torch.tensor([1.0, 0.5, 1e-3, 1e-6, 1e-9, 1e-11], dtype=torch.float64)
    found = spectrum(left @ torch.diag(values) @ right.T).singular_values
    np.testing.assert_allclose(found, values, rtol=1e-3)


@pytest.mark.parametrize("shape", [(700, 128), (128, 700), (9000, 130)])
def test_long_matrices_in_single_precision_are_as_exact_as_their_smallest_value_lets_them(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    exact = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    assert np.abs(spectrum(matrix).singular_values - exact).max() <= 1e-6 * exact[0]


def test_a_value_too_small_for_single_precision_is_found_all_the_same():
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(300, 128, dtype=torch.float64, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(128, 128, dtype=torch.float64, generator=generator))[0]
    matrix = (left @ torch.diag(torch.logspace(0, -5, 128, dtype=torch.float64)) @ right.T).float()
    exact = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(spectrum(matrix).singular_values, exact, rtol=1e-4)


def test_a_matrix_of_zeros_has_zero_singular_values():
    assert not spectrum(torch.zeros(4, 20)).singular_values.any()


def test_energy_rises_to_one_and_tells_the_rank():
    found = spectrum(torch.diag(torch.tensor([2.0, 1.0, 0.0])))
    np.testing.assert_allclose(found.energy, [0.8, 1.0, 1.0])
    assert found.rank_for(0.8) == 1
    assert found.rank_for(0.81) == 2


def test_slices_of_a_large_layer_add_up_to_the_whole(monkeypatch):
    matrix = torch.randn(12, 500, generator=torch.Generator().manual_seed(0))
    whole = spectrum(matrix).singular_values
    monkeypatch.setattr("studio.analysis.spectrum._SLICE", 12 * 33)
    np.testing.assert_allclose(spectrum(matrix).singular_values, whole, rtol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_have_a_spectrum(dtype):
    matrix = torch.randn(6, 20, generator=torch.Generator().manual_seed(0)).to(dtype)
    expected = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    np.testing.assert_allclose(spectrum(matrix).singular_values, expected, rtol=1e-9)


def falling(rows: int, columns: int, power: float = 0.5) -> torch.Tensor:
    """A matrix whose singular values fall as ``k^-power``."""
    generator = torch.Generator().manual_seed(0)
    short = min(rows, columns)
    left = torch.linalg.qr(torch.randn(rows, short, dtype=torch.float64, generator=generator))[0]
    right = torch.linalg.qr(torch.randn(columns, short, dtype=torch.float64, generator=generator))[0]
    return (left * torch.arange(1, short + 1, dtype=torch.float64) ** -power) @ right.T


@pytest.fixture
def small_is_huge(monkeypatch):
    """Lowers what counts as huge, and the subspace along with it."""
    monkeypatch.setattr("studio.analysis.spectrum._is_huge", lambda rows, columns: min(rows, columns) >= 200)
    monkeypatch.setattr("studio.analysis.leading._BLOCK", 8)
    monkeypatch.setattr("studio.analysis.leading._SUBSPACE", 120)


@pytest.mark.usefixtures("small_is_huge")
@pytest.mark.parametrize("shape", [(250, 600), (600, 250)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_leading_values_of_a_huge_matrix_are_exact_and_the_rest_is_known_in_sum(shape, dtype):
    matrix = falling(*shape).to(dtype)
    exact = np.linalg.svd(matrix.double().numpy(), compute_uv=False)
    found = spectrum(matrix, reach=0.0)
    count = len(found.singular_values)
    assert 20 <= count <= 120
    assert (found.full_rank, found.rest) == (250, 250 - count)
    assert np.abs(found.singular_values - exact[:count]).max() <= 1e-5 * exact[0]
    assert found.rest_energy == pytest.approx(float(np.square(exact[count:]).sum()), rel=1e-4)
    true = np.cumsum(exact**2) / np.square(exact).sum()
    np.testing.assert_allclose(found.energy[:count], true[:count], rtol=1e-5)
    assert (found.energy[count:-1] < true[count:-1]).all()
    assert found.energy[-1] == pytest.approx(1.0)


@pytest.mark.usefixtures("small_is_huge")
def test_all_values_of_a_huge_matrix_are_computed_where_the_leading_ones_do_not_reach():
    matrix = falling(250, 600).float()
    held = spectrum(matrix, reach=0.0).energy
    count = len(spectrum(matrix, reach=0.0).singular_values)
    enough, more = float(held[count - 1]) - 0.01, float(held[count - 1]) + 0.01
    assert spectrum(matrix, enough).rest > 0
    assert spectrum(matrix, enough).rank_for(enough) == spectrum(matrix).rank_for(enough)
    assert spectrum(matrix, more).rest == 0


@pytest.mark.usefixtures("small_is_huge")
def test_where_no_leading_value_can_be_told_all_are_computed(monkeypatch):
    monkeypatch.setattr("studio.analysis.leading._TOLERANCE", 1e-12)
    assert spectrum(falling(250, 600).float(), reach=0.0).rest == 0


def test_a_rank_beyond_the_values_that_are_known_keeps_the_energy_however_the_rest_is_spread():
    leading = Spectrum(np.array([3.0, 2.0]), 1.5, rest=4, rest_energy=7.0)  # 13 of 20 known, 1.75 each at least
    np.testing.assert_allclose(leading.energy, np.array([9.0, 13.0, 14.75, 16.5, 18.25, 20.0]) / 20)
    assert leading.full_rank == 6
    assert (leading.reaches(0.65), leading.reaches(0.66)) == (True, False)
    assert [leading.rank_for(energy) for energy in (0.45, 0.65, 0.66, 0.9, 1.0)] == [1, 2, 3, 5, 6]


@pytest.mark.parametrize(("shape", "huge"), [((4096, 11008), False), ((128_000, 768), False), ((8192, 28672), True)])
def test_a_matrix_is_huge_where_all_values_take_long_and_the_leading_ones_do_not(shape, huge):
    assert _is_huge(*shape) is huge
    assert _is_huge(*reversed(shape)) is huge
