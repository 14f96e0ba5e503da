"""The form in which integer weights stand in an ONNX file.

Each stored weight becomes ``DequantizeLinear`` on an int8 or int4 initializer, already turned to how its layer reads
it. In front of a matrix product, and where blocks run across a convolution's kernel, a ``Reshape`` follows: ONNX
Runtime replaces a ``DequantizeLinear`` that feeds a ``MatMul`` directly by a kernel that rounds the layer's inputs
to 8 bits too, so that the file would no longer do what the preview measured (seen with 1.32: an error of 0.4 % of
the outputs instead of 1e-7).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredInteger:
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


def stored_integers(graph: ir.Graph) -> list[StoredInteger]:
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


def write_out(graph: ir.Graph, stored: StoredInteger, name: str, in_integers: bool = False) -> list[ir.Node]:
    """Replaces a stored weight by its final form; the value that the layer reads is called `name`.

    The initializers are ``name_quantized``, ``name_scale`` and, with a ``Reshape``, ``name_shape``.

    Returns:
        The nodes of the final form.
    """
    q, bits = _integers(stored.start.inputs[0])
    scale = _array(stored.start.inputs[1])
    block_size = stored.start.attributes.get_int("block_size", 0)
    axis = 1 if block_size else 0
    if stored.turned:
        q, axis, scale = q.T, 1 - axis, scale.T if block_size else scale
    through_matrix = (len(stored.shape) == 2 or block_size > 0) and not in_integers
    if not through_matrix:
        q = q.reshape(stored.shape)
    attributes = ({"axis": axis} if scale.ndim else {}) | ({"block_size": block_size} if block_size else {})
    integers = initializer(graph, f"{name}_quantized", q.astype(ml_dtypes.int4 if bits == 4 else np.int8))
    inputs = [integers, initializer(graph, f"{name}_scale", scale)]
    if in_integers:  # runtimes ask for the zero points that they could do without
        zeros = np.zeros(scale.shape, np.int8)
        inputs.append(initializer(graph, f"{name}_zero_point", zeros))
    nodes = [ir.node("DequantizeLinear", inputs, attributes, name=f"{name}_dequantize")]
    if in_integers:
        nodes += _integer_bias(graph, stored.end.outputs[0].consumers()[0], scale, name)
    if through_matrix:
        nodes[0].outputs[0].name = f"{name}_matrix"
        shape = initializer(graph, f"{name}_shape", np.array(stored.shape, dtype=np.int64))
        nodes.append(ir.node("Reshape", [nodes[0].outputs[0], shape], name=f"{name}_reshape"))
    last = nodes[0] if in_integers else nodes[-1]
    last.outputs[0].name = name
    graph.insert_before(stored.start, nodes)
    stored.end.outputs[0].replace_all_uses_with(last.outputs[0])
    graph.remove(list(stored.chain), safe=True)
    return nodes


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


def initializer(graph: ir.Graph, name: str, array: NDArray[np.generic]) -> ir.Value:
    """A new initializer of `graph`."""
    contiguous = np.ascontiguousarray(array).reshape(array.shape)  # a 0-d array would come out as 1-d
    value = ir.val(name, const_value=ir.tensor(contiguous, name=name))
    graph.register_initializer(value)
    return value


def _follow(start: ir.Node) -> StoredInteger:
    """Goes from a ``DequantizeLinear`` along reshapes and transpositions to where the weight is used."""
    end, shape, turned = start, _integers(start.inputs[0])[0].shape, False
    while len(users := end.outputs[0].consumers()) == 1 and users[0].op_type in ("Reshape", "Transpose"):
        end = users[0]
        if end.op_type == "Transpose":
            shape, turned = shape[::-1], not turned
        else:
            shape = tuple(int(size) for size in _array(end.inputs[1]))
    return StoredInteger(start, end, shape, turned)


def _integers(value: ir.Value | None) -> tuple[NDArray[np.int8], int]:
    """The stored integers behind `value` and their width in bits: 4 when it is a cast to int4, folded or not."""
    if value is not None and value.const_value is not None:
        return _array(value).astype(np.int8), 4 if value.const_value.dtype == ir.DataType.INT4 else 8
    return _array(_producer(value).inputs[0]).astype(np.int8), 4


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
