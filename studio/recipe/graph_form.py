"""How a weight stands in an ONNX graph that settings are applied to directly, and what it takes there, torch-free.

Where ``w`` was, nodes go on reading ``w``: a pruned weight is the same tensor with zeros in it. A quantized one is made
of ``w_quantized`` and ``w_scale`` (and ``w_zero_point``) by a ``DequantizeLinear``; that of ONNX Runtime's own domain
where the file's operators are older than the form (8 bits a channel came with version 13, 4 bits with 21). Groups came
with version 21: before, each is a row of its own that is put back into place. Sixteen-bit floats are ``w_half`` behind
a ``Cast``. Products that have the weight on their right hold it ``[in, out]``, and so do the integers.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil, prod

from studio.models.layer import GraphWeight, Layer
from studio.recipe.protobuf import node_size, tensor_size
from studio.recipe.settings import CONTAINER_BITS, QuantizeSettings
from studio.recipe.stored_size import NBITS_DOMAIN

#: Endings of the names of what takes a weight's place.
QUANTIZED, SCALE, ZERO_POINT, HALF = "_quantized", "_scale", "_zero_point", "_half"
SHAPE, SHAPE_AGAIN, STARTS, ENDS, AXES = "_shape", "_shape_again", "_starts", "_ends", "_axes"
DEQUANTIZE, RESHAPE, SLICE = "_dequantize", "_reshape", "_slice"
RESHAPE_AGAIN, TRANSPOSE, CAST = "_reshape_again", "_transpose", "_cast"
ENDINGS = (
    *(QUANTIZED, SCALE, ZERO_POINT, HALF, SHAPE, SHAPE_AGAIN, STARTS, ENDS, AXES),
    *(DEQUANTIZE, RESHAPE, SLICE, RESHAPE_AGAIN, TRANSPOSE, CAST),
)

#: Bits of the values of each type.
BITS = {"I4": 4, "I8": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "I64": 64}

#: Numbers of the types of floats in ONNX.
ONNX_TYPES = {"F32": 1, "F16": 10, "F64": 11, "BF16": 16}

#: First versions with scales for channels, with bfloat16, and with four bits and scales for blocks.
_CHANNELS, _BFLOAT16, _BLOCKS = 13, 13, 21

#: First version in which a slice reads its bounds from tensors.
_SLICES = 10


@dataclass(frozen=True)
class FormTensor:
    """An initializer.

    Attributes:
        name: its name.
        dtype: a key of `BITS`.
        shape: as it stands in the file.
        numbers: its values where shapes tell them.
        turned: whether it stands there the other way round than the studio has it.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    numbers: tuple[int, ...] = ()
    turned: bool = False

    @property
    def size(self) -> int:
        """Bytes within its graph."""
        return tensor_size(self.name, self.shape, ceil(prod(self.shape) * BITS[self.dtype] / 8))


@dataclass(frozen=True)
class FormNode:
    """A node with one output."""

    name: str
    kind: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, int | str | Sequence[int]] = field(default_factory=dict)
    domain: str = ""

    @property
    def size(self) -> int:
        """Bytes within its graph."""
        return node_size(self.name, self.kind, self.inputs, self.output, self.attributes, self.domain)


@dataclass(frozen=True)
class Form:
    """What takes a weight's place; empty where its tensor stays and only its values change."""

    tensors: Sequence[FormTensor] = ()
    nodes: Sequence[FormNode] = ()

    @property
    def size(self) -> int:
        """Bytes within the graph."""
        return sum(tensor.size for tensor in self.tensors) + sum(node.size for node in self.nodes)

    @property
    def owned(self) -> bool:
        """Whether ONNX Runtime alone knows its operators."""
        return any(node.domain for node in self.nodes)


def form_of(held: GraphWeight, shape: tuple[int, ...], dtype: str, settings: QuantizeSettings | None) -> Form:
    """The form of a weight with its settings.

    Args:
        held: how the graph holds it.
        shape: of the weight, ``[out, in / groups, *kernel]``.
        dtype: of its floats, a key of `ONNX_TYPES`.
        settings: how it is rounded, None to leave it in floats.
    """
    if settings is None:
        return Form()
    if settings.weight_bits == 16:
        return _half(held, shape, dtype, settings)
    return _integers(held, shape, dtype, settings)


def form_notes(layer: Layer, settings: QuantizeSettings) -> Iterator[str]:
    """What is special about the form of a layer's weight, in words."""
    held = layer.held
    if held is not None and form_of(held, layer.shape, layer.dtype or "F32", settings).owned:
        bits = CONTAINER_BITS[settings.weight_bits]
        yield f"ONNX Runtime alone runs this form: the file's operators, of version {held.opset}, have no {bits} bits"


def refusal(held: GraphWeight, shape: tuple[int, ...], dtype: str, settings: QuantizeSettings | None) -> str:
    """Why a weight cannot have that form, in words; empty where it can."""
    if settings is None:
        return ""
    bf16 = settings.weight_bits == 16 and settings.float_format == "bf16" and dtype != "BF16"
    if bf16 and held.opset < _BFLOAT16:
        return f"bfloat16 takes operators of version {_BFLOAT16}, and the file's are of version {held.opset}: take fp16"
    ragged = settings.grouped and prod(shape[1:]) % settings.group_size
    if ragged and held.opset < _SLICES:
        return f"a row of {prod(shape[1:])} weights is no whole number of groups of {settings.group_size}"
    if settings.product_of(shape) != "portable":
        return "MatMulNBits is not written into such a graph: leave the product portable"
    return ""


def _half(held: GraphWeight, shape: tuple[int, ...], dtype: str, settings: QuantizeSettings) -> Form:
    if BITS[dtype] == 16:
        return Form()
    kind = settings.float_format.upper().replace("FP", "F")
    half = FormTensor(held.stem + HALF, kind, _there(held, shape), turned=held.turned)
    cast = FormNode(held.stem + CAST, "Cast", (half.name,), held.output, {"to": ONNX_TYPES[dtype]})
    return Form((half,), (cast,))


def _integers(held: GraphWeight, shape: tuple[int, ...], dtype: str, settings: QuantizeSettings) -> Form:
    """Integers, scales and perhaps zero points, and the nodes that make floats of them.

    A ``Reshape`` keeps ONNX Runtime from fusing the integers of a matrix with the product behind them, which would
    round what the layer reads as well.
    """
    scale = {"tensor": (), "channel": shape[:1], "group": (shape[0], _blocks(shape, settings))}[settings.granularity]
    there = _there(held, shape)
    apart = [_Step(RESHAPE, "Reshape", {SHAPE: there})] if len(shape) == 2 else []
    if not settings.grouped:
        return _chain(held, dtype, settings, there, scale, int(held.turned), apart)
    if held.opset < _BLOCKS:
        return _rows_of_blocks(held, shape, dtype, settings)
    if len(shape) == 2:
        return _chain(held, dtype, settings, there, _there(held, scale), 1 - int(held.turned), apart)
    steps = [_Step(RESHAPE, "Reshape", {SHAPE: shape})]
    return _chain(held, dtype, settings, (shape[0], prod(shape[1:])), scale, 1, steps)


def _rows_of_blocks(held: GraphWeight, shape: tuple[int, ...], dtype: str, settings: QuantizeSettings) -> Form:
    """Every block as a row with a scale of its own, for operators that know no blocks."""
    out, columns, blocks = shape[0], prod(shape[1:]), _blocks(shape, settings)
    stored = (out * blocks, settings.group_size)
    whole = blocks * settings.group_size
    first = shape if whole == columns else (out, whole)
    steps = [_Step(RESHAPE, "Reshape", {SHAPE: first})]
    if whole > columns:
        steps.append(_Step(SLICE, "Slice", {STARTS: (0,), ENDS: (columns,), AXES: (1,)}))
    if whole > columns and len(shape) > 2:
        steps.append(_Step(RESHAPE_AGAIN, "Reshape", {SHAPE_AGAIN: shape}))
    if held.turned:
        steps.append(_Step(TRANSPOSE, "Transpose", {}))
    return _chain(held, dtype, settings, stored, stored[:1], 0, steps)


@dataclass(frozen=True)
class _Step:
    """A node behind the one that gives floats, with the whole numbers that it reads by the endings of their names."""

    name: str
    kind: str
    numbers: Mapping[str, tuple[int, ...]]


def _chain(
    held: GraphWeight,
    dtype: str,
    settings: QuantizeSettings,
    stored: tuple[int, ...],
    scale: tuple[int, ...],
    axis: int,
    steps: Sequence[_Step],
) -> Form:
    """Integers of the shape `stored` with scales along `axis`, made floats and led through `steps`."""
    stem, four = held.stem, CONTAINER_BITS[settings.weight_bits] == 4
    turned = held.turned and TRANSPOSE not in [step.name for step in steps]
    integers = FormTensor(stem + QUANTIZED, "I4" if four else "I8", stored, turned=turned)
    scales = FormTensor(stem + SCALE, "F32", scale, turned=turned and len(scale) == 2)
    tensors = [integers, scales]
    if not settings.symmetric:
        tensors.append(replace(scales, name=stem + ZERO_POINT, dtype=integers.dtype))
    attributes = {"axis": axis} if scale else {}
    if len(scale) == 2:
        attributes["block_size"] = settings.group_size
    known = held.opset >= (_BLOCKS if four else _CHANNELS)
    inputs, domain = [tensor.name for tensor in tensors], "" if known else NBITS_DOMAIN
    nodes = [FormNode(stem + DEQUANTIZE, "DequantizeLinear", inputs, stem + DEQUANTIZE, attributes, domain)]
    for step in steps:
        numbers = [FormTensor(stem + name, "I64", (len(values),), values) for name, values in step.numbers.items()]
        tensors += numbers
        given = [nodes[-1].output, *(tensor.name for tensor in numbers)]
        nodes.append(FormNode(stem + step.name, step.kind, given, stem + step.name))
    if dtype != "F32":
        to = {"to": ONNX_TYPES[dtype]}
        nodes.append(FormNode(stem + CAST, "Cast", [nodes[-1].output], stem + CAST, to))
    return Form(tensors, [*nodes[:-1], replace(nodes[-1], output=held.output)])


def _blocks(shape: tuple[int, ...], settings: QuantizeSettings) -> int:
    """Blocks of a row."""
    return ceil(prod(shape[1:]) / settings.group_size)


def _there(held: GraphWeight, shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as the graph has it."""
    return shape[::-1] if held.turned else shape
