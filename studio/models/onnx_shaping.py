"""ONNX operators that make, cut, join and rearrange tensors without computing with their values."""

import math
from typing import Any

import torch

from studio.models import operators, shape_math
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_nodes import Operator

SHAPING = Table()

#: Elements that a file may have an operator make of constants: 4 GiB of float32, a mask for 32,000 tokens. A file of a
#: few bytes can ask for any number.
LARGEST_MADE = 1 << 30


@SHAPING("Constant")
def constant(_bench: Workbench, op: Operator) -> Any:
    """A value written into the graph."""
    for name in ("value", "value_float", "value_floats", "value_int", "value_ints"):
        if name in op.attributes:
            value = op.get(name)
            return value if isinstance(value, torch.Tensor) else torch.tensor(value)
    raise op.refuse("its value is neither numbers nor a dense tensor")


@SHAPING("Shape")
def shape(bench: Workbench, op: Operator) -> Any:
    """Sizes: constants where the file fixes them."""
    start, end = op.get("start", 0), op.get("end")
    known = bench.type_of(op.inputs[0]).shape
    if known is not None and None not in known[start:end]:
        return torch.tensor(known[start:end], dtype=torch.int64)
    return bench.size(shape_math.shape, bench.value(op, 0), start, end)


@SHAPING("Size")
def size(bench: Workbench, op: Operator) -> Any:
    """Number of elements."""
    value = bench.value(op, 0)
    return torch.tensor(value.numel()) if isinstance(value, torch.Tensor) else bench.size(shape_math.count, value)


@SHAPING("Reshape")
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


@SHAPING("Flatten")
def flatten(bench: Workbench, op: Operator) -> Any:
    """To a matrix."""
    axis = op.get("axis", 1)
    if axis == 1:
        return bench.call(torch.flatten, bench.tensor(op, 0), 1)
    return bench.call(operators.flatten, bench.tensor(op, 0), axis)


@SHAPING("Transpose")
def transpose(bench: Workbench, op: Operator) -> Any:
    """Another order of dimensions."""
    order = op.get("perm")
    if order is None:
        return bench.call(operators.transpose, bench.tensor(op, 0), None)
    return bench.call(torch.permute, bench.tensor(op, 0), order)


@SHAPING("Squeeze")
def squeeze(bench: Workbench, op: Operator) -> Any:
    """Without dimensions of size 1."""
    return bench.call(operators.squeeze, bench.tensor(op, 0), bench.numbers(op, 1, "axes"))


@SHAPING("Unsqueeze")
def unsqueeze(bench: Workbench, op: Operator) -> Any:
    """With more dimensions of size 1."""
    return bench.call(operators.unsqueeze, bench.tensor(op, 0), shape_math.as_list(bench.numbers(op, 1, "axes")))


@SHAPING("Expand")
def expand(bench: Workbench, op: Operator) -> Any:
    """Broadcast to a shape."""
    return bench.call(operators.expand, bench.tensor(op, 0), _bounded(op, bench.numbers(op, 1)))


@SHAPING("Tile")
def tile(bench: Workbench, op: Operator) -> Any:
    """Repeated along each dimension."""
    return bench.call(torch.tile, bench.tensor(op, 0), _bounded(op, bench.numbers(op, 1)))


@SHAPING("Concat")
def concat(bench: Workbench, op: Operator) -> Any:
    """Behind one another."""
    return bench.call(torch.cat, [bench.tensor(op, i) for i in range(len(op.inputs))], op.get("axis"))


@SHAPING("Split")
def split(bench: Workbench, op: Operator) -> Any:
    """In parts of given sizes, or in equal ones."""
    axis, parts = op.get("axis", 0), bench.numbers(op, 1, "split")
    if parts is None:
        return bench.parts(operators.split_evenly, len(op.outputs), bench.tensor(op, 0), len(op.outputs), axis)
    return bench.parts(torch.split, len(op.outputs), bench.tensor(op, 0), parts, axis)


@SHAPING("Slice")
def slice_(bench: Workbench, op: Operator) -> Any:
    """A run along some dimensions."""
    starts, ends = bench.numbers(op, 1, "starts"), bench.numbers(op, 2, "ends")
    axes, steps = bench.numbers(op, 3, "axes"), bench.numbers(op, 4, "steps")
    count = next((len(v) for v in (starts, ends, axes, steps) if isinstance(v, list)), None)
    if count is None:
        raise op.refuse("nothing tells how many dimensions it cuts")
    axes = list(range(count)) if axes is None else axes
    return bench.call(operators.slice_, bench.tensor(op, 0), starts, ends, axes, steps or [1] * count)


@SHAPING("GatherElements")
def gather_elements(bench: Workbench, op: Operator) -> Any:
    """One value for each index."""
    return bench.call(operators.gather_elements, bench.tensor(op, 0), bench.tensor(op, 1), op.get("axis", 0))


@SHAPING("GatherND")
def gather_nd(bench: Workbench, op: Operator) -> Any:
    """One slice for each index vector."""
    return bench.call(operators.gather_nd, bench.tensor(op, 0), bench.tensor(op, 1), op.get("batch_dims", 0))


@SHAPING("OneHot")
def one_hot(bench: Workbench, op: Operator) -> Any:
    """One value where an index points, another everywhere else."""
    depth = bench.number(bench.numbers(op, 1))
    return bench.call(operators.one_hot, bench.tensor(op, 0), depth, bench.tensor(op, 2), op.get("axis", -1))


@SHAPING("Pad")
def pad(bench: Workbench, op: Operator) -> Any:
    """Constant, reflected or repeated borders."""
    pads, axes = bench.numbers(op, 1, "pads"), bench.numbers(op, 3)
    value = bench.numbers(op, 2, "value")
    value = 0.0 if value is None else bench.number(value)
    for size in pads if isinstance(pads, list) else ():
        _bounded(op, [size])
    return bench.call(operators.pad, bench.tensor(op, 0), pads, op.get("mode", "constant"), value, axes)


@SHAPING("ConstantOfShape")
def constant_of_shape(bench: Workbench, op: Operator) -> Any:
    """One value in a given shape."""
    value = op.get("value", torch.zeros(1)).flatten()[0]
    return bench.call(torch.full, _bounded(op, bench.numbers(op, 0)), value.item(), dtype=value.dtype)


@SHAPING("Range")
def range_(bench: Workbench, op: Operator) -> Any:
    """Equal steps."""
    return bench.call(torch.arange, *(bench.numbers(op, i) for i in range(3)))


@SHAPING("DepthToSpace")
def depth_to_space(bench: Workbench, op: Operator) -> Any:
    """Channels become pixels."""
    return bench.call(operators.depth_to_space, bench.tensor(op, 0), op.get("blocksize"), op.get("mode", "DCR"))


@SHAPING("SpaceToDepth")
def space_to_depth(bench: Workbench, op: Operator) -> Any:
    """Pixels become channels."""
    return bench.call(operators.space_to_depth, bench.tensor(op, 0), op.get("blocksize"), op.get("mode", "DCR"))


def _joins_all_but_batch(shape: tuple[int | None, ...] | None, target: list[int]) -> bool:
    """Whether `target` is ``[batch, everything else]`` for an input of `shape`."""
    if shape is None or len(shape) < 2 or len(target) != 2 or None in shape[1:]:
        return False
    rest = math.prod(n for n in shape[1:] if n is not None)
    return target == [-1, rest] or (target[1] in (-1, rest) and target[0] in (0, shape[0]))


def _bounded(op: Operator, sizes: Any) -> Any:
    """`sizes`, unless the file's constants among them ask for more than any honest model makes.

    Raises:
        ModelFileError: saying how much.
    """
    known = [size for size in sizes if isinstance(size, int) and size > 0] if isinstance(sizes, list) else []
    if math.prod(known) > LARGEST_MADE:
        raise op.refuse(f"it makes {math.prod(known):,} elements")
    return sizes
