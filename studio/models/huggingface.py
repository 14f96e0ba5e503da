"""Hugging Face folders: ``config.json`` and safetensors, built by the library `transformers` where it is installed.

The folder is data: architectures come from the library, never from files of the folder (no ``trust_remote_code``), and
weights from safetensors alone. The network is exported once and lifted like a ``.pt2`` archive.
"""

import hashlib
import json
import logging
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx

from studio.errors import ModelFileError, first_line
from studio.models.layer import TensorSpec
from studio.models.pt2_file import lift, specs

_CONFIG = "config.json"

#: A configuration is a page of names and numbers; a larger file is none.
_MAX_CONFIG_BYTES = 2**22

_EXTRA = "opening a Hugging Face folder needs the library transformers: pip install 'compression-studio[transformers]'"

#: Samples and positions of the example that is exported; both are free, so that neither may be 1.
_BATCH, _LENGTH = 2, 8


def is_folder(path: Path) -> bool:
    """Whether a folder holds a model's configuration."""
    return path.is_dir() and (path / _CONFIG).is_file()


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a folder.

    Raises:
        ModelFileError: there are none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise ModelFileError("the folder holds no weights in safetensors; other forms are not read.")
    return files


def fingerprint_of(folder: Path) -> "hashlib._Hash":
    """SHA-256 of configuration and weights."""
    found = hashlib.sha256()
    for file in (folder / _CONFIG, *weight_files(folder)):
        with file.open("rb") as stream:
            found.update(hashlib.file_digest(stream, "sha256").digest())
    return found


def import_folder(folder: Path) -> tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Builds, exports and lifts the network of a folder.

    Returns:
        The graph in eval mode, its inputs and its outputs.

    Raises:
        ModelFileError: the folder is damaged, or its network is of no kind that can be opened.
    """
    name = _architecture(folder)
    weight_files(folder)
    try:
        transformers: Any = import_module("transformers")
    except ImportError as error:
        raise ModelFileError(_EXTRA) from error
    if not hasattr(transformers, name):
        raise ModelFileError(f"the architecture {name} is not part of the installed transformers.")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = getattr(transformers, name).from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                attn_implementation="eager",
            )
            return _lifted(model.eval())
    except ModelFileError:
        raise
    except Exception as error:  # the library answers a damaged folder with whatever its parts raise
        raise ModelFileError(f"{name} cannot be opened: {first_line(error)[:200]}") from error


def _architecture(folder: Path) -> str:
    """The class that the configuration names.

    Raises:
        ModelFileError: it names none.
    """
    try:
        file = folder / _CONFIG
        if file.stat().st_size > _MAX_CONFIG_BYTES:
            raise ModelFileError("config.json is too large for a configuration.")
        names = json.loads(file.read_bytes()).get("architectures") or [""]
        name = str(names[0])
    except (ValueError, AttributeError, KeyError, TypeError, IndexError, RecursionError, OSError) as error:
        raise ModelFileError("config.json is damaged.") from error
    if not name.isidentifier():
        raise ModelFileError("config.json names no architecture.")
    return name


@torch.no_grad()
def _lifted(model: Any) -> tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    if hasattr(model.config, "use_cache"):
        model.config.use_cache = False
    given, free = _inputs(model)
    program = torch.export.export(model, (), given, dynamic_shapes=free, strict=False)
    return (
        lift(program),
        specs(program, program.graph_signature.input_specs, "USER_INPUT"),
        specs(program, program.graph_signature.output_specs, "USER_OUTPUT"),
    )


def _inputs(model: Any) -> tuple[dict[str, Tensor], dict[str, dict[int, Any]]]:
    """Example inputs by name, and which of their dimensions are free.

    Raises:
        ModelFileError: the network takes neither images nor tokens.
    """
    config, batch = model.config, torch.export.Dim("batch")
    if model.main_input_name == "pixel_values":
        size = getattr(config, "image_size", 224)
        height, width = (size, size) if isinstance(size, int) else size
        return {"pixel_values": torch.randn(_BATCH, config.num_channels, height, width)}, {"pixel_values": {0: batch}}
    if model.main_input_name != "input_ids":
        raise ModelFileError(f"it takes {model.main_input_name}; only images and tokens are supported.")
    longest = getattr(config, "max_position_embeddings", None)
    length = torch.export.Dim("length", max=longest) if longest else torch.export.Dim("length")
    ids = torch.randint(0, config.vocab_size, (_BATCH, _LENGTH), generator=torch.Generator().manual_seed(0))
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    return given, {name: {0: batch, 1: length} for name in given}
