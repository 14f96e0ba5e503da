"""ONNX operators that compute sizes: they work on Python numbers, so that a free batch stays free.

An operator is handled here when everything that goes in is a size or a constant; see `shape_math`.
"""

from typing import Any

import torch
from torch import fx

from studio.models import shape_math
from studio.models.onnx_graph import Table, Value, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.onnx_types import torch_dtype

SIZES = Table()

_BINARY = {
    "Add": shape_math.add,
    "Sub": shape_math.subtract,
    "Mul": shape_math.multiply,
    "Div": shape_math.divide,
    "Mod": shape_math.modulo,
    "Min": shape_math.smallest,
    "Max": shape_math.largest,
    "Equal": shape_math.equal,
}
_UNARY = {"Sqrt": shape_math.square_root, "Floor": shape_math.floor, "ReduceProd": shape_math.product}

#: Operators whose first input is what they pick from; picking from a constant by a size gives a tensor.
_PICKS = ("Gather", "Slice", "Reshape")


def computes_sizes(bench: Workbench, op: Operator) -> bool:
    """Whether `op` is best done on Python numbers: sizes go in, and constants that could be sizes."""
    values = [bench.value(op, i) for i in range(len(op.inputs))]
    return (
        op.type in SIZES.handlers
        and any(bench.is_size(value) for value in values)
        and all(bench.is_size(value) or _could_be_sizes(value) for value in values)
        and (op.type not in _PICKS or bench.is_size(values[0]))
    )


def _could_be_sizes(value: Value) -> bool:
    return value is None or (isinstance(value, torch.Tensor) and value.dim() <= 1)


@SIZES(*_BINARY)
def binary(bench: Workbench, op: Operator) -> Any:
    """Number by number."""
    return bench.size(_BINARY[op.type], bench.numbers(op, 0), bench.numbers(op, 1))


@SIZES(*_UNARY)
def unary(bench: Workbench, op: Operator) -> Any:
    """Number by number, or over all."""
    return bench.size(_UNARY[op.type], bench.numbers(op, 0))


@SIZES("Identity")
def identity(bench: Workbench, op: Operator) -> Any:
    """The same."""
    return bench.value(op, 0)


@SIZES("Where")
def where(bench: Workbench, op: Operator) -> Any:
    """One or the other."""
    return bench.size(shape_math.choose, *(bench.numbers(op, i) for i in range(3)))


@SIZES("Concat")
def concat(bench: Workbench, op: Operator) -> Any:
    """Behind one another."""
    return bench.size(shape_math.concat, [bench.numbers(op, i) for i in range(len(op.inputs))])


@SIZES("Gather")
def gather(bench: Workbench, op: Operator) -> Any:
    """One size or several."""
    return bench.size(shape_math.gather, bench.numbers(op, 0), bench.numbers(op, 1))


@SIZES("Slice")
def slice_(bench: Workbench, op: Operator) -> Any:
    """A run of sizes."""
    start, end, step = (_one(bench, op, i, name) for i, name in ((1, "starts"), (2, "ends"), (4, "steps")))
    return bench.size(shape_math.slice_, bench.numbers(op, 0), start, end, 1 if step is None else step)


@SIZES("Unsqueeze")
def unsqueeze(bench: Workbench, op: Operator) -> Any:
    """A size as a list of one."""
    return bench.size(shape_math.as_list, bench.numbers(op, 0))


@SIZES("Squeeze")
def squeeze(bench: Workbench, op: Operator) -> Any:
    """The only size of a list."""
    return bench.size(shape_math.as_number, bench.numbers(op, 0))


@SIZES("Reshape")
def reshape(bench: Workbench, op: Operator) -> Any:
    """Between a size and a list of one."""
    target = bench.constant(op, 1)
    if target is None or target.numel() > 1:
        raise op.refuse("it makes a matrix of sizes")
    return bench.size(shape_math.as_list if target.numel() else shape_math.as_number, bench.numbers(op, 0))


@SIZES("Cast")
def cast(bench: Workbench, op: Operator) -> Any:
    """Between integers and floats."""
    real = torch_dtype(op, op.get("to")).is_floating_point
    return bench.size(shape_math.to_float if real else shape_math.to_int, bench.numbers(op, 0))


def _one(bench: Workbench, op: Operator, index: int, attribute: str) -> Any:
    """A number that the file writes as a list of one."""
    value = bench.numbers(op, index, attribute)
    if isinstance(value, fx.Node):
        return bench.size(shape_math.as_number, value)
    return None if value is None else shape_math.as_number(value)
