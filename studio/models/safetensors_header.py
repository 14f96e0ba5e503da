"""What a safetensors file tells of itself before its data are touched; free of torch.

The format is a length of eight bytes, a JSON header of names, types, shapes and places, and the data behind it
(`specification <https://huggingface.co/docs/safetensors>`_).
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from studio.errors import ModelFileError, first_line

#: Types of the format that the studio knows, and the bytes of one value.
ITEM_SIZES: Mapping[str, int] = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

_METADATA = "__metadata__"

#: The format's own limit.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class Place:
    """One tensor of a file.

    Attributes:
        dtype: a key of `ITEM_SIZES`.
        shape: of the tensor.
        first, last: bytes of the file at which it begins and behind which it ends.
    """

    dtype: str
    shape: tuple[int, ...]
    first: int
    last: int


@dataclass(frozen=True)
class Header:
    """A file's tensors in its order, and the metadata."""

    places: Mapping[str, Place]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Reads the header alone, and checks what it says against the size of the file.

    Raises:
        ModelFileError: the file is damaged, or holds a type that is not known.
    """
    with refusing_damage(path), path.open("rb") as file:
        return _checked(file, path.stat().st_size)


@contextmanager
def refusing_damage(path: Path) -> Iterator[None]:
    """Names the file where what is in it cannot be read."""
    try:
        yield
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError, RecursionError, OSError) as error:
        reason = first_line(error)[:200]
        raise ModelFileError(f"the safetensors file {path.name} is damaged: {reason}") from error


def _checked(file: BinaryIO, size: int) -> Header:
    """The header.

    Raises:
        ValueError: it is not one, or says of places what cannot be.
    """
    length = int.from_bytes(file.read(8), "little")
    start = 8 + length
    if length > _LONGEST_HEADER or start > size:
        raise ValueError("its header is longer than the file")
    entries: dict[str, Any] = json.loads(file.read(length))
    if not isinstance(entries, dict):
        raise TypeError("its header is no table of tensors")
    metadata = entries.pop(_METADATA, None) or {}
    spans = sorted(entry["data_offsets"] for entry in entries.values())
    ends = [0, *(last for _, last in spans)]
    if [first for first, _ in spans] != ends[:-1] or start + ends[-1] != size:
        raise ValueError("its tensors do not fill the file without gaps")
    places = {name: _place(name, entry, start) for name, entry in entries.items()}
    return Header(places, {str(key): str(value) for key, value in metadata.items()})


def _place(name: str, entry: Mapping[str, Any], start: int) -> Place:
    dtype = entry["dtype"]
    if dtype not in ITEM_SIZES:
        raise ValueError(f"'{name}' has the type {dtype}, which is not supported")
    shape = tuple(int(size) for size in entry["shape"])
    first, last = entry["data_offsets"]
    if any(size < 0 for size in shape) or prod(shape) * ITEM_SIZES[dtype] != last - first:
        raise ValueError(f"'{name}' takes other bytes than its shape")
    return Place(dtype, shape, start + first, start + last)
