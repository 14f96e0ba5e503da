"""Whether a file may be written at all: asked before any work is done, and torch-free so that it is asked at once."""

import os
from pathlib import Path

from studio.errors import ExportError, did_you_mean

#: What can be written.
FORMATS = ("onnx",)


def check_target(out: Path, format: str, model: str) -> None:  # noqa: A002 (as in the command line and the report)
    """Refuses a format that there is no writer for, and a place that cannot or must not be written to.

    Args:
        out: the file to write.
        format: one of `FORMATS`.
        model: path of the original, which an export must never replace.

    Raises:
        ExportError: saying what is in the way.
    """
    if format not in FORMATS:
        known = ", ".join(FORMATS)
        raise ExportError(f"There is no format '{format}'; there is: {known}.{did_you_mean(format, FORMATS)}")
    folder = out.parent
    if out.is_dir():
        raise ExportError(f"{out}: is a folder; name a file in it.")
    if not folder.is_dir():
        raise ExportError(f"{out}: the folder {folder} does not exist.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ExportError(f"{out}: the folder {folder} cannot be written to.")
    if out.exists() and Path(model).exists() and out.samefile(model):
        raise ExportError(f"{out}: is the original model itself; name another file.")
