"""Reading the quantized weights that the studio has written to a safetensors file; the form: `studio.recipe.packed`."""

import json
from collections.abc import Mapping

import torch
from torch import Tensor

from studio.errors import ModelFileError
from studio.recipe.packed import METADATA, QUANTIZED, SCALE, ZERO_POINT


def unpacked(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of a file with the weights that its integers stand for, float32 and under their own names.

    Raises:
        ModelFileError: the metadata and the tensors do not fit each other.
    """
    if METADATA not in metadata:
        return dict(tensors)
    try:
        packed = json.loads(metadata[METADATA])
        found = dict[str, Tensor]()
        for name, tensor in tensors.items():
            weight = name.removesuffix(QUANTIZED)
            if weight in packed and weight != name:
                zero_point = tensors.get(weight + ZERO_POINT)
                found[weight] = _weight(tensor, tensors[weight + SCALE], zero_point, packed[weight])
            elif not any(name.endswith(part) and name.removesuffix(part) in packed for part in (SCALE, ZERO_POINT)):
                found[name] = tensor
    except (ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError) as error:
        raise ModelFileError("its quantized weights do not fit what its header says of them.") from error
    return found


def pack(integers: Tensor) -> Tensor:
    """Four-bit integers ``[out, n]`` of -8..7, two a byte along each row, the first in the lower half."""
    even = torch.nn.functional.pad(integers, (0, integers.shape[1] % 2)).to(torch.uint8) & 0xF
    return even[:, ::2] | (even[:, 1::2] << 4)


def _unpack(packed: Tensor, columns: int) -> Tensor:
    """What `pack` was given, ``[out, columns]``."""
    halves = torch.stack((packed & 0xF, packed >> 4), -1).flatten(1).to(torch.int8)
    return torch.where(halves > 7, halves - 16, halves)[:, :columns]


def _weight(stored: Tensor, scale: Tensor, zero_point: Tensor | None, form: Mapping[str, object]) -> Tensor:
    shape = [int(size) for size in form["shape"]]  # type: ignore[attr-defined]
    out, columns = shape[0], torch.Size(shape[1:]).numel()
    integers = _unpack(stored, columns) if form["bits"] == 4 else stored.reshape(out, columns)
    size = int(form["group_size"])  # type: ignore[call-overload]

    def spread(values: Tensor) -> Tensor:
        if size:
            return values.repeat_interleave(size, 1)[:, :columns]
        return values.reshape(-1, 1) if values.dim() else values

    levels = integers.to(torch.float32)
    if zero_point is not None:
        levels = levels - spread(zero_point)
    return (levels * spread(scale)).reshape(shape)
