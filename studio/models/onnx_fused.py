"""Operators of ONNX Runtime's own that its optimizer makes of several: files of transformers are often stored so.

Their meaning: ONNX Runtime's list of contributed operators (``ContribOperators.md``).
"""

from typing import Any

import onnx
import torch
import torch.nn.functional as F

from studio.models import attention as transformer
from studio.models import operators
from studio.models.onnx_graph import Table, Workbench
from studio.models.onnx_layers import embedding, linear_layer
from studio.models.onnx_nodes import Operator

FUSED = Table()

#: The domain of such operators.
RUNTIME = "com.microsoft"

_STRAYS = ("SimplifiedLayerNormalization",)
_EMBEDDED = "com.microsoft.EmbedLayerNormalization"


@FUSED("com.microsoft.Gelu", "com.microsoft.BiasGelu", "com.microsoft.FastGelu")
def gelu(bench: Workbench, op: Operator) -> Any:
    """``x · Φ(x)`` of the input with its bias, the fast one by tanh."""
    x, bias = bench.tensor(op, 0), bench.tensor(op, 1)
    x = x if bias is None else bench.call(torch.add, x, bias)
    return bench.call(F.gelu, x, approximate="tanh" if op.type.endswith("FastGelu") else "none")


@FUSED("com.microsoft.QuickGelu")
def quick_gelu(bench: Workbench, op: Operator) -> Any:
    """``x · sigmoid(alpha·x)``."""
    return bench.call(operators.swish, bench.tensor(op, 0), op.get("alpha", 1.702))


@FUSED("com.microsoft.SkipLayerNormalization", "com.microsoft.SkipSimplifiedLayerNormalization")
def skip_norm(bench: Workbench, op: Operator) -> Any:
    """A sum of two and a bias, normalised; the sum itself is the last output."""
    simplified = "Simplified" in op.type
    total = bench.call(torch.add, bench.tensor(op, 0), bench.tensor(op, 1))
    bias = bench.tensor(op, 3 if simplified else 4)
    total = total if bias is None else bench.call(torch.add, total, bias)
    scale, epsilon = bench.tensor(op, 2), op.get("epsilon", 1e-12)
    if simplified:
        return bench.call(operators.rms_norm, total, scale, -1, epsilon), None, None, total
    return _normalised(bench, op, total, 2, 3), None, None, total


@FUSED(f"{RUNTIME}.SimplifiedLayerNormalization")
def simplified_norm(bench: Workbench, op: Operator) -> Any:
    """Divides by the root of the mean square over the last dimensions."""
    axis, epsilon = op.get("axis", -1), op.get("epsilon", 1e-5)
    return bench.call(operators.rms_norm, bench.tensor(op, 0), bench.tensor(op, 1), axis, epsilon)


@FUSED(_EMBEDDED)
def embedded(bench: Workbench, op: Operator) -> Any:
    """Words, positions and kinds of text looked up, added and normalised; the second output counts the words."""
    ids, kinds, mask, places = (bench.tensor(op, place) for place in (0, 1, 7, 8))
    if places is None:
        places = bench.call(transformer.places_of, ids)
    total = embedding(bench, op, 2, ids)
    total = bench.call(torch.add, total, embedding(bench, op, 3, places))
    if kinds is not None:
        total = bench.call(torch.add, total, embedding(bench, op, 4, kinds))
    counted = None if mask is None else bench.call(torch.sum, mask, -1)
    return _normalised(bench, op, total, 5, 6), counted, total


@FUSED("com.microsoft.Attention")
def attention(bench: Workbench, op: Operator) -> Any:
    """A linear layer to query, key and value together, and attention."""
    weight, bias = bench.constant(op, 1), bench.constant(op, 2)
    if weight is None or (bias is None and bench.value(op, 2) is not None):
        raise op.refuse("its weights are not constants of the file")
    if any(bench.value(op, place) is not None for place in range(4, len(op.inputs))) or op.get("do_rotary", 0):
        raise op.refuse("earlier keys, added scores and rotary positions are not supported")
    third = weight.shape[1] // 3
    sizes = tuple(op.get("qkv_hidden_sizes", (third, third, third)))
    mask, lengths = bench.tensor(op, 3), None
    if mask is not None and _counts(bench, op):
        mask, lengths = None, mask
    joined = linear_layer(bench, op, weight.t(), bias, op.inputs[1], op.inputs[2] if bias is not None else "")
    how = (op.get("scale") or None, bool(op.get("unidirectional", 0)), op.get("mask_filter_value", -10000.0))
    return bench.call(transformer.joined_attention, joined, mask, lengths, sizes, op.get("num_heads"), *how)


def name_domains(model: onnx.ModelProto) -> None:
    """Moves what ONNX Runtime writes into ONNX's own domain, though ONNX has no such operator, to the runtime's."""
    strays = [node for node in model.graph.node if node.op_type in _STRAYS and node.domain in ("", "ai.onnx")]
    for node in strays:
        node.domain = RUNTIME
    if strays and all(entry.domain != RUNTIME for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(RUNTIME, 1))


def _counts(bench: Workbench, op: Operator) -> bool:
    """Whether the mask is how many keys count, ``[batch]``, and not which.

    Raises:
        ModelFileError: the file does not tell, or it is of another kind.
    """
    name = op.inputs[3]
    maker, shape = bench.producer(name), bench.type_of(name).shape
    if maker is not None and maker.type == _EMBEDDED:
        return True
    if shape is None or len(shape) not in (1, 2, 3):
        raise op.refuse("the kind of its mask is not known")
    return len(shape) == 1


def _normalised(bench: Workbench, op: Operator, x: Any, scale: int, shift: int) -> Any:
    """`x` normalised over the last dimension with the inputs at `scale` and `shift`."""
    weight = bench.constant(op, scale)
    if weight is None:
        raise op.refuse("its weights are not constants of the file")
    return bench.call(F.layer_norm, x, tuple(weight.shape), weight, bench.tensor(op, shift), op.get("epsilon", 1e-12))
