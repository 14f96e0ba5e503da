"""Runs on disk: one safetensors file with every tensor and, in its header, all that is not a tensor.

One file replaced in one step: at whatever moment the process dies, the last complete checkpoint is there. It has a
folder to itself, which goes when the run is over, with whatever a killed process left half-written in it.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from studio.distillation.folder import FILE
from studio.distillation.state import RunState
from studio.errors import TrainingError
from studio.files import write_atomically

#: Beginning of the names of the best weights in a file.
_BEST = "best/"


class _Header(BaseModel):
    """The file's metadata."""

    version: int = 1
    identity: Mapping[str, str]
    state: RunState


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A run between two steps.

    Attributes:
        identity: what the run depends on, by what a person calls it; a run that differs in any of it is another.
        state: its numbers.
        tensors: of the student and its optimizer.
        best: the best weights so far, empty while those of the start are.
    """

    identity: Mapping[str, str]
    state: RunState
    tensors: Mapping[str, Tensor]
    best: Mapping[str, Tensor]


def save_checkpoint(checkpoint: Checkpoint, folder: Path) -> None:
    """Puts `checkpoint` in the place of the one in `folder`, which is made when needed.

    Raises:
        TrainingError: it cannot be written.
    """
    header = _Header(identity=checkpoint.identity, state=checkpoint.state).model_dump_json()
    # tied parameters are written once for each of their names: the format knows no sharing
    given = {**checkpoint.tensors, **{f"{_BEST}{name}": tensor for name, tensor in checkpoint.best.items()}}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in given.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / FILE, lambda temporary: save_file(tensors, temporary, {"studio": header}))
    except (OSError, SafetensorError) as error:
        raise TrainingError(f"{folder}: the checkpoint cannot be written: {error}.") from error
    for stale in folder.glob(f".{FILE}.*"):  # left by a process that was killed
        stale.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`.

    Raises:
        TrainingError: there is none, or it is damaged.
    """
    path = folder / FILE
    if not path.exists():
        raise TrainingError(f"{folder}: there is no checkpoint to go on from; start the run anew.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
        header = _Header.model_validate_json(metadata.get("studio", ""))
    except (SafetensorError, OSError, ValidationError) as error:
        raise TrainingError(f"{path}: the checkpoint is damaged; start the run anew.") from error
    best = {name.removeprefix(_BEST): tensors.pop(name) for name in list(tensors) if name.startswith(_BEST)}
    return Checkpoint(header.identity, header.state, tensors, best)


def check_identity(checkpoint: Checkpoint, identity: Mapping[str, str]) -> None:
    """Makes sure that a checkpoint is of the run that depends on `identity`.

    Raises:
        TrainingError: it is not; the message names what differs.
    """
    for name, now in identity.items():
        then = checkpoint.identity.get(name)
        if then != now:
            known = f" (it was {then}, now it is {now})" if then and len(then) + len(now) < 60 else ""
            raise TrainingError(f"The checkpoint belongs to another run: {name} differs{known}.")


class Keeper:
    """Saves a run at intervals.

    Args:
        folder: of the checkpoint; None keeps nothing.
        interval: seconds between two of them.
    """

    def __init__(self, folder: Path | None, interval: float) -> None:
        self.folder = folder
        self._interval = interval
        self._last = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether it is time for another checkpoint."""
        return self.folder is not None and time.monotonic() - self._last >= self._interval

    def save(self, checkpoint: Checkpoint) -> None:
        """Saves it, due or not."""
        if self.folder is not None:
            save_checkpoint(checkpoint, self.folder)
        self._last = time.monotonic()
