"""Safetensors files as mapped memory: names and shapes are read, weights only when somebody looks at them.

The format is a length of eight bytes, a JSON header of names, types, shapes and places, and the data behind it
(`specification <https://huggingface.co/docs/safetensors>`_).
"""

import json
import mmap
import warnings
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.errors import ModelFileError

#: Types of the format that torch knows, by their names there.
DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}

_METADATA = "__metadata__"

#: The format's own limit.
_LONGEST_HEADER = 100_000_000


def mapped_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, in the file's order, and its metadata.

    The tensors are views of one mapping: nothing is read before it is looked at, and nothing may be written to them.

    Raises:
        ModelFileError: the file is damaged, or holds a type that torch does not know.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header, start = _header(content)
        metadata = header.pop(_METADATA, None) or {}
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given buffer is not writable")  # nobody writes to it
            tensors = {name: _tensor(content, start, name, entry) for name, entry in header.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, OSError) as error:
        reason = str(error).strip().split("\n")[0][:200] or type(error).__name__
        raise ModelFileError(f"the safetensors file {path.name} is damaged: {reason}") from error
    return tensors, {str(key): str(value) for key, value in metadata.items()}


def _header(content: mmap.mmap) -> tuple[dict[str, Any], int]:
    """The header, and where the data begins.

    Raises:
        ValueError: it is not one, or says of places what cannot be.
    """
    length = int.from_bytes(content[:8], "little")
    start = 8 + length
    if length > _LONGEST_HEADER or start > len(content):
        raise ValueError("its header is longer than the file")
    entries: dict[str, Any] = json.loads(content[8:start])
    if not isinstance(entries, dict):
        raise TypeError("its header is no table of tensors")
    places = sorted(entry["data_offsets"] for name, entry in entries.items() if name != _METADATA)
    ends = [0, *(last for _, last in places)]
    if [first for first, _ in places] != ends[:-1] or start + ends[-1] != len(content):
        raise ValueError("its tensors do not fill the file without gaps")
    return entries, start


def _tensor(content: mmap.mmap, start: int, name: str, entry: dict[str, Any]) -> Tensor:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"'{name}' has the type {entry['dtype']}, which is not supported")
    dtype, shape = DTYPES[entry["dtype"]], [int(size) for size in entry["shape"]]
    first, last = entry["data_offsets"]
    if any(size < 0 for size in shape) or prod(shape) * dtype.itemsize != last - first:
        raise ValueError(f"'{name}' takes other bytes than its shape")
    if first == last:
        return torch.empty(shape, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype, count=prod(shape), offset=start + first)
    aligned = flat if flat.data_ptr() % dtype.itemsize == 0 else flat.clone()
    return aligned.reshape(shape)
