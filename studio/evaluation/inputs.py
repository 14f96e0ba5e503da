"""One input of a model: the stored array and how blocks of it become what the model takes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from studio.errors import DataError
from studio.evaluation.arrays import Indices, Rows
from studio.evaluation.description import DataDescription
from studio.models.layer import ModelInfo, TensorSpec


@dataclass(frozen=True)
class Input:
    """One input of a model: the stored array and how a block of it is converted.

    Attributes:
        array: ``[samples, …]`` as stored.
        axes: order in which the model wants the stored axes, batch first.
        scale: divisor of the stored values.
        mean: subtracted after scaling, in a shape that broadcasts against a converted block.
        std: divisor after that, likewise.
        dtype: what the model takes; integers are passed on without scaling.
    """

    array: Rows
    axes: tuple[int, ...]
    scale: float
    mean: Tensor
    std: Tensor
    dtype: torch.dtype = torch.float32

    def block(self, rows: Indices) -> Tensor:
        """The samples at `rows`, converted."""
        native = self.array.dtype.newbyteorder("=")  # torch knows no other byte order
        stored = torch.from_numpy(np.ascontiguousarray(self.array[rows].transpose(self.axes), native))
        if not self.dtype.is_floating_point:
            return stored.to(self.dtype)
        return stored.to(torch.float32).div_(self.scale).sub_(self.mean).div_(self.std).to(self.dtype)

    def restore(self, block: Tensor) -> Tensor:
        """A converted block in the stored units again, in the model's order of dimensions."""
        if not self.dtype.is_floating_point:
            return block
        return block.to(torch.float32).mul(self.std).add_(self.mean).mul_(self.scale)


def input_specs(path: Path, info: ModelInfo | None, count: int) -> Sequence[TensorSpec | None]:
    """What the model's inputs must be, None each without a model.

    Raises:
        DataError: the model takes another number of inputs than `count`.
    """
    if info is None:
        return [None] * count
    if len(info.inputs) != count:
        names = ", ".join(spec.name for spec in info.inputs)
        raise DataError(f"{path}: input: names {count}, the model takes {len(info.inputs)}: {names}.")
    return info.inputs


def match_input(path: Path, name: str, array: Rows, described: DataDescription, spec: TensorSpec | None) -> Input:
    """Matches one stored array with one input of the model.

    Raises:
        DataError: the samples do not have the shape the model takes, or mean and std do not fit the channels.
    """
    if array.dtype.kind not in "buif":
        raise DataError(f"{path}: '{name}' holds {array.dtype} values; numbers are needed.")
    if described.kind == "image" and array.ndim == 3:
        array = array[..., None] if described.layout == "NHWC" else array[:, None]
    if described.kind == "image" and array.ndim != 4:
        raise DataError(f"{path}: '{name}' has the shape {_times(array.shape)}; images need {described.layout}.")
    axes = _axes(path, array, described, spec)
    if described.kind == "tokens" or (spec is not None and not spec.dtype.startswith("float")):
        dtype = getattr(torch, spec.dtype if spec is not None else "int64")
    else:
        dtype = torch.float32
    mean, std = (
        _per_channel(path, field, getattr(described, field), array, axes, described) for field in ("mean", "std")
    )
    return Input(array, axes, described.scale, mean, std, dtype)


def _axes(path: Path, array: Rows, described: DataDescription, spec: TensorSpec | None) -> tuple[int, ...]:
    """The order of the stored axes that gives what the model takes; images come channels first unless it wants last."""
    stored = tuple(range(array.ndim))
    wanted = [stored]
    if described.kind == "image":
        wanted = [(0, 3, 1, 2), stored] if described.layout == "NHWC" else [stored, (0, 2, 3, 1)]
    if spec is None:
        return wanted[0]
    for axes in wanted:
        if _fits(tuple(array.shape[axis] for axis in axes[1:]), spec):
            return axes
    raise DataError(f"{path}: holds samples of {_times(array.shape[1:])}, the model takes {_times(spec.shape[1:])}.")


def _fits(sample: tuple[int, ...], spec: TensorSpec) -> bool:
    wanted = spec.shape[1:]
    return len(sample) == len(wanted) and all(known in (None, size) for size, known in zip(sample, wanted, strict=True))


def _per_channel(
    path: Path, field: str, values: Sequence[float], array: Rows, axes: tuple[int, ...], described: DataDescription
) -> Tensor:
    """Mean or std in a shape that broadcasts along the channels of a converted block."""
    if len(values) == 1:
        return torch.tensor(values[0])
    channel = 3 if described.kind == "image" and described.layout == "NHWC" else 1
    if array.ndim <= channel or array.shape[channel] != len(values):
        raise DataError(f"{path}: {field}: has {len(values)} values for samples of {_times(array.shape[1:])}.")
    return torch.tensor(values).reshape([-1 if axis == channel else 1 for axis in axes])


def _times(shape: Sequence[int | None]) -> str:
    """A shape in words, such as ``28×28×1``; a free size is ``?``."""
    return "×".join("?" if size is None else str(size) for size in shape)
