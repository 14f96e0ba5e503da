"""The file of an export: whether it may be written, asked at once and so free of torch, and how it gets its place."""

import os
from collections.abc import Callable
from pathlib import Path

from studio.errors import ExportError, did_you_mean
from studio.export.report import ExportReport
from studio.files import write_atomically
from studio.models.layer import ModelInfo

#: What can be written: networks as ``onnx``, weights alone as ``safetensors``; as either, where settings are applied to
#: the weights of an ONNX graph.
FORMATS = ("onnx", "safetensors")


def format_for(info: ModelInfo, wanted: str | None, out: Path) -> str:
    """The format that a model is written in.

    Args:
        info: the model.
        wanted: what was asked for, None for whatever fits.
        out: the file, whose name tells which of two is meant.

    Raises:
        ExportError: that is no format for such a model.
    """
    possible = ("onnx", "safetensors") if info.has_graph else ("onnx",) if info.has_network else ("safetensors",)
    if wanted is None:
        return next((one for one in possible if out.suffix.lower() == f".{one}"), possible[0])
    if wanted in possible or wanted not in FORMATS:
        return wanted
    name = Path(info.path).name
    if info.has_network:
        raise ExportError(f"{wanted} is written of files that hold weights alone; {name} has a network: choose onnx.")
    raise ExportError(f"{name}: {info.lacks['measure']}; it can be written as {possible[0]}, not as {wanted}.")


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


def put_in_place(out: Path, write: Callable[[Path], ExportReport]) -> ExportReport:
    """Puts a file in place once it is proven; whatever goes wrong, a file that is there already stays.

    Args:
        out: the file.
        write: writes the file it is given, and proves it.

    Raises:
        ExportError: it cannot be written; as `write`.
    """
    reports: list[ExportReport] = []
    try:
        write_atomically(out, lambda path: reports.append(write(path)))
    except OSError as error:
        raise ExportError(f"{out}: cannot be written: {error.strerror or error}.") from error
    return reports[0]
