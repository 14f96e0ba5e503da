"""Listing a safetensors file, or several with their index, by the headers alone: at once, and without torch.

Gives what `studio.models.open.open_model` would, so that a large file need not be mapped to be looked at.
"""

from pathlib import Path

from studio.errors import ModelFileError
from studio.models.layer import ModelInfo
from studio.models.listing import WEIGHTS_ALONE, Stored, find_layers, info_of, is_parameter, listed
from studio.models.safetensors_header import Place, read_header
from studio.models.shards import format_of, is_checkpoint, shards_of, without_prefix
from studio.recipe.packed import METADATA

#: What `torch.nn.Module` calls its own, which no layer can be called: all of ``dir`` that does not begin with ``_``.
_RESERVED = frozenset({
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "compile", "cpu",
    "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer", "get_extra_state",
    "get_parameter", "get_submodule", "half", "ipu", "load_state_dict", "modules", "mtia", "named_buffers",
    "named_children", "named_modules", "named_parameters", "parameters", "register_backward_hook",
    "register_buffer", "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook",
    "register_full_backward_pre_hook", "register_load_state_dict_post_hook", "register_load_state_dict_pre_hook",
    "register_module", "register_parameter", "register_state_dict_post_hook", "register_state_dict_pre_hook",
    "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "state_dict", "to", "to_empty", "train",
    "training", "type", "xpu", "zero_grad",
})  # fmt: skip


def quick_info(path: Path) -> ModelInfo | None:
    """What is known of a file of weights.

    Returns:
        None where headers do not tell: other formats, weights that the studio has packed, and layers whose names
        are changed when they are opened.

    Raises:
        ModelFileError: the file is damaged, or holds no layer.
    """
    if not is_checkpoint(path) or format_of(path) != "safetensors" or not path.is_file():
        return None
    try:
        return _listed(path)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    except OSError as error:
        raise ModelFileError(f"{path.name} cannot be read: {error.strerror}.") from error


def _listed(path: Path) -> ModelInfo | None:
    files, places = shards_of(path), dict[str, Place]()
    for file in files:
        header = read_header(file)
        if METADATA in header.metadata:
            return None
        places |= header.places
    if not places:
        raise ModelFileError("it holds no weights.")
    tensors = {name: _stored(place) for name, place in without_prefix(places).items()}
    found = list(find_layers(tensors))
    if not _keep_their_names([one.path for one in found]):
        return None
    layers = tuple(listed(one.path, one, tensors, WEIGHTS_ALONE) for one in found)
    counted = sum(tensor.values for name, tensor in tensors.items() if is_parameter(name, tensor))
    return info_of(path, format_of(path), files, tensors, layers, counted)


def _stored(place: Place) -> Stored:
    return Stored(place.dtype, place.shape, place.last - place.first, "F" in place.dtype)


def _keep_their_names(paths: list[str]) -> bool:
    """Whether layers can hang at these paths of a tree of modules just as they are; see `studio.models.tree`."""
    parts = {part for path in paths for part in path.split(".")}
    if not all(part.isidentifier() or part.isdigit() for part in parts) or any(part.startswith("_") for part in parts):
        return False
    above = {path[:place] for path in paths for place, character in enumerate(path) if character == "."}
    return not parts & _RESERVED and len(set(paths)) == len(paths) and not above & set(paths)
