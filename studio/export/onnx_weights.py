"""The form in which stored weights stand in an ONNX file.

Floats of 16 bits become a ``Cast`` of their initializer, integers a ``DequantizeLinear`` of one of int8 or int4,
already turned to how the layer reads it. A ``Reshape`` follows where blocks run across a convolution's kernel, with
zero points, which ONNX Runtime's integer kernels refuse channel by channel, and in front of a matrix product: there it
replaces a ``DequantizeLinear`` by a kernel that rounds the layer's inputs to 8 bits too, so that the file would no
longer do what the preview measured (seen with 1.32: an error of 0.4 % of the outputs instead of 1e-7).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

#: Element types of 16-bit floats.
_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)

#: Bits of the numbers that float32 holds at one exponent.
_MANTISSA = np.finfo(np.float32).nmant + 1


@dataclass(frozen=True)
class Stored:
    """One stored weight as the exporter wrote it.

    Attributes:
        start: its ``DequantizeLinear``.
        end: the last node of the chain that only changes the weight's shape.
        shape: the weight's shape behind `end`.
        turned: whether a transposition is part of the chain.
    """

    start: ir.Node
    end: ir.Node
    shape: tuple[int, ...]
    turned: bool

    @property
    def chain(self) -> Iterator[ir.Node]:
        """The nodes from `end` back to `start`."""
        node = self.end
        while node is not self.start:
            yield node
            node = _producer(node.inputs[0])
        yield node


@dataclass(frozen=True)
class Integers:
    """Stored integers ``[out, n]`` of so many `bits`, with scales and the zero points of those that have any."""

    q: NDArray[np.int8]
    bits: int
    scale: NDArray[np.generic]
    zero_point: NDArray[np.int8] | None


def integers_of(stored: Stored) -> Integers:
    """What a stored weight that is no float consists of, as the layer holds it."""
    q, bits = _integers(stored.start.inputs[0])
    return Integers(q, bits, _array(stored.start.inputs[1]), _zero_point(stored.start))


def stored_weights(graph: ir.Graph) -> list[Stored]:
    """Every stored weight of a graph fresh from the exporter."""
    return [_follow(node) for node in graph if node.op_type == "DequantizeLinear" and not is_rounded(node.outputs[0])]


def name_levels(graph: ir.Graph) -> set[ir.Node]:
    """Gives every rounded activation levels of its own, under names of one length, and tells their nodes.

    The name that a value had before it was rounded goes on to the rounded one, so that what reads it stays as it was.
    """
    nodes = set[ir.Node]()
    pairs = [node for node in graph if node.op_type == "QuantizeLinear"]
    for number, quantize in enumerate(pairs):
        name = f"levels_{number:04}"
        (dequantize,) = quantize.outputs[0].consumers()
        levels = [
            initializer(graph, f"{name}.{part}", _array(quantize.inputs[position]))
            for position, part in ((1, "scale"), (2, "zero_point"))
        ]
        for node, verb in ((quantize, "quantize"), (dequantize, "dequantize")):
            for position, value in enumerate(levels, 1):
                node.replace_input_with(position, value)
            node.name = f"{name}.{verb}"
        quantize.outputs[0].name = f"{name}.quantized"
        dequantize.attributes.clear()  # defaults that say nothing of a single scale
        nodes |= {quantize, dequantize}
    return nodes


def is_rounded(value: ir.Value | None) -> bool:
    """Whether `value` is an activation on 8-bit levels: ``DequantizeLinear`` right behind ``QuantizeLinear``."""
    node = value.producer() if value is not None else None
    if node is None or node.op_type != "DequantizeLinear" or node.inputs[0] is None:
        return False
    before = node.inputs[0].producer()
    return before is not None and before.op_type == "QuantizeLinear"


def write_out(graph: ir.Graph, stored: Stored, name: str, in_integers: bool = False) -> list[ir.Node]:
    """Replaces a stored weight by its final form; the value that the layer reads is called `name`.

    The initializers are ``name_half``, or ``name_quantized``, ``name_scale`` and, with a ``Reshape``, ``name_shape``.

    Returns:
        The nodes of the final form.
    """
    given = stored.start.inputs[0]
    half = given is not None and given.dtype in _HALF
    nodes = _cast(graph, stored, name) if half else _dequantized(graph, stored, name, in_integers)
    graph.insert_before(stored.start, nodes)
    stored.end.outputs[0].replace_all_uses_with(next(v for node in nodes for v in node.outputs if v.name == name))
    graph.remove(list(stored.chain), safe=True)
    return nodes


def _cast(graph: ir.Graph, stored: Stored, name: str) -> list[ir.Node]:
    """Floats of 16 bits as runtimes read them."""
    floats = _array(stored.start.inputs[0])
    half = initializer(graph, f"{name}_half", floats.T if stored.turned else floats.reshape(stored.shape))
    node = ir.node("Cast", [half], {"to": ir.DataType.FLOAT.value}, name=f"{name}_cast")
    node.outputs[0].name = name
    return [node]


def _dequantized(graph: ir.Graph, stored: Stored, name: str, in_integers: bool) -> list[ir.Node]:
    """Integers with scales, and with `in_integers` the zero points and the bias that integer kernels ask for."""
    integers = integers_of(stored)
    q, bits, scale, zero_point = integers.q, integers.bits, integers.scale, integers.zero_point
    block_size = stored.start.attributes.get_int("block_size", 0)
    axis = 1 if block_size else 0
    if stored.turned:
        q, axis = q.T, 1 - axis
        if block_size:
            scale, zero_point = scale.T, None if zero_point is None else zero_point.T
    through_matrix = (len(stored.shape) == 2 or block_size > 0 or zero_point is not None) and not in_integers
    if not through_matrix:
        q = q.reshape(stored.shape)
    if in_integers:  # runtimes ask for the zero points that they could do without
        zero_point = np.zeros(scale.shape, np.int8)
    attributes = ({"axis": axis} if scale.ndim else {}) | ({"block_size": block_size} if block_size else {})
    container = ml_dtypes.int4 if bits == 4 else np.int8
    inputs = [initializer(graph, f"{name}_quantized", q.astype(container)), initializer(graph, f"{name}_scale", scale)]
    if zero_point is not None:
        inputs.append(initializer(graph, f"{name}_zero_point", zero_point.astype(container)))
    nodes = [ir.node("DequantizeLinear", inputs, attributes, name=f"{name}_dequantize")]
    if in_integers:
        nodes += _integer_bias(graph, stored.end.outputs[0].consumers()[0], scale, name)
    if through_matrix:
        nodes[0].outputs[0].name = f"{name}_matrix"
        shape = initializer(graph, f"{name}_shape", np.array(stored.shape, dtype=np.int64))
        nodes.append(ir.node("Reshape", [nodes[0].outputs[0], shape], name=f"{name}_reshape"))
    last = nodes[0] if in_integers else nodes[-1]
    last.outputs[0].name = name
    return nodes


def _zero_point(node: ir.Node) -> NDArray[np.int8] | None:
    """The zero points of a ``DequantizeLinear`` that has any."""
    given = node.inputs[2] if len(node.inputs) > 2 else None
    return None if given is None else _integers(given)[0]


def _integer_bias(graph: ir.Graph, reader: ir.Node, weight_scale: NDArray[np.generic], name: str) -> list[ir.Node]:
    """Gives `reader` its bias as int32, in steps of the product of its input's and its weight's scale."""
    if len(reader.inputs) < 3 or reader.inputs[2] is None:
        return []
    name = f"{name.removesuffix('.weight')}.bias"
    bias = _array(reader.inputs[2]).astype(np.float32)
    input_scale = _array(_producer(reader.inputs[0]).inputs[1]).astype(np.float32)
    step = np.broadcast_to(input_scale * weight_scale.astype(np.float32), bias.shape)
    integers = initializer(graph, f"{name}_quantized", np.rint(bias / step).astype(np.int32))
    steps = initializer(graph, f"{name}_scale", step)
    zeros = initializer(graph, f"{name}_zero_point", np.zeros(bias.shape, np.int32))
    node = ir.node("DequantizeLinear", [integers, steps, zeros], {"axis": 0}, name=f"{name}_dequantize")
    node.outputs[0].name = name
    reader.replace_input_with(2, node.outputs[0])
    return [node]


def guard_bias(graph: ir.Graph, reader: ir.Node, name: str) -> list[ir.Node]:
    """Gives a layer with float weights and rounded inputs a bias that keeps ONNX Runtime from rounding its weight.

    Where bias and weight are constant floats it makes them integers unasked (``WeightBiasQuantization``). So the bias
    comes out of a ``DequantizeLinear``, with a power of two as the scale of each value, which loses nothing.

    Returns:
        The nodes of the bias, which is called `name`.
    """
    if len(reader.inputs) < 3 or reader.inputs[2] is None:
        bias = np.zeros(len(_constant(reader.inputs[1])), np.float32)
        reader.resize_inputs(3)
    else:
        bias = _array(reader.inputs[2]).astype(np.float32)
    exponent = np.maximum(np.frexp(bias)[1] - _MANTISSA, np.finfo(np.float32).minexp)
    step = np.ldexp(np.float32(1), exponent)
    integers = initializer(graph, f"{name}_quantized", (bias / step).astype(np.int32))
    node = ir.node(
        "DequantizeLinear",
        [integers, initializer(graph, f"{name}_scale", step)],
        {"axis": 0},
        name=f"{name}_dequantize",
    )
    node.outputs[0].name = name
    reader.replace_input_with(2, node.outputs[0])
    graph.insert_before(reader, node)
    return [node]


def has_float_weight(node: ir.Node) -> bool:
    """Whether a layer's node multiplies by constant floats."""
    weight = node.inputs[1]
    producer = weight.producer() if weight is not None else None
    return weight is not None and (weight.is_initializer() or (producer is not None and producer.op_type == "Cast"))


def initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """A new initializer of `graph`."""
    contiguous = np.ascontiguousarray(array).reshape(array.shape)  # a 0-d array would come out as 1-d
    value = ir.val(name, const_value=ir.tensor(contiguous, name=name))
    graph.register_initializer(value)
    return value


def _follow(start: ir.Node) -> Stored:
    """Goes from a ``DequantizeLinear`` along reshapes and transpositions to where the weight is used."""
    end, turned = start, False
    shape = _constant(start.inputs[0]).shape
    while len(users := end.outputs[0].consumers()) == 1 and users[0].op_type in ("Reshape", "Transpose"):
        end = users[0]
        if end.op_type == "Transpose":
            shape, turned = shape[::-1], not turned
        else:
            shape = tuple(int(size) for size in _array(end.inputs[1]))
    return Stored(start, end, shape, turned)


def _integers(value: ir.Value | None) -> tuple[NDArray[np.int8], int]:
    """The stored integers behind `value` and their width in bits."""
    tensor = value.const_value if value is not None else None
    narrow = tensor is None or tensor.dtype == ir.DataType.INT4
    return _constant(value).astype(np.int8), 4 if narrow else 8


def _constant(value: ir.Value | None) -> NDArray[np.generic]:
    """The stored values behind `value`: 4-bit integers may still be a cast of others, and 16-bit floats are one."""
    folded = value is not None and value.const_value is not None
    return _array(value if folded else _producer(value).inputs[0])


def _producer(value: ir.Value | None) -> ir.Node:
    node = value.producer() if value is not None else None
    if node is None:
        raise ValueError(f"{value}: is the output of no node")
    return node


def _array(value: ir.Value | None) -> NDArray[np.generic]:
    if value is None or value.const_value is None:
        raise ValueError(f"{value}: a stored weight consists of constants")
    array: NDArray[np.generic] = value.const_value.numpy()
    return array
