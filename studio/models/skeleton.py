"""A skeleton: the network of one file takes the weights of another, by name."""

import re
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, fx, nn

from studio.errors import ModelFileError
from studio.models.fold import folded

#: Names that a message lists before it counts the rest.
_SHOWN = 3

#: Epsilon of a BatchNorm that only a checkpoint tells of: the default of `torch.nn.BatchNorm2d`.
_EPSILON = 1e-5

_STATISTICS = ("running_mean", "running_var")


def fill(graph: fx.GraphModule, state: dict[str, Tensor]) -> None:
    """Gives every parameter and statistic of `graph` its value from `state`.

    Where the skeleton's BatchNorms were folded into its layers before it was exported, those of the checkpoint are
    folded too, each into the layer that its name tells: ``conv1`` and ``bn1``, ``conv`` and ``norm``, ``0`` and ``1``.

    Args:
        graph: the skeleton before its own BatchNorms are folded; changed in place.
        state: weights by name, of any floating type.

    Raises:
        ModelFileError: a weight is missing, left over, of another shape or not floating.
    """
    state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    state = _folded_like(graph, state)
    owners: dict[int, list[str]] = defaultdict(list)
    tensors = _tensors(graph)
    for name, tensor in tensors.items():
        owners[id(tensor)].append(name)
    needed = [name for name, tensor in tensors.items() if not any(tied in state for tied in owners[id(tensor)])]
    _refuse("is missing", "are missing", needed)
    _refuse("is not part of the skeleton", "are not part of the skeleton", _unexpected(graph, state, tensors))
    given = {name: tensor for name, tensor in tensors.items() if name in state}
    for name, tensor in given.items():
        if state[name].shape != tensor.shape:
            raise ModelFileError(f"'{name}' has the shape {_shape(state[name])}, the skeleton's has {_shape(tensor)}.")
        if not state[name].is_floating_point():
            raise ModelFileError(f"'{name}' holds integers, the skeleton's holds floats.")
    with torch.no_grad():
        for name, tensor in given.items():
            tensor.copy_(state[name])


def _tensors(graph: fx.GraphModule) -> dict[str, Tensor]:
    """What a checkpoint must tell: parameters, and the running statistics of norms."""
    tensors: dict[str, Tensor] = dict(graph.named_parameters(remove_duplicate=False))
    for name, buffer in graph.named_buffers():
        if name.rpartition(".")[2] in _STATISTICS:
            tensors[name] = buffer
    return tensors


def _unexpected(graph: fx.GraphModule, state: dict[str, Tensor], tensors: dict[str, Tensor]) -> list[str]:
    """Floating values that the skeleton has no place for; masks and positions come with the graph itself."""
    known = tensors.keys() | dict(graph.named_buffers()).keys()
    return [name for name, value in state.items() if name not in known and value.is_floating_point()]


def _folded_like(graph: fx.GraphModule, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`state` with those norms folded that the skeleton does not have any more."""
    state, modules = dict(state), dict(graph.named_modules())
    norms = [name.removesuffix(".running_var") for name in state if name.endswith(".running_var")]
    for norm in sorted(set(norms) - modules.keys()):
        layer = _layer_before(norm, modules, state)
        if layer is None:
            raise ModelFileError(f"the norm '{norm}' is not part of the skeleton, and no layer before it is known.")
        values = {key: state.pop(f"{norm}.{key}", None) for key in ("weight", "bias", *_STATISTICS)}
        weight, bias = state[f"{layer}.weight"], state.get(f"{layer}.bias")
        mean, variance = values["running_mean"], values["running_var"]
        if mean is None or variance is None or any(v is not None and len(v) != len(weight) for v in values.values()):
            raise ModelFileError(f"the norm '{norm}' does not fit the layer '{layer}' before it.")
        state[f"{layer}.weight"], state[f"{layer}.bias"] = folded(
            weight, bias, mean, variance, values["weight"], values["bias"], _EPSILON
        )
        if (
            modules[layer].bias is None
        ):  # folding gave zeros, as of an untrained network, and the exporter left them out
            modules[layer].bias = nn.Parameter(torch.zeros(len(weight)))
    return state


def _layer_before(norm: str, modules: dict[str, nn.Module], state: dict[str, Tensor]) -> str | None:
    """The only layer whose name and width tell that `norm` stood behind it."""
    width = state[f"{norm}.running_var"].numel()
    found = []
    for name in _names_before(norm):
        module = modules.get(name)
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)) and f"{name}.weight" in state:
            found += [name] if len(module.weight) == width else []
    return found[0] if len(found) == 1 else None


def _names_before(norm: str) -> Iterable[str]:
    """Names that a layer before a norm of this name has in common networks."""
    parent, dot, own = norm.rpartition(".")
    if own.isdigit():
        return (f"{parent}{dot}{int(own) - 1}",)
    replaced = [
        re.sub(r"(bn|batch_?norm|norm)", word, own, count=1) for word in ("conv", "conv_", "stem", "fc", "linear")
    ]
    return dict.fromkeys(f"{parent}{dot}{name}" for name in replaced if name != own)


def _refuse(one: str, several: str, names: list[str]) -> None:
    """Raises where there are `names`, listing the first of them."""
    if not names:
        return
    listed = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    rest = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    raise ModelFileError(f"{listed}{rest} {one if len(names) == 1 else several}.")


def _shape(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "a single number"
