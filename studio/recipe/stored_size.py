"""Bytes of stored weights in an exported file, in the forms that `studio.export.onnx_weights` writes."""

from math import ceil, prod

from studio.recipe.protobuf import node_size, tensor_size
from studio.recipe.settings import CONTAINER_BITS, QuantizeSettings

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


def _packed(count: int, settings: QuantizeSettings) -> int:
    """Bytes of so many integers."""
    return ceil(count * CONTAINER_BITS[settings.weight_bits] / 8)
