"""Singular values against numpy's full decomposition."""

import numpy as np
import pytest
import torch

from studio.analysis.spectrum import spectrum


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
