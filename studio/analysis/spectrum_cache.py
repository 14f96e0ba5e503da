"""Spectra remembered on disk by what a layer holds, so that a model opened again shows them at once."""

import contextlib
import hashlib
from pathlib import Path

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import Tensor

from studio.analysis.spectrum import spectrum, spectrum_of
from studio.analysis.views import Array, Spectrum
from studio.files import write_atomically

#: Raised when the same weights would give other values than before.
_VERSION = 2


def remembered_spectrum(matrix: Tensor, reach: float = 1.0, folder: Path | None = None) -> Spectrum:
    """`studio.analysis.spectrum.spectrum`, from disk where it was computed before.

    Args:
        matrix: weights ``[out, in·k·k]``.
        reach: share of the energy whose values are needed one by one.
        folder: where spectra are kept, None for the user's cache. Whatever in it is missing or damaged is computed
            anew, and a folder that cannot be written to only costs time.
    """
    folder = folder or user_cache_path("compression-studio") / "spectra"
    content, full_rank = _content(matrix), min(matrix.shape)
    whole, leading = folder / f"{content}.npy", folder / f"{content}.leading.npy"
    for path, counts in ((whole, range(full_rank, full_rank + 1)), (leading, range(1, full_rank))):
        values = _read(path, counts)
        if values is not None and (found := spectrum_of(values, matrix)).reaches(reach):
            return found
    found = spectrum(matrix, reach)
    _keep(leading if found.rest else whole, found.singular_values)
    return found


def _content(matrix: Tensor) -> str:
    """SHA-256 of a matrix: its type, shape and bytes."""
    digest = hashlib.sha256(f"{_VERSION} {matrix.dtype} {tuple(matrix.shape)}".encode())
    digest.update(matrix.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _read(path: Path, counts: range) -> Array | None:
    """The values in a file, None unless it holds one of so many."""
    with contextlib.suppress(OSError, ValueError, EOFError):
        values = np.load(path, allow_pickle=False)
        sound = values.ndim == 1 and len(values) in counts and values.dtype == np.float64
        if sound and np.isfinite(values).all() and (np.diff(values) <= 0).all():
            return np.asarray(values)
    return None


def _keep(path: Path, values: Array) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)

    with contextlib.suppress(OSError):  # it only saves time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, write)
