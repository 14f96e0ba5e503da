"""The folder of a run that can be resumed; torch-free, for those who only need to know whether there is one."""

import shutil
from pathlib import Path

#: Name of the checkpoint in its folder.
FILE = "checkpoint.safetensors"


def is_resumable(folder: Path) -> bool:
    """Whether there is a checkpoint in `folder`."""
    return (folder / FILE).exists()


def forget(folder: Path) -> None:
    """Removes a run's folder with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
