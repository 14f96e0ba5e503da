"""Reading checkpoints: files that hold weights by name and no network.

Nothing in them is executed: safetensors is plain data, and pickles are read by ``torch.load(weights_only=True)``,
which builds tensors and containers only.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.errors import ModelFileError
from studio.models.mapped import mapped_tensors
from studio.models.packed import unpacked
from studio.models.shards import INDEX, shards_of, without_prefix

#: Keys under which training scripts put the weights, among the optimizer's state and the like.
_WRAPPERS = ("state_dict", "model_state_dict", "model")


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers; mapped, not loaded, where the format allows.

    Args:
        path: ``.safetensors``, ``.safetensors.index.json`` with its shards beside it, or ``.pt``, ``.pth``, ``.th`` and
            ``.bin`` as `torch.save` writes a state dict.

    Raises:
        ModelFileError: the file is damaged, holds anything but tensors, or names a shard that is not beside it.
    """
    if path.name.endswith(INDEX):
        found = _read_shards(path)
    elif path.suffix.lower() == ".safetensors":
        found = _read_safetensors(path)
    else:
        found = _unwrapped(_read_pickle(path))
    if not found:
        raise ModelFileError("it holds no weights.")
    return without_prefix(found)


def _read_shards(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for shard in shards_of(path):
        state |= _read_safetensors(shard)
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    return unpacked(*mapped_tensors(path))


def _read_pickle(path: Path) -> Any:
    """What `torch.save` wrote, refused where it holds more than tensors and containers."""
    is_archive = _check_archive(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive)
    except Exception as error:  # the loader answers a damaged file with whatever its parts raise
        raise ModelFileError(
            "it is damaged or holds more than weights; from a file that you trust, save the `state_dict()` alone."
        ) from error


def _check_archive(path: Path) -> bool:
    """Refuses TorchScript programs and archives that unpack to more than the file holds, before any is read.

    Returns:
        Whether it is an archive, as newer files are.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return False  # the older form is none; a damaged one is named by the loader
    if any("/code/" in entry.filename for entry in entries):
        raise ModelFileError("it is a TorchScript program, which opening could run; save the `state_dict()` instead.")
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelFileError("it declares more bytes than it has.")
    return True


def _unwrapped(found: Any) -> dict[str, Tensor]:
    """The mapping of names to tensors inside `found`; what stands beside them, such as an epoch, is left out."""
    while isinstance(found, Mapping):
        wrapper = next((key for key in _WRAPPERS if isinstance(found.get(key), Mapping)), None)
        if wrapper is None:
            return {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        found = found[wrapper]
    raise ModelFileError("it holds no weights by name; save the `state_dict()` of the model.")
