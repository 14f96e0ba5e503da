"""Products with integer weights as ONNX Runtime's own operator, which reads four or eight bits as they are stored.

`MatMulNBits <https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits>`_
takes weights ``[out, blocks, block_size · bits / 8]`` as unsigned integers, of four bits two a byte, the first in the
lower half, with a zero point in the middle (8 or 128) unless it is given others. Its ``accuracy_level`` says what it
computes with: 1 is float32, 4 rounds the inputs to 8 bits by block as well (`studio.compression.ops.round_blocks`).
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from studio.export.onnx_weights import Stored, initializer, integers_of
from studio.recipe.settings import Product
from studio.recipe.stored_size import ACCURACY_LEVEL, NBITS_DOMAIN


def write_product(graph: ir.Graph, stored: Stored, part: str, product: Product) -> ir.Node:
    """Replaces a stored weight and the product that reads it by one node; a bias in that product stays in it.

    Args:
        graph: fresh from the exporter.
        stored: integers in blocks.
        part: path of the layer or factor, by which the initializers are named.
        product: which of ONNX Runtime's.
    """
    (reader,) = stored.end.outputs[0].consumers()
    integers = integers_of(stored)
    block_size = stored.start.attributes.get_int("block_size", 0)
    out, columns = integers.q.shape
    blocks = -(-columns // block_size)
    padded = np.pad(integers.q, ((0, 0), (0, blocks * block_size - columns)))
    packed = _packed(padded, integers.bits).reshape(out, blocks, -1)
    inputs: list[ir.Value | None] = [
        reader.inputs[0],
        initializer(graph, f"{part}.weight_quantized", packed),
        initializer(graph, f"{part}.weight_scale", integers.scale),
    ]
    bias = reader.inputs[2] if len(reader.inputs) > 2 else None
    if integers.zero_point is not None:
        zeros = np.pad(integers.zero_point, ((0, 0), (0, blocks % 2 if integers.bits == 4 else 0)))
        inputs.append(initializer(graph, f"{part}.weight_zero_point", _packed(zeros, integers.bits)))
    if bias is not None:
        inputs += [None] * (5 - len(inputs)) + [bias]
    attributes: Mapping[str, int] = {
        "K": columns,
        "N": out,
        "bits": integers.bits,
        "block_size": block_size,
        "accuracy_level": ACCURACY_LEVEL[product],
    }
    node = ir.node("MatMulNBits", inputs, attributes, domain=NBITS_DOMAIN)
    graph.insert_before(reader, node)
    reader.outputs[0].replace_all_uses_with(node.outputs[0], replace_graph_outputs=True)
    node.outputs[0].name = reader.outputs[0].name
    node.outputs[0].type, node.outputs[0].shape = reader.outputs[0].type, reader.outputs[0].shape
    graph.remove([reader, *stored.chain], safe=True)
    graph.opset_imports[NBITS_DOMAIN] = 1
    return node


def _packed(integers: NDArray[np.int8], bits: int) -> NDArray[np.uint8]:
    """Signed integers as unsigned ones, of four bits two a byte along each row, the first in the lower half."""
    unsigned: NDArray[np.uint8] = (integers.astype(np.int16) + 2 ** (bits - 1)).astype(np.uint8)
    packed: NDArray[np.uint8] = np.bitwise_or(unsigned[:, ::2], unsigned[:, 1::2] << 4) if bits == 4 else unsigned
    return packed
