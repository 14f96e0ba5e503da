"""Resizing as ONNX defines it: for every place of the result, how much each pixel of the input weighs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: Which pixel is nearest to a place between two.
_NEAREST: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda place: math.ceil(place - 0.5),
    "round_prefer_ceil": lambda place: math.floor(place + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


@dataclass(frozen=True)
class Resizing:
    """How images are resized, in the words of ONNX ``Resize``.

    Attributes:
        mode: ``nearest``, ``linear`` or ``cubic``.
        where: ``coordinate_transformation_mode``: which place of the input a place of the result comes from.
        nearest: ``nearest_mode``: which pixel is nearest to a place between two.
        antialias: whether pixels of a smaller image are averages over all that they stand for.
        cubic: coefficient ``a`` of the cubic kernel.
        exclude: whether places outside the image weigh nothing; otherwise its border is repeated there.
    """

    mode: str
    where: str
    nearest: str
    antialias: bool
    cubic: float
    exclude: bool


def resizing_matrix(size: int, target: int, factor: float, how: Resizing) -> Tensor:
    """The matrix ``[target, size]`` that resizes one axis.

    Args:
        size: pixels of the input.
        target: pixels of the result.
        factor: by how much the axis grows; `target` may be rounded down from ``size · factor``.
        how: which pixels weigh how much.
    """
    matrix = torch.zeros(target, size, dtype=torch.float64)
    for row, place in enumerate(_places(size, target, factor, how.where)):
        for pixel, weight in _weights(place, size, factor, how):
            matrix[row, min(max(pixel, 0), size - 1)] += weight
    return matrix.float()


def _places(size: int, target: int, factor: float, where: str) -> list[float]:
    """The place in the input that each pixel of the result comes from.

    In float32, as runtimes compute it: where a place falls on a pixel or between two, the last bit decides.
    """
    rows, width = torch.arange(target, dtype=torch.float32), size * factor
    if where == "align_corners":
        places = rows * 0 if width == 1 else rows * (size - 1) / (width - 1)
    elif where == "asymmetric":
        places = rows / factor
    elif where == "pytorch_half_pixel" and width == 1:
        places = rows - 0.5
    else:
        offset = size / 2 * (1 - target / width) if where == "half_pixel_symmetric" else 0.0
        places = offset + (rows + 0.5) / factor - 0.5
    return [float(place) for place in places]


def _weights(place: float, size: int, factor: float, how: Resizing) -> list[tuple[int, float]]:
    """The pixels around `place` and what they weigh, 1 in sum."""
    if how.mode == "nearest":
        return [(_NEAREST[how.nearest](place), 1.0)]
    stretch = min(factor, 1.0) if how.antialias else 1.0
    reach = (1 if how.mode == "linear" else 2) / stretch
    pixels = range(math.floor(place - reach), math.ceil(place + reach) + 1)
    found = [(pixel, _kernel((pixel - place) * stretch, how)) for pixel in pixels]
    if how.exclude:
        found = [(pixel, weight) for pixel, weight in found if 0 <= pixel < size]
    total = sum(weight for _, weight in found)
    return [(pixel, weight / total) for pixel, weight in found]


def _kernel(distance: float, how: Resizing) -> float:
    """The weight at a distance: a tent, or the cubic convolution of Keys (1981)."""
    x, a = abs(distance), how.cubic
    if how.mode == "linear":
        return max(0.0, 1 - x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0
