"""The folder of a run that can be resumed; torch-free, for those who only need to know whether there is one."""

import shutil
from pathlib import Path

#: Name of the checkpoint in its folder.
FILE = "checkpoint.safetensors"

#: Name of the file that tells which steps of a run in several are done.
STEPS = "steps.json"


def is_resumable(folder: Path) -> bool:
    """Whether there is something in `folder` to go on from."""
    return (folder / FILE).exists() or (folder / STEPS).exists()


def forget(folder: Path) -> None:
    """Removes a run's folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
