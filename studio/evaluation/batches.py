"""Samples in batches that are read whenever they are asked for, so that none are held in between."""

from collections.abc import Sequence
from typing import Any, overload

from torch import Tensor

from studio.evaluation.data import Dataset


class Batches(Sequence[tuple[Tensor, ...]]):
    """The first `count` samples of a data set (all where it has fewer), `size` at a time; the last may be smaller."""

    def __init__(self, data: Dataset, count: int, size: int) -> None:
        self._data = data
        self._ranges = [
            range(start, min(start + size, count, len(data))) for start in range(0, min(count, len(data)), size)
        ]

    def __len__(self) -> int:
        return len(self._ranges)

    @overload
    def __getitem__(self, index: int) -> tuple[Tensor, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> "Batches": ...

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, slice):
            return self._data.inputs(self._ranges[index])
        part = Batches(self._data, 0, 1)
        part._ranges = self._ranges[index]
        return part
