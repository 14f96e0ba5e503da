"""Calibrations remembered on disk by model and samples, so that a model worked on before is ready at once.

One safetensors file holds one calibration: its tensors as ``field/layer``, and in the header under ``studio`` the
number of samples and a SHA-256 of all tensors. The samples themselves are never written.
"""

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from platformdirs import user_cache_path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from studio.analysis.calibration import Batch, Calibration, calibrate, calibration_fingerprint
from studio.files import write_atomically
from studio.models.model import Model
from studio.progress import Report, silent

#: Raised when the same samples would give other values than before.
_VERSION = 1

#: Fields of `Calibration` that are stored. They are part of a file's name, so that one with other fields is not found.
_FIELDS = ("moments", "means")

#: Bytes that all files together may take; the ones not used for longest go first.
LARGEST = 2 * 2**30


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
        with contextlib.suppress(OSError, SafetensorError):  # it only saves time
            _write(path, found, largest)
    return found


def _name(fingerprint: str) -> str:
    return hashlib.sha256(f"{_VERSION} {_FIELDS} {fingerprint}".encode()).hexdigest()


def _read(path: Path, batches: Sequence[Batch], fingerprint: str) -> Calibration | None:
    """What a file holds, None unless it is whole."""
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["studio"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
        if header["sha256"] == _content(tensors):
            path.touch()  # the time it was last used
            moments, means = (_field(tensors, field) for field in _FIELDS)
            return Calibration(moments, means, int(header["samples"]), batches, fingerprint)
    return None


def _write(path: Path, calibration: Calibration, largest: int) -> None:
    """Writes a file and makes room for it; one that fills more than half of the room is not worth the others.

    Raises:
        OSError, SafetensorError: it cannot be written.
    """
    fields = {field: getattr(calibration, field) for field in _FIELDS}
    tensors = {f"{field}/{layer}": tensor for field, layers in fields.items() for layer, tensor in layers.items()}
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > largest // 2:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _make_room(path.parent, largest - size)
    header = {"studio": json.dumps({"samples": calibration.samples, "sha256": _content(tensors)})}
    whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_atomically(path, lambda temporary: save_file(whole, temporary, header))


def _make_room(folder: Path, largest: int) -> None:
    """Removes the files not used for longest until the others take at most `largest` bytes."""
    files = []
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room too
            state = path.stat()
            files.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= largest:
            break
        path.unlink(missing_ok=True)
        total -= size


def _field(tensors: Mapping[str, Tensor], field: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{field}/"): tensor for name, tensor in tensors.items() if name.startswith(f"{field}/")}


def _content(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
