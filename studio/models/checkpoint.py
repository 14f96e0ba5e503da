"""Reading checkpoints: files that hold weights by name and no network.

Nothing in them is executed: safetensors is plain data, and pickles are read by ``torch.load(weights_only=True)``,
which builds tensors and containers only.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from studio.errors import ModelFileError
from studio.models.mapped import mapped_tensors
from studio.models.packed import unpacked

_INDEX = ".safetensors.index.json"
_PICKLES = (".pt", ".pth", ".th", ".bin")

#: Keys under which training scripts put the weights, among the optimizer's state and the like.
_WRAPPERS = ("state_dict", "model_state_dict", "model")

#: What `torch.nn.DataParallel` and `torch.compile` put before every name.
_PREFIXES = ("module.", "_orig_mod.")

#: An index is a list of names; a larger one is none.
_MAX_INDEX_BYTES = 2**26


def is_checkpoint(path: Path) -> bool:
    """Whether the file's name says that it holds weights alone."""
    return path.suffix.lower() in (".safetensors", *_PICKLES) or path.name.endswith(_INDEX)


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, without wrappers; mapped, not loaded, where the format allows.

    Args:
        path: ``.safetensors``, ``.safetensors.index.json`` with its shards beside it, or ``.pt``, ``.pth``, ``.th`` and
            ``.bin`` as `torch.save` writes a state dict.

    Raises:
        ModelFileError: the file is damaged, holds anything but tensors, or names a shard that is not beside it.
    """
    if path.name.endswith(_INDEX):
        found = _read_shards(path)
    elif path.suffix.lower() == ".safetensors":
        found = _read_safetensors(path)
    else:
        found = _unwrapped(_read_pickle(path))
    if not found:
        raise ModelFileError("it holds no weights.")
    return _without_prefix(found)


def format_of(path: Path) -> str:
    """The format's name: ``safetensors`` or ``state_dict``."""
    return "safetensors" if path.suffix.lower() == ".safetensors" or path.name.endswith(_INDEX) else "state_dict"


def shards_of(path: Path) -> list[Path]:
    """The files that hold the weights: the checkpoint itself, or the shards that its index names.

    Raises:
        ModelFileError: the index is damaged, or names a file that is not beside it.
    """
    if not path.name.endswith(_INDEX):
        return [path]
    try:
        if path.stat().st_size > _MAX_INDEX_BYTES:
            raise ModelFileError("it is too large for an index of weights.")
        names = sorted({str(name) for name in json.loads(path.read_bytes())["weight_map"].values()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelFileError("it is not an index of weights: 'weight_map' is missing or damaged.") from error
    for name in names:
        if Path(name).name != name or not (path.parent / name).resolve().is_relative_to(path.parent.resolve()):
            raise ModelFileError(f"its index reaches out of the folder, to '{name}'.")
        if not (path.parent / name).is_file():
            raise ModelFileError(f"the file '{name}' is missing beside it.")
    return [path.parent / name for name in names]


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


def _without_prefix(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
