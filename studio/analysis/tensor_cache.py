"""Named tensors remembered on disk: one safetensors file each, checked by a hash, the ones not used for longest go."""

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from studio.files import write_atomically

#: Bytes that all files of a folder together may take; the ones not used for longest go first.
LARGEST = 2 * 2**30


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, int]] | None:
    """What a file holds, tensors by name and numbers by name, None unless it is whole."""
    with contextlib.suppress(OSError, SafetensorError, ValueError, KeyError, TypeError):
        with safe_open(path, "pt") as file:
            header = json.loads(file.metadata()["studio"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator of its own)
        if header.pop("sha256") == _content(tensors):
            path.touch()  # the time it was last used
            return tensors, {str(key): int(value) for key, value in header.items()}
    return None


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], numbers: Mapping[str, int], largest: int = LARGEST
) -> None:
    """Writes a file and makes room for it; one that fills more than half of the room is not worth the others.

    A folder that cannot be written to only costs the time to make the tensors again.

    Args:
        path: the file.
        tensors: by name.
        numbers: what else is to be kept, by name.
        largest: bytes that the folder's files may take together.
    """
    size = sum(tensor.nbytes for tensor in tensors.values())
    if size > largest // 2:
        return
    with contextlib.suppress(OSError, SafetensorError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _make_room(path.parent, largest - size)
        header = {"studio": json.dumps({**numbers, "sha256": _content(tensors)})}
        whole = {name: tensor.contiguous() for name, tensor in tensors.items()}
        write_atomically(path, lambda temporary: save_file(whole, temporary, header))


def _make_room(folder: Path, largest: int) -> None:
    """Removes the files not used for longest until the others take at most `largest` bytes."""
    files = []
    for path in folder.glob("*.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # another process makes room too
            state = path.stat()
            files.append((state.st_mtime_ns, state.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= largest:
            break
        path.unlink(missing_ok=True)
        total -= size


def _content(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes and values."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().data)
    return digest.hexdigest()
