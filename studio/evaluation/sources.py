"""Whatever a description names as its source, opened as rows that are read when they are asked for."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from studio.errors import DataError
from studio.evaluation import tables, texts
from studio.evaluation.arrays import Array, Rows, read_arrays
from studio.evaluation.description import NO_LABEL, DataDescription
from studio.evaluation.image_files import Fit, ImageFiles, image_size
from studio.evaluation.image_folder import ImageFolder, check_link, class_numbers, list_images
from studio.evaluation.text_rows import TokenRows, token_rows
from studio.models.layer import ModelInfo, TensorSpec


@dataclass(frozen=True)
class Opened:
    """A source.

    Attributes:
        described: the description with what the source settles of it.
        inputs: the model's inputs by name, in its order.
        labels: of the samples, None without.
        identity: gives a text that tells this content from others.
        classes: outputs by the names of classes, where they have names.
    """

    described: DataDescription
    inputs: Mapping[str, Rows]
    labels: Rows | None
    identity: Callable[[], str]
    classes: Mapping[str, int] = field(default_factory=dict)


def open_source(path: Path, described: DataDescription, info: ModelInfo | None) -> Opened:
    """Opens the source of the description at `path`.

    Raises:
        DataError: it cannot be read, or lacks what the description names.
    """
    source = path.parent / described.source
    check_link(source, path.parent, described.links)
    if source.is_dir():
        return _images(path, source, described, info)
    if source.suffix.lower() in tables.ENDINGS:
        if described.kind == "tokens":
            return _text_table(path, source, described, info)
        return _table(path, source, described)
    if source.suffix.lower() in texts.ENDINGS:
        return _text(path, source, described, info)
    return _arrays(source, described)


def image_shape(spec: TensorSpec) -> tuple[int | None, int | None, int | None]:
    """Channels, height and width of a model's image input; None for what is free.

    Raises:
        DataError: the input is no image.
    """
    if len(spec.shape) == 4:
        _, *sizes = spec.shape
        for channels, height, width in (tuple(sizes), (sizes[2], sizes[0], sizes[1])):
            if channels in (1, 3):
                return channels, height, width
        if sizes[0] is None:
            return None, sizes[1], sizes[2]
    shape = "×".join("?" if size is None else str(size) for size in spec.shape[1:])
    raise DataError(f"the model's input '{spec.name}' is {shape}: no image of 1 or 3 channels.")


def _arrays(source: Path, described: DataDescription) -> Opened:
    names = described.input_names or ["x"]
    label = [described.label] if described.label else []
    arrays = read_arrays(source, [*names, *label])
    labels = np.asarray(arrays[-1]) if label else None
    return Opened(described, dict(zip(names, arrays, strict=False)), labels, partial(_content, source))


def _images(path: Path, source: Path, described: DataDescription, info: ModelInfo | None) -> Opened:
    found = list_images(source, links=described.links)
    try:
        fit = _fit(described, info.inputs[0] if info is not None and info.inputs else None, found)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    described = described.model_copy(update={"kind": "image", "layout": "NHWC"})
    labels, classes = None, dict[str, int]()
    if found.groups is not None and described.label != NO_LABEL:
        labels, classes = class_numbers(path, found.groups, described.classes)
    return Opened(described, {source.name: ImageFiles(found.files, fit)}, labels, partial(_listing, found), classes)


def _fit(described: DataDescription, spec: TensorSpec | None, found: ImageFolder) -> Fit:
    """What the images are made to be: the model's size, or else that of the description, or of the first image."""
    channels, height, width = image_shape(spec) if spec is not None else (None, None, None)
    if described.crop is not None:
        height, width = height or described.crop, width or described.crop
    if height is None or width is None:
        first = image_size(found.files[0])
        height, width = height or first[0], width or first[1]
    grey = described.colour == "grey"
    return Fit(
        height,
        width,
        channels or (1 if grey else 3),
        bgr=described.colour == "bgr",
        resize=described.resize,
        stretch=described.fit == "stretch",
    )


def _table(path: Path, source: Path, described: DataDescription) -> Opened:
    table = tables.read_table(source, described.input_names or None, described.label or None)
    described = described.model_copy(update={"kind": "table"})
    labels, classes = _column_labels(path, source, table.label, described)
    return Opened(described, {source.name: table.values}, labels, partial(_content, source), classes)


def _column_labels(
    path: Path, source: Path, cells: list[Any] | None, described: DataDescription
) -> tuple[Array | None, Mapping[str, int]]:
    """Labels of a column as numbers, and the outputs of classes that have names."""
    if cells is None:
        return None, {}
    labels = tables.label_array(source, cells)
    if labels is not None and described.classes is None:
        return labels, {}
    return class_numbers(path, [str(cell) for cell in cells], described.classes)


def _text_table(path: Path, source: Path, described: DataDescription, info: ModelInfo | None) -> Opened:
    """A text, or a pair, for each sample; without labels every token is to be told from those before it."""
    if not described.input_names:
        raise DataError(f"{path}: input: is missing; name the column of the text, or two that belong together.")
    table = tables.read_text_table(source, described.input_names, described.label or None)
    specs = info.inputs if info is not None else ()
    length = (specs[0].shape[1] if specs and len(specs[0].shape) == 2 else None) or described.length
    tokens = token_rows(source, table.rows, described.tokenizer or "bytes", described.vocabulary, path.parent, length)
    inputs = dict[str, Rows]({source.name: tokens.ids})
    for spec in specs[1:]:
        inputs[spec.name] = _row_companion(path, spec.name, tokens)
    labels, classes = _column_labels(path, source, table.label, described)
    if described.label is None and info is not None and info.outputs and len(info.outputs[0].shape) == 3:
        labels = tokens.following()
    return Opened(described, inputs, labels, partial(_content, source), classes)


def _row_companion(path: Path, name: str, tokens: TokenRows) -> Rows:
    """What stands beside the tokens of rows that differ in length."""
    if "mask" in name.lower():
        return tokens.mask
    if "type" in name.lower() or "segment" in name.lower():
        return tokens.types
    return texts.Repeated(_companion(path, name, tokens.ids.shape[1]), len(tokens.ids))


def _text(path: Path, source: Path, described: DataDescription, info: ModelInfo | None) -> Opened:
    tokens = texts.read_tokens(source, described.tokenizer or "bytes", described.vocabulary, path.parent)
    specs = info.inputs if info is not None else ()
    shape = specs[0].shape if specs else ()
    length = (shape[1] if len(shape) == 2 else None) or described.length or texts.DEFAULT_LENGTH
    inputs = dict[str, Rows]({source.name: texts.Windows(tokens, length)})
    for spec in specs[1:]:
        inputs[spec.name] = texts.Repeated(_companion(path, spec.name, length), len(inputs[source.name]))
    described = described.model_copy(update={"kind": "tokens"})
    labels: Rows | None = texts.Windows(tokens, length, shift=1)
    if info is not None and info.outputs and len(info.outputs[0].shape) == 2:  # only what comes after the last token
        ends = np.arange(1, len(inputs[source.name]) + 1) * length
        labels = np.asarray(tokens[ends], dtype=np.int64)
    if described.label == NO_LABEL:
        labels = None
    return Opened(described, inputs, labels, partial(_content, source))


def _companion(path: Path, name: str, length: int) -> Array:
    """What stands beside the tokens where a model takes more.

    Raises:
        DataError: nobody knows what the input is.
    """
    known = {
        "mask": np.ones(length),
        "type": np.zeros(length),
        "segment": np.zeros(length),
        "position": np.arange(length),
    }
    for part, row in known.items():
        if part in name.lower():
            return row.astype(np.int64)
    raise DataError(f"{path}: the model takes '{name}' beside the tokens; store its inputs as arrays in an .npz file.")


def _content(source: Path) -> str:
    """SHA-256 of a file."""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _listing(found: ImageFolder) -> str:
    """SHA-256 of the names, sizes and times of a folder's files: to read all would take as long as measuring."""
    digest = hashlib.sha256()
    for file in found.files:
        state = file.stat()
        digest.update(repr((str(file.relative_to(found.path)), state.st_size, state.st_mtime_ns)).encode())
    return digest.hexdigest()
