"""Opening a model file, whatever its format: the studio's one way in."""

import hashlib
from collections.abc import Callable
from pathlib import Path

from torch import fx

from studio.errors import ModelFileError
from studio.models.fold import fold_batch_norms
from studio.models.layer import Layer, ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.model import DEFAULT_SIZE, Model, example_inputs
from studio.models.onnx_file import import_onnx
from studio.models.pt2_file import import_pt2
from studio.progress import Progress, Report, silent

#: Larger files are refused before they are read: the whole file is held in memory, and protocol buffers end here.
MAX_BYTES = 2**31 - 1

#: Sizes tried for free dimensions other than the batch until the model runs.
_SIZES = (DEFAULT_SIZE, 8, 32, 64, 128, 224)

_Importer = Callable[[bytes, Path], tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]
_IMPORTERS: dict[str, _Importer] = {"onnx": import_onnx, "pt2": import_pt2}


def open_model(path: str | Path, *, report: Report = silent) -> Model:
    """Opens an ONNX file (``.onnx``) or a ``torch.export`` archive (``.pt2``).

    The file is treated as data; nothing in it is executed. BatchNorms are folded into the layers before them.

    Args:
        path: the file.
        report: told what is being done; raising `Cancelled` from it stops the opening.

    Raises:
        ModelFileError: in one line what is wrong with the file and where.
    """
    path = Path(path)
    report(Progress(0, 3, f"Reading {path.name}"))
    content = _read(path)
    kind = _format(path, content)
    report(Progress(1, 3, "Building the graph"))
    try:
        graph, inputs, outputs = _IMPORTERS[kind](content, path.parent)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    if not inputs:
        raise ModelFileError(f"{path.name}: the model has no inputs.")
    fold_batch_norms(graph)
    report(Progress(2, 3, "Listing layers"))
    layers, free_size = _run_once(path, graph, inputs)
    info = ModelInfo(
        path=str(path),
        format=kind,
        fingerprint=hashlib.sha256(content).hexdigest(),
        inputs=inputs,
        outputs=outputs,
        layers=layers,
        parameters=sum(parameter.numel() for parameter in graph.parameters()),
        bytes=len(content),
        macs=sum(layer.macs for layer in layers),
    )
    report(Progress(3, 3, "Opened"))
    return Model(graph, info, free_size)


def _read(path: Path) -> bytes:
    """The bytes of the file.

    Raises:
        ModelFileError: there is no such file, or none of a size that can be a model.
    """
    if not path.exists():
        raise ModelFileError(f"There is no file '{path}'.")
    if not path.is_file():
        raise ModelFileError(f"'{path}' is a folder, not a model file.")
    size = path.stat().st_size
    if size == 0:
        raise ModelFileError(f"{path.name} is empty.")
    if size > MAX_BYTES:
        raise ModelFileError(f"{path.name} has {size / 2**30:.1f} GiB; files of up to 2 GiB can be opened.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


def _format(path: Path, content: bytes) -> str:
    """The format by content first, since a zip archive is unmistakable, then by suffix.

    Raises:
        ModelFileError: neither tells a format that can be opened.
    """
    suffix = path.suffix.lower().lstrip(".")
    is_zip = content.startswith(b"PK\x03\x04")
    if is_zip and suffix in ("pt2", "onnx"):
        return "pt2"
    if not is_zip and suffix == "onnx":
        return "onnx"
    if suffix == "pt2":
        raise ModelFileError(f"{path.name} is not a .pt2 archive: it is damaged, or another kind of file.")
    raise ModelFileError(f"{path.name} is not a model file that can be opened; .onnx and .pt2 can.")


def _run_once(path: Path, graph: fx.GraphModule, inputs: tuple[TensorSpec, ...]) -> tuple[tuple[Layer, ...], int]:
    """The layer table, and the size of free dimensions with which the model ran.

    Raises:
        ModelFileError: it ran with none.
    """
    free = any(size is None for spec in inputs for size in spec.shape[1:])
    for size in _SIZES if free else _SIZES[:1]:
        try:
            return layer_table(graph, example_inputs(graph, inputs, 1, size)), size
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            failure = error
    reason = str(failure).strip().split("\n")[0]
    raise ModelFileError(f"{path.name}: the model does not run on random input: {reason}") from failure
