"""How a compressed weight stands in a safetensors file, and what it takes there: names, types and shapes, torch-free.

A file of weights is written as it was, but for the layers that change. Where ``conv1.weight`` was, there stands

- of a pruned layer the same with zeros in it, of the same type;
- of a factored layer one weight for each factor: ``conv1.first.weight``, ``conv1.second.weight`` … (`PARTS`);
- of a quantized weight ``conv1.weight_quantized`` and ``conv1.weight_scale``, float32 ``[]`` for the tensor, ``[out]``
  for channels or ``[out, blocks]`` for groups along the inputs; the weight is the integer times its scale. Eight bits
  are int8 of the weight's shape. Fewer bits take four: uint8 ``[out, ceil(n / 2)]``, two weights a byte, the first in
  the lower half, two's complement. Where the levels are not symmetric, ``conv1.weight_zero_point``, int8 of the scale's
  shape, is taken off the integer first;
- of a weight as 16-bit floats the same as F16 or BF16.

The file's metadata holds a JSON text under ``studio_packed``: by the name of each quantized weight
``{"bits", "group_size", "shape"}``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod

from studio.recipe.settings import CONTAINER_BITS, QuantizeSettings

#: Key of the file's metadata.
METADATA = "studio_packed"

QUANTIZED = "_quantized"
SCALE = "_scale"
ZERO_POINT = "_zero_point"

#: Bytes of the types that weights have.
ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1}

#: Digits of a place in the data, as a rule: places of nine digits are those of a file of 100 MB and more.
_PLACE = "12345678"


@dataclass(frozen=True)
class Stored:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def data(self) -> int:
        """Bytes of its values."""
        return ITEM_BYTES[self.dtype] * prod(self.shape)

    @property
    def size(self) -> int:
        """Bytes of its values and of its entry in the header, the latter within a few digits."""
        shape = ",".join(map(str, self.shape))
        entry = f'"{self.name}":{{"dtype":"{self.dtype}","shape":[{shape}],"data_offsets":[{_PLACE},{_PLACE}]}},'
        return self.data + len(entry.encode())


def stored_weight(name: str, shape: Sequence[int], settings: QuantizeSettings | None, dtype: str) -> list[Stored]:
    """What stands in the file for one weight, or one factor of it.

    Args:
        name: of the weight, such as ``conv1.weight``.
        shape: ``[out, in, *kernel]``.
        settings: how it is quantized, None for floats.
        dtype: of floats.
    """
    if settings is None:
        return [Stored(name, dtype, tuple(shape))]
    if settings.weight_bits == 16:
        return [Stored(name, settings.float_format.upper().replace("FP", "F"), tuple(shape))]
    out, columns = shape[0], prod(shape[1:])
    scales = {"tensor": (), "channel": (out,), "group": (out, ceil(columns / settings.group_size))}
    packed = CONTAINER_BITS[settings.weight_bits] == 4
    integers = ("U8", (out, ceil(columns / 2))) if packed else ("I8", tuple(shape))
    scale = Stored(name + SCALE, "F32", scales[settings.granularity])
    zero = [] if settings.symmetric else [Stored(name + ZERO_POINT, "I8", scale.shape)]
    return [Stored(name + QUANTIZED, *integers), scale, *zero]


def metadata_size(name: str, shape: Sequence[int]) -> int:
    """Bytes that the metadata takes for one quantized weight; quotes within the JSON text are escaped there."""
    return len(f'"{name}": {{"bits": 4, "group_size": 32, "shape": {list(shape)}}}, ') + 8
