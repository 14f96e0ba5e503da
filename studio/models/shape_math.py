"""Arithmetic on sizes: what ONNX computes with small integer tensors, done on Python numbers.

Sizes stay Python (or symbolic) numbers and lists of them, so that a graph whose sizes follow from its inputs can be
exported with a free batch; a size that went through a tensor could not. A number stands for a rank-0 tensor, a list
for a rank-1 tensor.
"""

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

#: A size, or several.
Number = int | float | bool
Sizes = Number | list[Number]


def shape(x: Tensor, start: int, end: int | None) -> list[int]:
    """The sizes of dimensions `start` to `end`."""
    return list(x.shape)[start:end]


def count(x: Tensor) -> int:
    """Number of elements."""
    return math.prod(x.shape)


def to_tensor(value: Sizes) -> Tensor:
    """The tensor that `value` stands for: float32 when it holds a float, else int64 or Boolean."""
    if isinstance(value, list):
        return torch.stack([to_tensor(v) for v in value]) if value else torch.zeros(0, dtype=torch.int64)
    if isinstance(value, bool):
        return torch.tensor(value)
    real = isinstance(value, (float, torch.SymFloat))
    return torch.scalar_tensor(value, dtype=torch.float32 if real else torch.int64)


def from_tensor(x: Tensor) -> Sizes:
    """The numbers of a constant tensor; more than one dimension is flattened."""
    value: Sizes = x.item() if x.dim() == 0 else x.flatten().tolist()
    return value


def concat(parts: Sequence[Sizes]) -> list[Number]:
    """All parts behind one another."""
    return [number for part in parts for number in _list(part)]


def gather(values: Sizes, indices: Sizes) -> Sizes:
    """The values at one place, or at several."""
    values = _list(values)
    return [values[int(i)] for i in indices] if isinstance(indices, list) else values[int(indices)]


def slice_(values: list[Number], start: int, end: int, step: int) -> list[Number]:
    """Python slicing."""
    return values[start:end:step]


def as_list(value: Sizes) -> list[Number]:
    """A number as a list of one."""
    return _list(value)


def as_number(value: Sizes) -> Number:
    """The only entry of a list, or the number itself."""
    values = _list(value)
    if len(values) != 1:
        raise ValueError(f"expected one number, got {len(values)}")
    return values[0]


def product(value: Sizes) -> Number:
    """All numbers multiplied."""
    return math.prod(_list(value))


def add(x: Sizes, y: Sizes) -> Sizes:
    """Sum."""
    return _each(operator.add, x, y)


def subtract(x: Sizes, y: Sizes) -> Sizes:
    """Difference."""
    return _each(operator.sub, x, y)


def multiply(x: Sizes, y: Sizes) -> Sizes:
    """Product."""
    return _each(operator.mul, x, y)


def divide(x: Sizes, y: Sizes) -> Sizes:
    """Quotient; between integers rounded towards zero."""
    return _each(_quotient, x, y)


def modulo(x: Sizes, y: Sizes) -> Sizes:
    """Remainder with the sign of `y`."""
    return _each(operator.mod, x, y)


def smallest(x: Sizes, y: Sizes) -> Sizes:
    """The smaller of two."""
    return _each(torch.sym_min, x, y)


def largest(x: Sizes, y: Sizes) -> Sizes:
    """The larger of two."""
    return _each(torch.sym_max, x, y)


def equal(x: Sizes, y: Sizes) -> Sizes:
    """Whether both are equal."""
    return _each(operator.eq, x, y)


def choose(condition: Sizes, x: Sizes, y: Sizes) -> Sizes:
    """`x` where the condition holds, else `y`."""
    chosen = [a if c else b for c, a, b in zip(*_alike(condition, x, y), strict=True)]
    return chosen if any(isinstance(value, list) for value in (condition, x, y)) else chosen[0]


def square_root(x: Sizes) -> Sizes:
    """Square root."""
    return _map(torch.sym_sqrt, x)


def floor(x: Sizes) -> Sizes:
    """Rounded down, still a float."""
    return _map(_floor, x)


def to_float(x: Sizes) -> Sizes:
    """As floats."""
    return _map(torch.sym_float, x)


def to_int(x: Sizes) -> Sizes:
    """As integers, rounded towards zero."""
    return _map(torch.sym_int, x)


def _list(value: Sizes) -> list[Number]:
    return value if isinstance(value, list) else [value]


def _alike(*values: Sizes) -> list[list[Number]]:
    """All values as lists of the same length, single numbers repeated."""
    length = max(len(_list(value)) for value in values)
    return [_list(value) * length if len(_list(value)) == 1 else _list(value) for value in values]


def _map(function: Callable[[Any], Any], x: Sizes) -> Sizes:
    return [function(value) for value in x] if isinstance(x, list) else function(x)


def _each(function: Callable[[Any, Any], Any], x: Sizes, y: Sizes) -> Sizes:
    results = [function(a, b) for a, b in zip(*_alike(x, y), strict=True)]
    return results if isinstance(x, list) or isinstance(y, list) else results[0]


def _quotient(x: Number, y: Number) -> Number:
    if isinstance(x, (float, torch.SymFloat)) or isinstance(y, (float, torch.SymFloat)):
        return x / y
    return x // y if (x >= 0) == (y > 0) else -(-x // y)


def _floor(x: Number) -> Number:
    rounded: Number = (x // 1) * 1.0
    return rounded
