"""ONNX operators without weights of their own, each a line or a few of torch."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from studio.models import operators, shape_math
from studio.models.onnx_graph import Operator, Table, Workbench
from studio.models.onnx_types import torch_dtype

OPERATORS = Table()

_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
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
    "Selu": F.selu,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
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
_REDUCTIONS = ("L1", "L2", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


@OPERATORS(*_UNARY)
def unary(bench: Workbench, op: Operator) -> Any:
    """Element by element."""
    return bench.call(_UNARY[op.type], bench.tensor(op, 0))


@OPERATORS(*_BINARY)
def binary(bench: Workbench, op: Operator) -> Any:
    """Element by element, broadcasting."""
    return bench.call(_BINARY[op.type], bench.tensor(op, 0), bench.tensor(op, 1))


@OPERATORS(*_VARIADIC, "Mean")
def variadic(bench: Workbench, op: Operator) -> Any:
    """Element by element over any number of inputs."""
    result = bench.tensor(op, 0)
    for i in range(1, len(op.inputs)):
        result = bench.call(_VARIADIC.get(op.type, torch.add), result, bench.tensor(op, i))
    return bench.call(torch.div, result, len(op.inputs)) if op.type == "Mean" else result


@OPERATORS("Identity", "Dropout")
def identity(bench: Workbench, op: Operator) -> Any:
    """The same; a constant becomes one of its own, so that layers that merely start equal train apart."""
    value = bench.value(op, 0)
    return value.clone() if isinstance(value, torch.Tensor) else value


@OPERATORS("Constant")
def constant(_bench: Workbench, op: Operator) -> Any:
    """A value written into the graph."""
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in op.attributes:
            value = op.get(name)
            return value if isinstance(value, torch.Tensor) else torch.tensor(value)
    raise op.refuse("its value is neither numbers nor a dense tensor")


@OPERATORS("Shape")
def shape(bench: Workbench, op: Operator) -> Any:
    """Sizes: constants where the file fixes them."""
    start, end = op.get("start", 0), op.get("end")
    known = bench.type_of(op.inputs[0]).shape
    if known is not None and None not in known[start:end]:
        return torch.tensor(known[start:end], dtype=torch.int64)
    return bench.size(shape_math.shape, bench.value(op, 0), start, end)


@OPERATORS("Size")
def size(bench: Workbench, op: Operator) -> Any:
    """Number of elements."""
    value = bench.value(op, 0)
    return torch.tensor(value.numel()) if isinstance(value, torch.Tensor) else bench.size(shape_math.count, value)


@OPERATORS("Reshape")
def reshape(bench: Workbench, op: Operator) -> Any:
    """To a given shape; where that only joins everything behind the batch, it is written as such.

    A shape with the number of channels baked in would stand in the way of removing channels, and a fixed batch in
    the way of any other.
    """
    x, target = bench.tensor(op, 0), bench.numbers(op, 1, "shape")
    if isinstance(target, list) and _joins_all_but_batch(bench.type_of(op.inputs[0]).shape, target):
        return bench.call(torch.flatten, x, 1)
    if isinstance(target, list) and (0 not in target or op.get("allowzero", 0)):
        return bench.call(torch.reshape, x, target)
    return bench.call(torch.reshape if op.get("allowzero", 0) else operators.reshape, x, target)


@OPERATORS("Flatten")
def flatten(bench: Workbench, op: Operator) -> Any:
    """To a matrix."""
    axis = op.get("axis", 1)
    if axis == 1:
        return bench.call(torch.flatten, bench.tensor(op, 0), 1)
    return bench.call(operators.flatten, bench.tensor(op, 0), axis)


@OPERATORS("Transpose")
def transpose(bench: Workbench, op: Operator) -> Any:
    """Another order of dimensions."""
    order = op.get("perm")
    if order is None:
        return bench.call(operators.transpose, bench.tensor(op, 0), None)
    return bench.call(torch.permute, bench.tensor(op, 0), order)


@OPERATORS("Squeeze")
def squeeze(bench: Workbench, op: Operator) -> Any:
    """Without dimensions of size 1."""
    return bench.call(operators.squeeze, bench.tensor(op, 0), bench.numbers(op, 1, "axes"))


@OPERATORS("Unsqueeze")
def unsqueeze(bench: Workbench, op: Operator) -> Any:
    """With more dimensions of size 1."""
    return bench.call(operators.unsqueeze, bench.tensor(op, 0), shape_math.as_list(bench.numbers(op, 1, "axes")))


@OPERATORS("Expand")
def expand(bench: Workbench, op: Operator) -> Any:
    """Broadcast to a shape."""
    return bench.call(operators.expand, bench.tensor(op, 0), bench.numbers(op, 1))


@OPERATORS("Tile")
def tile(bench: Workbench, op: Operator) -> Any:
    """Repeated along each dimension."""
    return bench.call(torch.tile, bench.tensor(op, 0), bench.numbers(op, 1))


@OPERATORS("Concat")
def concat(bench: Workbench, op: Operator) -> Any:
    """Behind one another."""
    return bench.call(torch.cat, [bench.tensor(op, i) for i in range(len(op.inputs))], op.get("axis"))


@OPERATORS("Split")
def split(bench: Workbench, op: Operator) -> Any:
    """In parts of given sizes, or in equal ones."""
    axis, parts = op.get("axis", 0), bench.numbers(op, 1, "split")
    if parts is None:
        return bench.call(torch.tensor_split, bench.tensor(op, 0), len(op.outputs), axis)
    return bench.call(torch.split, bench.tensor(op, 0), parts, axis)


@OPERATORS("Slice")
def slice_(bench: Workbench, op: Operator) -> Any:
    """A run along some dimensions."""
    starts, ends = bench.numbers(op, 1, "starts"), bench.numbers(op, 2, "ends")
    axes, steps = bench.numbers(op, 3, "axes"), bench.numbers(op, 4, "steps")
    count = next((len(v) for v in (starts, ends, axes, steps) if isinstance(v, list)), None)
    if count is None:
        raise op.refuse("nothing tells how many dimensions it cuts")
    axes = list(range(count)) if axes is None else axes
    return bench.call(operators.slice_, bench.tensor(op, 0), starts, ends, axes, steps or [1] * count)


@OPERATORS("GatherElements")
def gather_elements(bench: Workbench, op: Operator) -> Any:
    """One value for each index."""
    return bench.call(torch.gather, bench.tensor(op, 0), op.get("axis", 0), bench.tensor(op, 1))


@OPERATORS("Pad")
def pad(bench: Workbench, op: Operator) -> Any:
    """Constant, reflected or repeated borders."""
    pads, axes = bench.numbers(op, 1, "pads"), bench.numbers(op, 3)
    value = bench.numbers(op, 2, "value")
    mode = op.get("mode", "constant")
    return bench.call(operators.pad, bench.tensor(op, 0), pads, mode, 0.0 if value is None else value, axes)


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


@OPERATORS("ConstantOfShape")
def constant_of_shape(bench: Workbench, op: Operator) -> Any:
    """One value in a given shape."""
    value = op.get("value", torch.zeros(1)).flatten()[0]
    return bench.call(torch.full, bench.numbers(op, 0), value.item(), dtype=value.dtype)


@OPERATORS("Range")
def range_(bench: Workbench, op: Operator) -> Any:
    """Equal steps."""
    return bench.call(torch.arange, *(bench.numbers(op, i) for i in range(3)))


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
    return bench.call(operators.reduce, bench.tensor(op, 0), how, axes or None, bool(op.get("keepdims", 1)))


@OPERATORS("ArgMax", "ArgMin")
def arg_extreme(bench: Workbench, op: Operator) -> Any:
    """Where the extreme is."""
    function = torch.argmax if op.type == "ArgMax" else torch.argmin
    return bench.call(function, bench.tensor(op, 0), op.get("axis", 0), bool(op.get("keepdims", 1)))


@OPERATORS("TopK")
def top_k(bench: Workbench, op: Operator) -> Any:
    """The largest or smallest values and where they are."""
    k = shape_math.as_number(bench.numbers(op, 1, "k"))
    return bench.call(torch.topk, bench.tensor(op, 0), k, op.get("axis", -1), bool(op.get("largest", 1)))


@OPERATORS("CumSum")
def cum_sum(bench: Workbench, op: Operator) -> Any:
    """Running sum."""
    if op.get("exclusive", 0) or op.get("reverse", 0):
        raise op.refuse("exclusive and reverse sums are not supported")
    return bench.call(torch.cumsum, bench.tensor(op, 0), shape_math.as_number(bench.numbers(op, 1)))


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


@OPERATORS("DepthToSpace")
def depth_to_space(bench: Workbench, op: Operator) -> Any:
    """Channels become pixels."""
    return bench.call(operators.depth_to_space, bench.tensor(op, 0), op.get("blocksize"), op.get("mode", "DCR"))


@OPERATORS("SpaceToDepth")
def space_to_depth(bench: Workbench, op: Operator) -> Any:
    """Pixels become channels."""
    return bench.call(operators.space_to_depth, bench.tensor(op, 0), op.get("blocksize"))


def _joins_all_but_batch(shape: tuple[int | None, ...] | None, target: list[int]) -> bool:
    """Whether `target` is ``[batch, everything else]`` for an input of `shape`."""
    if shape is None or len(shape) < 2 or len(target) != 2 or None in shape[1:]:
        return False
    rest = math.prod(n for n in shape[1:] if n is not None)
    return target == [-1, rest] or (target[1] in (-1, rest) and target[0] in (0, shape[0]))
