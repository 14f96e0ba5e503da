"""The folder of a run that can be resumed; torch-free, for those who only need to know whether there is one."""

import shutil
from pathlib import Path

from studio.files import keep_text

#: Name of the checkpoint in its folder.
FILE = "checkpoint.safetensors"

#: Name of the file that tells which steps of a run in several are done.
STEPS = "steps.json"

#: Name of the empty file that stands for a run which has no checkpoint yet.
BEGUN = "begun"


def note_begun(folder: Path) -> None:
    """Makes the folder of a run; from now on the run can go on, be it from its first step.

    Raises:
        StudioError: it cannot be made.
    """
    keep_text(folder / BEGUN, "")


def has_checkpoint(folder: Path) -> bool:
    """Whether there is work in `folder` that would be lost without it."""
    return (folder / FILE).exists() or (folder / STEPS).exists()


def is_resumable(folder: Path) -> bool:
    """Whether there is a run in `folder` to go on with."""
    return has_checkpoint(folder) or (folder / BEGUN).exists()


def forget(folder: Path) -> None:
    """Removes a run's folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
