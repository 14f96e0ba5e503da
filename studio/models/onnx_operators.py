"""ONNX operators that compute with values, each a line or a few of torch."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from studio.models import operators, shape_math
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator
from studio.models.onnx_types import torch_dtype

OPERATORS = Table()

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "BitwiseNot": torch.bitwise_not,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Det": torch.det,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": F.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or,
    "BitwiseXor": torch.bitwise_xor,
    "Div": operators.divide,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "PRelu": operators.leaky,
    "Pow": torch.pow,
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_VARIADIC: dict[str, Callable[..., Any]] = {"Sum": torch.add, "Max": torch.maximum, "Min": torch.minimum}
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


@OPERATORS(*_UNARY)
def unary(bench: Workbench, op: Operator) -> Any:
    """Element by element."""
    return bench.call(_UNARY[op.type], bench.tensor(op, 0))


@OPERATORS(*_BINARY)
def binary(bench: Workbench, op: Operator) -> Any:
    """Element by element, broadcasting."""
    return bench.call(_BINARY[op.type], bench.tensor(op, 0), bench.tensor(op, 1))


@OPERATORS("DequantizeLinear")
def dequantize(bench: Workbench, op: Operator) -> Any:
    """Integers as the floats they stand for; those of a quantized weight are constants, which become a plain weight."""
    scale = bench.tensor(op, 1)
    axis, block_size = op.get("axis", 1), op.get("block_size", 0)
    return bench.call(operators.dequantize, bench.tensor(op, 0), scale, bench.tensor(op, 2), axis, block_size)


@OPERATORS(*_VARIADIC, "Mean")
def variadic(bench: Workbench, op: Operator) -> Any:
    """Element by element over any number of inputs."""
    result = bench.tensor(op, 0)
    for i in range(1, len(op.inputs)):
        result = bench.call(_VARIADIC.get(op.type, torch.add), result, bench.tensor(op, i))
    return bench.call(torch.div, result, len(op.inputs)) if op.type == "Mean" else result


@OPERATORS("Dropout")
def dropout(bench: Workbench, op: Operator) -> Any:
    """Drops nothing when a model is used; the mask says so."""
    training, ratio = bench.value(op, 2), bench.numbers(op, 1, "ratio")
    if training is not None and ratio != 0.0 and (not isinstance(training, torch.Tensor) or training.any()):
        raise op.refuse("it drops values at random, also when the model is used")
    x = identity(bench, op)
    return (x, bench.call(torch.ones_like, x, dtype=torch.bool)) if len(op.outputs) > 1 else x


@OPERATORS("Identity")
def identity(bench: Workbench, op: Operator) -> Any:
    """The same; a constant becomes one of its own, so that layers that merely start equal train apart."""
    value = bench.value(op, 0)
    return value.clone() if isinstance(value, torch.Tensor) else value


@OPERATORS("Cast")
def cast(bench: Workbench, op: Operator) -> Any:
    """Another dtype."""
    return bench.call(operators.cast, bench.tensor(op, 0), torch_dtype(op, op.get("to")))


@OPERATORS("CastLike")
def cast_like(bench: Workbench, op: Operator) -> Any:
    """The dtype of another value."""
    dtype = bench.type_of(op.inputs[1]).dtype
    if dtype is None:
        raise op.refuse("the file does not tell the type to cast to")
    return bench.call(operators.cast, bench.tensor(op, 0), dtype)


@OPERATORS("Where")
def where(bench: Workbench, op: Operator) -> Any:
    """One or the other, element by element."""
    return bench.call(torch.where, *(bench.tensor(op, i) for i in range(3)))


@OPERATORS("Clip")
def clip(bench: Workbench, op: Operator) -> Any:
    """Within limits."""
    low, high = bench.numbers(op, 1, "min"), bench.numbers(op, 2, "max")
    x = bench.tensor(op, 0)
    return x if low is None and high is None else bench.call(torch.clamp, x, low, high)


@OPERATORS("Mod")
def mod(bench: Workbench, op: Operator) -> Any:
    """Remainder."""
    return bench.call(operators.remainder, bench.tensor(op, 0), bench.tensor(op, 1), bool(op.get("fmod", 0)))


@OPERATORS(*(f"Reduce{how}" for how in _REDUCTIONS))
def reduce(bench: Workbench, op: Operator) -> Any:
    """Over some dimensions, or all."""
    axes = bench.numbers(op, 1, "axes")
    if not axes and op.get("noop_with_empty_axes", 0):
        return bench.tensor(op, 0)
    how = op.type.removeprefix("Reduce")
    if how in ("Max", "Min") and 0 in (bench.type_of(op.inputs[0]).shape or ()):
        raise op.refuse("there is no largest or smallest of no values")
    return bench.call(operators.reduce, bench.tensor(op, 0), how, axes or None, bool(op.get("keepdims", 1)))


@OPERATORS("ArgMax", "ArgMin")
def arg_extreme(bench: Workbench, op: Operator) -> Any:
    """Where the extreme is."""
    keepdims, last = bool(op.get("keepdims", 1)), bool(op.get("select_last_index", 0))
    arguments = (op.type == "ArgMax", op.get("axis", 0), keepdims, last)
    return bench.call(operators.arg_extreme, bench.tensor(op, 0), *arguments)


@OPERATORS("TopK")
def top_k(bench: Workbench, op: Operator) -> Any:
    """The largest or smallest values and where they are."""
    k, largest = bench.number(bench.numbers(op, 1, "k")), bool(op.get("largest", 1))
    return bench.parts(operators.top_k, 2, bench.tensor(op, 0), k, op.get("axis", -1), largest)


@OPERATORS("CumSum")
def cum_sum(bench: Workbench, op: Operator) -> Any:
    """Running sum."""
    axis, arguments = bench.number(bench.numbers(op, 1)), (bool(op.get("exclusive", 0)), bool(op.get("reverse", 0)))
    if not any(arguments):
        return bench.call(torch.cumsum, bench.tensor(op, 0), axis)
    return bench.call(operators.cumulative_sum, bench.tensor(op, 0), axis, *arguments)


@OPERATORS("Trilu")
def trilu(bench: Workbench, op: Operator) -> Any:
    """A triangle of a matrix."""
    diagonal = bench.numbers(op, 1)
    function = torch.triu if op.get("upper", 1) else torch.tril
    return bench.call(function, bench.tensor(op, 0), 0 if diagonal is None else shape_math.as_number(diagonal))


@OPERATORS("Einsum")
def einsum(bench: Workbench, op: Operator) -> Any:
    """Sums of products by a formula."""
    return bench.call(torch.einsum, op.get("equation"), *(bench.tensor(op, i) for i in range(len(op.inputs))))
