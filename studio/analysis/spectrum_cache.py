"""Spectra remembered on disk by what a layer holds, so that a model opened again shows them at once."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from studio.analysis.spectrum import singular_values, spectrum_of
from studio.analysis.views import Array, Spectrum
from studio.files import write_atomically

#: Raised when the same weights would give other values than before.
_VERSION = 2


def remembered_spectrum(matrix: Tensor, folder: Path | None = None) -> Spectrum:
    """`studio.analysis.spectrum.spectrum`, from disk where it was computed before.

    Args:
        matrix: weights ``[out, in·k·k]``.
        folder: where spectra are kept, None for the user's cache. Whatever in it is missing or damaged is computed
            anew, and a folder that cannot be written to only costs time.
    """
    folder = folder or user_cache_path("compression-studio") / "spectra"
    path = folder / f"{_content(matrix)}.npy"
    values = _read(path, min(matrix.shape))
    if values is None:
        values = singular_values(matrix)
        _keep(path, values)
    return spectrum_of(values, matrix.shape)


def _content(matrix: Tensor) -> str:
    """SHA-256 of a matrix: its type, shape and bytes."""
    digest = hashlib.sha256(f"{_VERSION} {matrix.dtype} {tuple(matrix.shape)}".encode())
    digest.update(matrix.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, count: int) -> Array | None:
    with contextlib.suppress(OSError, ValueError, EOFError):
        values = np.load(path, allow_pickle=False)
        whole = values.shape == (count,) and values.dtype == np.float64
        if whole and np.isfinite(values).all() and (np.diff(values) <= 0).all():
            return np.asarray(values)
    return None


def _keep(path: Path, values: Array) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)

    with contextlib.suppress(OSError):  # it only saves time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
