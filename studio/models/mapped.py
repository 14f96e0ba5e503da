"""Safetensors files as mapped memory: names and shapes are read, weights only when somebody looks at them."""

import mmap
import warnings
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from studio.models.safetensors_header import Place, read_header, refusing_damage

#: Types of the format by their names there.
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


def mapped_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file by name, in the file's order, and its metadata.

    The tensors are views of one mapping: nothing is read before it is looked at, and nothing may be written to them.

    Raises:
        ModelFileError: the file is damaged, or holds a type that torch does not know.
    """
    header = read_header(path)
    with refusing_damage(path), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given buffer is not writable")  # nobody writes to it
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        tensors = {name: _tensor(content, place) for name, place in header.places.items()}
    return tensors, dict(header.metadata)


def _tensor(content: mmap.mmap, place: Place) -> Tensor:
    dtype = DTYPES[place.dtype]
    if place.first == place.last:
        return torch.empty(place.shape, dtype=dtype)
    flat = torch.frombuffer(content, dtype=dtype, count=prod(place.shape), offset=place.first)
    aligned = flat if flat.data_ptr() % dtype.itemsize == 0 else flat.clone()
    return aligned.reshape(place.shape)
