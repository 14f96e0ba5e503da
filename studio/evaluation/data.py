"""Samples ready for a model: stored as they came, converted a block at a time, never the whole set as floats."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studio.errors import DataError
from studio.evaluation.arrays import Array, Indices, Rows
from studio.evaluation.description import DataDescription, load_description
from studio.evaluation.inputs import Input, input_specs, match_input
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.metrics import SINGLE, default_metric
from studio.evaluation.order import stratified_order
from studio.evaluation.sources import open_source
from studio.models.layer import ModelInfo

#: Metrics of labels that are classes, one for each sample.
BY_CLASS = ("top1", "top5", "auroc")


class Dataset:
    """Samples and, where there are any, labels, by index.

    Attributes:
        name: for people, the description's file name without its endings.
        metric: what is measured on it, a name of `studio.evaluation.metrics.METRICS`.
        classes: number of classes, None when the labels are not classes.
        names: classes by name, where they have names.
        kind: as the description has it.

    `identity` gives a text that tells the stored arrays and their conversion from others; it is asked for only when
    the fingerprint is, as large files take long to hash.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[Input],
        labels: Rows | None = None,
        *,
        metric: str | None = None,
        classes: int | None = None,
        names: Mapping[str, int] | None = None,
        kind: str = "tensor",
        rows: Array | None = None,
        identity: Callable[[], str] = str,
    ) -> None:
        self.name = name
        self.metric = metric or default_metric(labels)
        self.classes = classes
        self.names = names or {}
        self.kind = kind
        self._inputs = tuple(inputs)
        self._labels = labels
        self._rows = np.arange(len(inputs[0].array)) if rows is None else rows
        self._identity = identity

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def labelled(self) -> bool:
        """Whether the samples have labels."""
        return self._labels is not None

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of where the samples come from, how they are converted and which of them these are."""
        digest = hashlib.sha256(self._identity().encode())
        digest.update(np.ascontiguousarray(self._rows, dtype=np.int64).tobytes())
        return digest.hexdigest()

    def inputs(self, indices: Indices) -> tuple[Tensor, ...]:
        """The model's inputs for the samples at `indices`; images as float32 ``[batch, channels, height, width]``."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return tuple(part.block(rows) for part in self._inputs)

    def stored(self, indices: Indices) -> Tensor:
        """The first input for the samples at `indices` as the model takes it, but in the stored units."""
        rows = self._rows[np.asarray(indices, dtype=np.int64)]
        return self._inputs[0].restore(self._inputs[0].block(rows))

    def labels(self, indices: Indices) -> Tensor | None:
        """Labels of the samples at `indices`: int64 classes ``[batch]`` or float32 targets, None without labels."""
        if self._labels is None:
            return None
        block = np.asarray(self._labels[self._rows[np.asarray(indices, dtype=np.int64)]])
        whole = np.issubdtype(block.dtype, np.integer)
        return torch.from_numpy(block.astype(np.int64 if whole else np.float32))

    def order(self, seed: int) -> Array:
        """All indices in a random order whose every beginning is balanced over the classes.

        See `studio.evaluation.order`.
        """
        labels = np.asarray(self._labels[self._rows]) if self._labels is not None and self.classes is not None else None
        return stratified_order(len(self), labels, seed)

    def take(self, indices: Indices) -> "Dataset":
        """The samples at `indices` as a data set of their own that shares the stored arrays."""
        return Dataset(
            self.name,
            self._inputs,
            self._labels,
            metric=self.metric,
            classes=self.classes,
            names=self.names,
            kind=self.kind,
            rows=self._rows[np.asarray(indices, dtype=np.int64)],
            identity=self._identity,
        )


def hold_out(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """Splits `data` at random, class by class: what to train on, and the `share` (0..1) held out of it.

    Raises:
        DataError: there are too few samples to have one on each side.
    """
    count = round(share * len(data))
    if not 0 < count < len(data):
        raise DataError(f"{data.name}: {len(data)} samples are too few to hold out {share:.0%} of them.")
    order = data.order(seed)
    return data.take(np.sort(order[count:])), data.take(np.sort(order[:count]))


def open_data(path: str | Path, info: ModelInfo | None = None) -> Dataset:
    """Opens the data that a ``.data.yaml`` describes.

    Args:
        path: the description.
        info: the model that will see the samples; with it their shapes and labels are checked against the model's
            input and output, and images are laid out as the model takes them.

    Raises:
        DataError: the description or its arrays cannot be read, do not belong together, or do not fit the model.
    """
    path = Path(path)
    return open_described(path, load_description(path), info)


def open_described(path: Path, described: DataDescription, info: ModelInfo | None = None) -> Dataset:
    """Opens data by their description, as if it were in a file at `path`.

    Raises:
        DataError: as `open_data`.
    """
    opened = open_source(path, described, info)
    described = opened.described
    labels = opened.labels
    _check_lengths(path, dict(opened.inputs) | ({described.label or "labels": labels} if labels is not None else {}))
    specs = input_specs(path, info, len(opened.inputs))
    inputs = [
        match_input(path, name, array, described, spec)
        for (name, array), spec in zip(opened.inputs.items(), specs, strict=True)
    ]
    classes = None if labels is None else _classes(path, labels, info)
    metric = described.metric or default_metric(labels, _dimensions(info))
    if metric in BY_CLASS and classes is None:
        raise DataError(f"{path}: metric: {metric} needs whole numbers as labels, one for each sample.")
    if METRIC_KINDS[metric].against == "labels" and labels is None:
        raise DataError(f"{path}: metric: {metric} needs labels; name their array in 'label'.")
    return Dataset(
        path.name.removesuffix(".yaml").removesuffix(".data"),
        inputs,
        labels,
        metric=metric,
        classes=classes,
        names=opened.classes,
        kind=described.kind,
        identity=lambda: described.model_dump_json() + opened.identity(),
    )


def _check_lengths(path: Path, arrays: dict[str, Rows]) -> None:
    lengths = {name: len(array) if array.ndim else 0 for name, array in arrays.items()}
    if 0 in lengths.values():
        raise DataError(f"{path}: holds no samples.")
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length:,}" for name, length in lengths.items())
        raise DataError(f"{path}: the arrays differ in length: {listed}.")


def _classes(path: Path, labels: Rows, info: ModelInfo | None) -> int | None:
    """Number of classes that integer labels name, None for labels of another kind.

    Raises:
        DataError: a label is negative or beyond the model's outputs.
    """
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        return None
    stored = np.asarray(labels)
    low, high = int(stored.min()), int(stored.max())
    outputs = info.outputs[0].shape[-1] if info is not None and info.outputs and info.outputs[0].shape else None
    if low < 0 or (outputs is not None and outputs > 1 and high >= outputs):
        given = low if low < 0 else high
        known = f"the model has the classes 0 to {outputs - 1}" if outputs else "classes are counted from 0"
        raise DataError(f"{path}: holds the label {given}, but {known}.")
    return outputs if outputs is not None and outputs > 1 else high + 1


def _dimensions(info: ModelInfo | None) -> int | None:
    """Dimensions of the model's output as `default_metric` takes them."""
    if info is None or not info.outputs:
        return None
    shape = info.outputs[0].shape
    return SINGLE if all(size == 1 for size in shape[1:]) else len(shape)
