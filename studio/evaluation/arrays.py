"""Reading stored arrays as data: nothing in a file is ever run, and sizes are checked before memory is taken."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from safetensors import SafetensorError, safe_open

from studio.errors import DataError, did_you_mean

Array = np.ndarray[Any, np.dtype[Any]]

#: Which samples, in which order.
Indices = Sequence[int] | Array

#: A compressed archive states its sizes itself and a few kB can state anything: larger arrays must be stored as .npy.
LARGEST_UNPACKED = 8 << 30

#: What a damaged file raises while NumPy reads it.
_DAMAGED = (ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError)


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
        raise DataError(f"{path}: cannot read '{path.suffix}' files; give {', '.join(readers)}.")
    try:
        return read(path, names)
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
    with archive.open(member) as stream:
        version = npy.read_magic(stream)
        header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = header(stream)
        start = stream.tell()
    size = int(dtype.itemsize) * int(np.prod(shape, dtype=object))
    if start + size != member.file_size:
        raise ValueError("the header and the stored size disagree")
    if size > LARGEST_UNPACKED:
        raise DataError(f"{path}: {member.filename} unpacks to {size:,} bytes; store it as .npy instead.")
    with archive.open(member) as stream:
        return np.asarray(npy.read_array(stream, allow_pickle=False))


def _read_safetensors(path: Path, names: Sequence[str]) -> list[Array]:
    with safe_open(path, framework="numpy") as file:
        _require(path, names, file.keys())
        return [file.get_tensor(name) for name in names]


def _require(path: Path, names: Sequence[str], held: Any) -> None:
    for name in names:
        if name not in held:
            raise DataError(f"{path}: has no array '{name}'; it has {', '.join(held)}.{did_you_mean(name, held)}")
