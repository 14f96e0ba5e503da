"""Spectra on disk: found again by content, never believed when damaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from studio.analysis import spectrum_cache
from studio.analysis.spectrum import spectrum
from studio.analysis.spectrum_cache import remembered_spectrum
from studio.analysis.views import Spectrum


@pytest.fixture
def matrix() -> torch.Tensor:
    return torch.randn(6, 20, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Every matrix that was decomposed."""
    seen: list[torch.Tensor] = []

    def compute(matrix: torch.Tensor, reach: float) -> Spectrum:
        seen.append(matrix)
        return spectrum(matrix, reach)

    monkeypatch.setattr(spectrum_cache, "spectrum", compute)
    return seen


def test_the_same_weights_are_decomposed_once(matrix, computed, tmp_path: Path):
    first = remembered_spectrum(matrix, folder=tmp_path)
    again = remembered_spectrum(matrix.clone(), folder=tmp_path)
    assert len(computed) == 1
    np.testing.assert_array_equal(first.singular_values, again.singular_values)
    assert again.break_even_rank == spectrum(matrix).break_even_rank


def test_other_weights_and_other_shapes_are_told_apart(matrix, computed, tmp_path: Path):
    remembered_spectrum(matrix, folder=tmp_path)
    remembered_spectrum(matrix + 1, folder=tmp_path)
    remembered_spectrum(matrix.reshape(20, 6), folder=tmp_path)
    remembered_spectrum(matrix.T, folder=tmp_path)
    assert len(computed) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_bytes(b"something else"),
        lambda path: np.save(path, np.full(6, np.nan)),
        lambda path: np.save(path, np.arange(3.0)),
        lambda path: np.save(path, np.array([{}] * 6, dtype=object), allow_pickle=True),
    ],
    ids=["empty", "cut", "text", "not finite", "another length", "objects"],
)
def test_a_damaged_file_is_computed_anew_and_mended(matrix, computed, tmp_path: Path, damage):
    expected = remembered_spectrum(matrix, folder=tmp_path).singular_values
    (path,) = tmp_path.iterdir()
    damage(path)
    np.testing.assert_array_equal(remembered_spectrum(matrix, folder=tmp_path).singular_values, expected)
    np.testing.assert_array_equal(remembered_spectrum(matrix, folder=tmp_path).singular_values, expected)
    assert len(computed) == 2


def test_without_a_place_to_keep_it_the_spectrum_is_right_all_the_same(matrix, tmp_path: Path):
    (tmp_path / "file").touch()
    found = remembered_spectrum(matrix, folder=tmp_path / "file" / "below")
    np.testing.assert_allclose(found.singular_values, spectrum(matrix).singular_values)


def test_leading_values_are_kept_beside_all_of_them_and_not_taken_for_them(matrix, monkeypatch, tmp_path: Path):
    reaches: list[float] = []

    def compute(_matrix: torch.Tensor, reach: float) -> Spectrum:
        reaches.append(reach)
        whole = spectrum(matrix)
        values = whole.singular_values[:2]
        rest = float(np.square(whole.singular_values[2:]).sum())
        return Spectrum(values, whole.break_even_rank, 4, rest) if reach < 0.7 else whole

    monkeypatch.setattr(spectrum_cache, "spectrum", compute)
    found = [remembered_spectrum(matrix, reach, tmp_path) for reach in (0.0, 0.1, 0.9, 0.0, 1.0)]
    assert reaches == [0.0, 0.9]
    assert [one.rest for one in found] == [4, 4, 0, 0, 0]
    assert found[1].rest_energy == pytest.approx(found[0].rest_energy)
    assert len(list(tmp_path.iterdir())) == 2
