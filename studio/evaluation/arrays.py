"""Reading stored arrays as data: nothing in a file is ever run, and sizes are checked before memory is taken."""

import json
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tokenize import TokenError
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open

from studio.errors import DataError, did_you_mean
from studio.machine import machine_memory

Array = np.ndarray[Any, np.dtype[Any]]

#: Which samples, in which order.
Indices = Sequence[int] | Array

#: A compressed archive states its sizes itself and a few kB can state anything: larger arrays must be stored as .npy.
LARGEST_UNPACKED = 8 << 30

#: Endings that other modules read, for the list of what can be read.
OTHERS = (".csv", ".tsv", ".parquet", ".txt", "a folder of images")

#: … and no more than this share of the machine's memory.
MEMORY_SHARE = 0.5


class Rows(Protocol):
    """Samples of one kind by index: an array, or what is read only where it is indexed."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples first."""
        ...

    @property
    def ndim(self) -> int:
        """Length of the shape."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the values."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> Any: ...


Read = TypeVar("Read")

_SAFETENSORS_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip

#: What a damaged file raises while NumPy reads it.
_DAMAGED = (
    ValueError, KeyError, EOFError, NotImplementedError, RuntimeError, SyntaxError, TokenError,
    zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error,
)  # fmt: skip


def read_arrays(path: Path, names: Sequence[str]) -> list[Array]:
    """The arrays called `names`, memory-mapped where the format allows.

    Args:
        path: ``.npz``, ``.npy`` (one array, whatever the name) or ``.safetensors``.
        names: arrays to read.

    Raises:
        DataError: the file is missing, damaged or of another kind, lacks an array, or holds Python objects.
    """
    readers: dict[str, Callable[[Path, Sequence[str]], list[Array]]] = {
        ".npz": _read_npz,
        ".npy": _read_npy,
        ".safetensors": _read_safetensors,
    }
    read = readers.get(path.suffix.lower())
    if read is None:
        raise DataError(f"{path}: cannot read '{path.suffix}' files; give {', '.join((*readers, *OTHERS))}.")
    return _guarded(path, lambda: read(path, names))


def _guarded(path: Path, read: Callable[[], Read]) -> Read:
    """What `read` gives, any damage of the file as a `DataError`."""
    try:
        return read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or 'damaged file'}.") from error
    except (*_DAMAGED, SafetensorError) as error:
        raise DataError(f"{path}: is damaged or holds something other than plain arrays.") from error
    except MemoryError as error:
        raise DataError(f"{path}: does not fit into memory.") from error


def _read_npy(path: Path, names: Sequence[str]) -> list[Array]:
    if len(names) != 1:
        raise DataError(f"{path}: a .npy file holds one array, but {len(names)} are named: {', '.join(names)}.")
    return [np.load(path, mmap_mode="r", allow_pickle=False)]


def _read_npz(path: Path, names: Sequence[str]) -> list[Array]:
    with zipfile.ZipFile(path) as archive:
        members = {name.removesuffix(".npy"): archive.getinfo(name) for name in archive.namelist()}
        _require(path, names, members)
        return [_unpack(path, archive, members[name]) for name in names]


def _unpack(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Array:
    """One array of an archive, whose header must agree with the size that the archive states."""
    shape, dtype, start = _header(archive, member)
    size = int(dtype.itemsize) * int(np.prod(shape, dtype=object))
    if start + size != member.file_size:
        raise ValueError("the header and the stored size disagree")
    if size > min(LARGEST_UNPACKED, MEMORY_SHARE * machine_memory()):
        raise DataError(f"{path}: {member.filename} unpacks to {size:,} bytes; store it as .npy instead.")
    with archive.open(member) as stream:
        return np.asarray(npy.read_array(stream, allow_pickle=False))


def _header(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and dtype of one array of an archive, and where its values begin."""
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        return shape, dtype, stream.tell()


def _read_safetensors(path: Path, names: Sequence[str]) -> list[Array]:
    with safe_open(path, framework="numpy") as file:  # checks that what the header declares lies within the file
        _require(path, names, file.keys())
    with path.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    return [_mapped(path, name, header[name], 8 + length) for name in names]


def _mapped(path: Path, name: str, entry: Mapping[str, Any], start: int) -> Array:
    """One tensor of a safetensors file, mapped."""
    dtype = _SAFETENSORS_DTYPES.get(entry["dtype"])
    if dtype is None:
        raise DataError(f"{path}: '{name}' holds {entry['dtype']} values; store them as 32-bit floats.")
    if 0 in entry["shape"]:
        return np.zeros(entry["shape"], dtype)
    return np.memmap(path, dtype, "r", start + entry["data_offsets"][0], tuple(entry["shape"]))


def array_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of every array of a file by name, by the headers alone; a ``.npy`` file's is called ``x``.

    Raises:
        DataError: as `read_arrays`.
    """
    if path.suffix.lower() == ".npz":
        return _guarded(path, lambda: _npz_shapes(path))
    names = ["x"]
    if path.suffix.lower() == ".safetensors":
        names = _guarded(path, lambda: _safetensors_names(path))
    return {name: (array.shape, array.dtype) for name, array in zip(names, read_arrays(path, names), strict=True)}


def _npz_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    with zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy"): _header(archive, archive.getinfo(name))[:2] for name in archive.namelist()}


def _safetensors_names(path: Path) -> list[str]:
    with safe_open(path, framework="numpy") as file:
        return list(file.keys())


def _require(path: Path, names: Sequence[str], held: Any) -> None:
    for name in names:
        if name not in held:
            raise DataError(f"{path}: has no array '{name}'; it has {', '.join(held)}.{did_you_mean(name, held)}")
