"""What a model really sees of data: the first samples after all conversion, and how well it does on them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import Tensor

from studio.evaluation import tables, texts
from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset, open_described
from studio.evaluation.data_guess import DataView
from studio.evaluation.description import DataDescription
from studio.evaluation.guess import baseline
from studio.models.model import Model
from studio.progress import Report, silent

#: Samples that are shown.
SHOWN = 24

#: Longest side in pixels of a picture that crosses to the window.
LARGEST_SIDE = 96

#: Columns of a table or array that are shown.
COLUMNS = 12


def look(
    place: Path,
    described: DataDescription,
    model: Model,
    report: Report = silent,
    publish: Callable[[object], None] = lambda _view: None,
) -> DataView:
    """Shows the first samples of data in the order they are measured.

    Args:
        place: path of the description's file.
        described: the description.
        model: that takes the samples.
        report: receives progress of measuring.
        publish: receives the view before its baseline is measured.

    Raises:
        DataError: the data cannot be read or do not fit the model.
    """
    data = open_described(place, described, model.info)
    view = _view(place, described, data)
    publish(view)
    return replace(view, baseline=baseline(data, model, report).metric)


def _view(place: Path, described: DataDescription, data: Dataset) -> DataView:
    order = data.order(0)[:SHOWN]
    block = data.inputs(order)[0]
    pictures = _pictures(described, data.stored(order)) if data.kind == "image" else None
    plain = block.double()
    return DataView(
        samples=len(data),
        labelled=data.labelled,
        metric=data.metric,
        pictures=pictures,
        captions=_captions(data.labels(order), data.names),
        headings=_headings(described, data, block),
        rows=() if pictures is not None or data.kind == "tokens" else _rows(block),
        texts=_texts(place, described, block) if data.kind == "tokens" else (),
        low=float(plain.min()),
        high=float(plain.max()),
        mean=float(plain.mean()),
    )


def _pictures(described: DataDescription, stored: Tensor) -> Array:
    """Images ``[count, height, width, channels]`` as bytes, thinned to whole pixels where they are large."""
    if stored.shape[1] in (1, 3):
        stored = stored.permute(0, 2, 3, 1)
    if described.colour == "bgr":
        stored = stored.flip(3)
    step = -(-max(stored.shape[1:3]) // LARGEST_SIDE)
    peak = 255 if float(stored.max()) > 1.5 else 1
    pixels = stored[:, ::step, ::step, :3] * (255 / peak)
    return np.asarray(pixels.round().clamp(0, 255).byte().numpy())


def _captions(labels: Tensor | None, names: Mapping[str, int]) -> tuple[str, ...]:
    if labels is None or labels.dim() > 1:
        return ()
    by_number = {number: name for name, number in names.items()}
    return tuple(
        by_number.get(label, f"{label:.4g}" if isinstance(label, float) else str(label)) for label in labels.tolist()
    )


def _headings(described: DataDescription, data: Dataset, block: Tensor) -> tuple[str, ...]:
    if data.kind == "table" and described.input_names:
        return tuple(described.input_names[:COLUMNS])
    return tuple(str(number) for number in range(min(COLUMNS, block.flatten(1).shape[1])))


def _rows(block: Tensor) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(f"{value:.4g}" for value in row[:COLUMNS]) for row in block.flatten(1).tolist())


def _texts(place: Path, described: DataDescription, block: Tensor) -> tuple[str, ...]:
    """Each sample as text, or as its ids where nobody knows the words."""
    ids = block.numpy()
    if Path(described.source).suffix.lower() not in (*texts.ENDINGS, *tables.ENDINGS):
        return tuple(" ".join(map(str, row)) for row in ids.tolist())
    tokenizer = described.tokenizer or "bytes"
    return tuple(texts.text_of(row, tokenizer, described.vocabulary, place.parent) for row in ids)
