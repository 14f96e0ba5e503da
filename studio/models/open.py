"""Opening a model file, whatever its format: the studio's one way in."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import fx

from studio.errors import ModelFileError, OperatorError, first_line
from studio.models.checkpoint import read_checkpoint
from studio.models.fold import fold_batch_norms
from studio.models.huggingface import fingerprint_of, import_folder, is_folder, weight_files
from studio.models.layer import Layer, ModelInfo, TensorSpec
from studio.models.layers import layer_table
from studio.models.loose import weights_alone
from studio.models.model import DEFAULT_SIZE, Model, example_inputs
from studio.models.onnx_file import import_onnx
from studio.models.onnx_unbuilt import open_unbuilt
from studio.models.pt2_file import import_pt2
from studio.models.shards import format_of, is_checkpoint, shards_of
from studio.models.sites import sites_of
from studio.models.skeleton import fill
from studio.models.torchscript import check_conversion, is_torchscript, refuse_untrusted
from studio.progress import Progress, Report, silent

#: Larger files are refused before they are read: the whole file is held in memory, and protocol buffers end here.
MAX_BYTES = 2**31 - 1

#: Sizes tried for free dimensions other than the batch until the model runs.
_SIZES = (DEFAULT_SIZE, 8, 32, 64, 128, 224)

_Importer = Callable[[bytes, Path], tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]]
_IMPORTERS: dict[str, _Importer] = {"onnx": import_onnx, "pt2": import_pt2}


def open_model(path: str | Path, *, skeleton: str | Path | None = None, report: Report = silent) -> Model:
    """Opens an ONNX file (``.onnx``), a ``torch.export`` archive (``.pt2``), or a checkpoint with or without skeleton.

    The file is treated as data; nothing in it is executed. BatchNorms are folded into the layers before them.

    Args:
        path: the file, or a Hugging Face folder with its ``config.json``; a checkpoint is a ``.safetensors`` file, the
            index of several, or a state dict in ``.pt``, ``.pth``, ``.th`` or ``.bin``.
        skeleton: an ONNX file or ``.pt2`` archive whose network takes the checkpoint's weights by name; without it
            their layers are opened with nothing between them.
        report: told what is being done; raising `Cancelled` from it stops the opening.

    Raises:
        TrustNeededError: it is a TorchScript program, which only `studio.models.torchscript.convert` may run.
        ModelFileError: in one line what is wrong with the file and where.
    """
    path, network = Path(path), Path(path if skeleton is None else skeleton)
    if skeleton is None and is_torchscript(path):
        refuse_untrusted(path)
    if skeleton is None and is_checkpoint(path) and path.is_file():
        report(Progress(0, 1, f"Reading {path.name}"))
        return _open_alone(path)
    if skeleton is not None:
        _check_weights(path)
    try:
        found = _read_network(network, report)
    except OperatorError as error:
        if skeleton is not None:
            raise
        return open_unbuilt(path, error, report)
    graph, inputs, outputs = found.graph, found.inputs, found.outputs
    kind, fingerprint, size = found.kind, found.fingerprint, found.size
    if skeleton is not None and is_torchscript(path):
        fingerprint.update(check_conversion(path, network).encode())
        kind, size = "torchscript", path.stat().st_size
    elif skeleton is not None:
        kind, size = _take_weights(graph, path, network, fingerprint)
    fold_batch_norms(graph)
    report(Progress(2, 3, "Listing layers"))
    try:
        layers, free_size = _run_once(path, graph, inputs)
    except ModelFileError as error:
        if kind != "onnx" or skeleton is not None:
            raise
        return open_unbuilt(path, OperatorError(str(error)), report)
    sites = sites_of(graph, layers)
    info = ModelInfo(
        path=str(path),
        format=kind,
        fingerprint=fingerprint.hexdigest(),
        inputs=inputs,
        outputs=outputs,
        layers=layers,
        parameters=sum(parameter.numel() for parameter in graph.parameters()),
        bytes=size,
        macs=sum(layer.macs for layer in layers),
        skeleton=None if skeleton is None else str(skeleton),
        sites=sites.described(graph, [spec.name for spec in inputs]),
        operators=sites.operators,
    )
    report(Progress(3, 3, "Opened"))
    return Model(graph, info, free_size)


@dataclass(frozen=True, eq=False)
class _Network:
    """What a file or folder tells of a network."""

    graph: fx.GraphModule
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kind: str
    fingerprint: "hashlib._Hash"
    size: int


def _read_network(path: Path, report: Report) -> _Network:
    """The network of a file or of a Hugging Face folder.

    Raises:
        ModelFileError: naming it, and what is wrong.
    """
    report(Progress(0, 3, f"Reading {path.name}"))
    content = b"" if is_folder(path) else _read(path)
    kind = "huggingface" if is_folder(path) else _format(path, content)
    report(Progress(1, 3, "Building the graph"))
    try:
        if kind == "huggingface":
            imported = import_folder(path)
            size = sum(file.stat().st_size for file in weight_files(path))
            found = _Network(*imported, kind, fingerprint_of(path), size)
        else:
            imported = _IMPORTERS[kind](content, path.parent)
            found = _Network(*imported, kind, hashlib.sha256(content), len(content))
    except ModelFileError as error:
        raise type(error)(f"{path.name}: {error}") from error
    if not found.inputs:
        raise ModelFileError(f"{path.name}: the model has no inputs.")
    return found


def _check_weights(path: Path) -> None:
    """Refuses a skeleton beside what is no checkpoint.

    Raises:
        ModelFileError: saying what to give.
    """
    if not path.is_file():
        raise ModelFileError(f"There is no file '{path}'.")
    if not is_checkpoint(path):
        raise ModelFileError(
            f"{path.name} is no checkpoint (.safetensors, .pt, .pth, .th, .bin): it needs no skeleton."
        )


def _open_alone(path: Path) -> Model:
    """A checkpoint without a network.

    Raises:
        ModelFileError: naming it, and what is wrong.
    """
    try:
        return weights_alone(path, format_of(path), shards_of(path), read_checkpoint(path))
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


def _take_weights(graph: fx.GraphModule, path: Path, network: Path, fingerprint: "hashlib._Hash") -> tuple[str, int]:
    """Fills `graph` with the weights of a checkpoint, and its bytes into the fingerprint.

    Returns:
        The checkpoint's format, and its size in bytes.

    Raises:
        ModelFileError: naming the checkpoint, and what is wrong with it or does not fit.
    """
    try:
        shards = shards_of(path)
        for shard in shards:
            with shard.open("rb") as file:
                fingerprint.update(hashlib.file_digest(file, "sha256").digest())
        state = read_checkpoint(path)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        fill(graph, state)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name} does not fit the skeleton {network.name}: {error}") from error
    return format_of(path), sum(shard.stat().st_size for shard in shards)


def _read(path: Path) -> bytes:
    """The bytes of the file.

    Raises:
        ModelFileError: there is no such file, or none of a size that can be a model.
    """
    if not path.exists():
        raise ModelFileError(f"There is no file '{path}'.")
    if not path.is_file():
        raise ModelFileError(f"'{path}' is a folder without a config.json, not a model.")
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
    raise ModelFileError(
        f"{path.name} is not a model file that can be opened; .onnx and .pt2 can, and checkpoints with a skeleton."
    )


def _run_once(path: Path, graph: fx.GraphModule, inputs: tuple[TensorSpec, ...]) -> tuple[tuple[Layer, ...], int]:
    """The layer table, and the size of free dimensions with which the model ran.

    Raises:
        ModelFileError: it ran with none.
    """
    free, failures = any(size is None for spec in inputs for size in spec.shape[1:]), list[Exception]()
    for size in _SIZES if free else _SIZES[:1]:
        try:
            names = [spec.name for spec in inputs]
            return layer_table(graph, example_inputs(graph, inputs, 1, size), names), size
        except (RuntimeError, ValueError, IndexError, TypeError, AssertionError) as error:
            failures.append(error)
    reason = first_line(failures[0])  # others may only say that the size does not fit
    raise ModelFileError(f"{path.name}: the model does not run on random input: {reason}") from failures[0]
