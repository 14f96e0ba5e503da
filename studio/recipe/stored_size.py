"""Bytes of stored weights in an exported file, in the forms that `studio.export.onnx_weights` writes."""

from collections.abc import Mapping
from math import ceil, prod

from studio.recipe.protobuf import field_size, node_size, number_size, tensor_size
from studio.recipe.settings import CONTAINER_BITS, Product, QuantizeSettings

#: Domain of ONNX Runtime's own operators.
NBITS_DOMAIN = "com.microsoft"

#: What ``MatMulNBits`` computes with.
ACCURACY_LEVEL: Mapping[Product, int] = {"onnxruntime": 1, "onnxruntime_int8": 4}

_FLOAT = 4
_INT64 = 8


def stored_size(name: str, shape: tuple[int, ...], settings: QuantizeSettings | None, integer: bool = False) -> int:
    """Bytes of a stored weight with all that it takes to read it.

    Args:
        name: of the weight.
        shape: ``[out, in, *kernel]``.
        settings: how it is rounded; None stores float32.
        integer: whether its layer runs in integers.
    """
    if settings is None:
        return tensor_size(name, shape, _FLOAT * prod(shape))
    return _half_size(name, shape) if settings.weight_bits == 16 else _integer_size(name, shape, settings, integer)


def _half_size(name: str, shape: tuple[int, ...]) -> int:
    stored = f"{name}_half"
    return tensor_size(stored, shape, 2 * prod(shape)) + node_size(f"{name}_cast", "Cast", (stored,), name, {"to": 1})


def _integer_size(name: str, shape: tuple[int, ...], settings: QuantizeSettings, integer: bool) -> int:
    count, out = prod(shape), shape[0]
    columns = count // out
    scales = {"tensor": (), "channel": (out,), "group": (out, ceil(columns / settings.group_size))}
    scale = scales[settings.granularity]
    through_matrix = (settings.grouped or len(shape) == 2 or not settings.symmetric) and not integer
    stored = (out, columns) if through_matrix else shape
    attributes = ({"axis": 1} if scale else {}) | ({"block_size": settings.group_size} if settings.grouped else {})
    size = tensor_size(f"{name}_quantized", stored, _packed(count, settings))
    size += tensor_size(f"{name}_scale", scale, _FLOAT * prod(scale))
    inputs: tuple[str, ...] = (f"{name}_quantized", f"{name}_scale")
    if integer or not settings.symmetric:
        inputs += (f"{name}_zero_point",)
        size += tensor_size(inputs[-1], scale, _packed(prod(scale), settings))
    matrix = f"{name}_matrix" if through_matrix else name
    size += node_size(f"{name}_dequantize", "DequantizeLinear", inputs, matrix, attributes)
    if through_matrix:
        size += tensor_size(f"{name}_shape", (len(shape),), _INT64 * len(shape))
        size += node_size(f"{name}_reshape", "Reshape", (matrix, f"{name}_shape"), name, {})
    return size


def product_size(part: str, shape: tuple[int, ...], settings: QuantizeSettings, bias: str | None) -> int:
    """Bytes of ``MatMulNBits`` with its weight, less those of the node in whose place it stands.

    As `studio.export.onnx_nbits` writes it.

    Args:
        part: path of the layer or factor.
        shape: of the weight, ``[out, in]``.
        settings: how it is rounded.
        bias: name of the bias that the node adds itself.
    """
    out, columns = shape
    blocks = ceil(columns / settings.group_size)
    name, given = f"{part}.weight", "x"
    inputs = [given, f"{name}_quantized", f"{name}_scale"]
    bits = CONTAINER_BITS[settings.weight_bits]
    block = settings.group_size * bits // 8
    size = tensor_size(inputs[1], (out, blocks, block), out * blocks * block)
    size += tensor_size(inputs[2], (out, blocks), _FLOAT * out * blocks)
    if not settings.symmetric:
        inputs.append(f"{name}_zero_point")
        size += tensor_size(inputs[3], (out, ceil(blocks * bits / 8)), out * ceil(blocks * bits / 8))
    if bias is not None:
        inputs += [""] * (5 - len(inputs)) + [bias]
    level = ACCURACY_LEVEL[settings.product]
    attributes = {"K": columns, "N": out, "bits": bits, "block_size": settings.group_size, "accuracy_level": level}
    size += node_size(part, "MatMulNBits", inputs, part, attributes) + field_size(len(NBITS_DOMAIN))
    plain = (given, name) if bias is None else (given, name, bias)
    kind, old = ("MatMul", dict[str, int]()) if bias is None else ("Gemm", {"transB": 1})
    before = node_size(part, kind, plain, part, old)
    return size - before


def domain_size() -> int:
    """Bytes that a file takes to say that it uses ONNX Runtime's own operators."""
    return field_size(field_size(len(NBITS_DOMAIN)) + number_size(1))


def _packed(count: int, settings: QuantizeSettings) -> int:
    """Bytes of so many integers."""
    return ceil(count * CONTAINER_BITS[settings.weight_bits] / 8)
