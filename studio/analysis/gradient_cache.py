"""Gradients remembered on disk by model, samples and labels."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from platformdirs import user_cache_path
from torch import Tensor

from studio.analysis.calibration import Batch, calibration_fingerprint
from studio.analysis.gradients import Gradients, gather_gradients
from studio.analysis.tensor_cache import read_tensors, write_tensors
from studio.models.model import Model
from studio.progress import Report, silent

#: Raised when the same samples would give other values than before.
_VERSION = 1


def remembered_gradients(
    model: Model,
    batches: Sequence[Batch],
    labels: Sequence[Tensor] | None,
    report: Report = silent,
    folder: Path | None = None,
) -> Gradients:
    """`gather_gradients`, from disk where it was done before.

    Args:
        model: the original.
        batches: the model's inputs, first dimension the batch.
        labels: what is wanted for each batch, None to draw it from the model's own answers.
        report: told of every batch that is run; raising `Cancelled` from it stops the work.
        folder: where they are kept, None for the user's cache; what is missing or damaged there is made anew.
    """
    digest = hashlib.sha256(f"gradients {_VERSION} {calibration_fingerprint(model, batches)}".encode())
    for part in labels or ():
        digest.update(f"{part.dtype} {tuple(part.shape)}".encode())
        digest.update(part.contiguous().numpy().data)
    folder = folder or user_cache_path("compression-studio") / "gradients"
    path = folder / f"{digest.hexdigest()}.safetensors"
    found = read_tensors(path)
    if found is not None:
        return Gradients(found[0], labels is not None)
    gradients = gather_gradients(model, batches, labels, report)
    write_tensors(path, gradients.gates, {})
    return gradients
