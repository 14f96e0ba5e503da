"""Which files hold the weights of a checkpoint, told by names and by the index of several; free of torch."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from studio.errors import ModelFileError

Held = TypeVar("Held")

#: Ending of an index that names the files of weights beside it.
INDEX = ".safetensors.index.json"
PICKLES = (".pt", ".pth", ".th", ".bin")

#: What `torch.nn.DataParallel` and `torch.compile` put before every name.
_PREFIXES = ("module.", "_orig_mod.")

#: An index is a list of names; a larger one is none.
_MAX_INDEX_BYTES = 2**26


def is_checkpoint(path: Path) -> bool:
    """Whether the file's name says that it holds weights alone."""
    return path.suffix.lower() in (".safetensors", *PICKLES) or path.name.endswith(INDEX)


def format_of(path: Path) -> str:
    """The format's name: ``safetensors`` or ``state_dict``."""
    return "safetensors" if path.suffix.lower() == ".safetensors" or path.name.endswith(INDEX) else "state_dict"


def shards_of(path: Path) -> list[Path]:
    """The files that hold the weights: the checkpoint itself, or the shards that its index names.

    Raises:
        ModelFileError: the index is damaged, or names a file that is not beside it.
    """
    if not path.name.endswith(INDEX):
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


def without_prefix(state: Mapping[str, Held]) -> dict[str, Held]:
    """What stands behind each name, without what wrappers of a model put before all of them."""
    state = dict(state)
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state
