"""Calibrations remembered on disk by model and samples, so that a model worked on before is ready at once.

One file holds one calibration: its tensors as ``field/layer``, and the number of samples. The samples themselves are
never written.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from platformdirs import user_cache_path
from torch import Tensor

from studio.analysis.calibration import Batch, Calibration, calibrate, calibration_fingerprint
from studio.analysis.tensor_cache import LARGEST, read_tensors, write_tensors
from studio.models.model import Model
from studio.progress import Report, silent

#: Raised when the same samples would give other values than before.
_VERSION = 1

#: Fields of `Calibration` that are stored. They are part of a file's name, so that one with other fields is not found.
_FIELDS = ("moments", "means")


def remembered_calibration(
    model: Model,
    batches: Sequence[Batch],
    report: Report = silent,
    folder: Path | None = None,
    largest: int = LARGEST,
) -> Calibration:
    """`calibrate`, from disk where it was done before.

    Args:
        model: the original.
        batches: the model's inputs, first dimension the batch.
        report: told of every batch that is run; raising `Cancelled` from it stops the work.
        folder: where calibrations are kept, None for the user's cache. Whatever in it is missing or damaged is
            measured anew, and a folder that cannot be written to only costs time.
        largest: bytes that the folder's files may take together.
    """
    folder = folder or user_cache_path("compression-studio") / "calibrations"
    fingerprint = calibration_fingerprint(model, batches)
    path = folder / f"{_name(fingerprint)}.safetensors"
    found = _read(path, batches, fingerprint)
    if found is None:
        found = calibrate(model, batches, report)
        fields = {field: getattr(found, field) for field in _FIELDS}
        tensors = {f"{field}/{layer}": tensor for field, layers in fields.items() for layer, tensor in layers.items()}
        write_tensors(path, tensors, {"samples": found.samples}, largest)
    return found


def _name(fingerprint: str) -> str:
    return hashlib.sha256(f"{_VERSION} {_FIELDS} {fingerprint}".encode()).hexdigest()


def _read(path: Path, batches: Sequence[Batch], fingerprint: str) -> Calibration | None:
    """What a file holds, None unless it is whole."""
    found = read_tensors(path)
    if found is None or "samples" not in found[1]:
        return None
    moments, means = (_field(found[0], field) for field in _FIELDS)
    return Calibration(moments, means, found[1]["samples"], batches, fingerprint)


def _field(tensors: Mapping[str, Tensor], field: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{field}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{field}/")}
