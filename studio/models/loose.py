"""Layers without a network: the modules of what a file of weights tells by names and shapes, see `listing`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from studio.models.layers import KINDS
from studio.models.listing import WEIGHTS_ALONE, Found, Stored, find_layers, info_of, is_parameter, listed
from studio.models.mapped import DTYPE_NAMES
from studio.models.model import Model, WeightFile
from studio.models.tree import ModuleTree

_MODULES = {name: kind for kind, name in KINDS.items()}


def weights_alone(
    path: Path,
    format_: str,
    files: Iterable[Path],
    tensors: Mapping[str, Tensor],
    reason: str = WEIGHTS_ALONE,
    kinds: Mapping[str, tuple[str, int]] | None = None,
) -> Model:
    """A model of layers that nothing connects.

    Args:
        path: the file that was opened.
        format_: ``safetensors`` or ``state_dict``.
        files: where the tensors are.
        tensors: all of the file, by name.
        reason: why nothing connects them, in words.
        kinds: as of `find_layers`.

    Raises:
        ModelFileError: none of them is the weight of a layer.
    """
    stored = {name: _stored(tensor) for name, tensor in tensors.items()}
    tree, graph = ModuleTree(), fx.Graph()
    x = graph.placeholder("x")
    found, calls = dict[str, Found](), []
    for one in find_layers(stored, kinds):
        name = tree.place(one.path, _module(one, tensors))
        found[name] = one
        calls.append(graph.call_module(name, (x,)))
    graph.output(tuple(calls))
    layers = tuple(listed(name, one, stored, reason) for name, one in found.items())
    trained = [tensor for name, tensor in tensors.items() if is_parameter(name, stored[name])]
    once = {(tensor.data_ptr(), tensor.shape, tensor.stride()): tensor.numel() for tensor in trained}
    info = info_of(path, format_, files, stored, layers, sum(once.values()), reason)
    file = WeightFile(tensors, {name: (one.weight, one.bias) for name, one in found.items()})
    return Model(fx.GraphModule(tree.root, graph).eval(), info, weights=file)


def _stored(tensor: Tensor) -> Stored:
    dtype = DTYPE_NAMES.get(tensor.dtype, str(tensor.dtype))
    return Stored(dtype, tuple(tensor.shape), tensor.nbytes, tensor.is_floating_point())


def _module(found: Found, tensors: Mapping[str, Tensor]) -> nn.Module:
    """A layer with the tensors of the file themselves."""
    weight = tensors[found.weight]
    module = _empty(found, tuple(weight.shape))
    module.weight = nn.Parameter(weight, requires_grad=False)
    if found.bias is not None:
        module.bias = nn.Parameter(tensors[found.bias], requires_grad=False)
    return module


def _empty(found: Found, shape: tuple[int, ...]) -> nn.Module:
    """A layer of the weight's sizes without values."""
    first, second, *kernel = shape
    kind, bias = _MODULES[found.kind], found.bias is not None
    with torch.device("meta"):
        if kind is nn.Embedding:
            return nn.Embedding(first, second)
        if kind is nn.Linear:
            return nn.Linear(second, first, bias)
        if found.kind.startswith("conv_transpose"):
            return kind(first, second * found.groups, tuple(kernel), groups=found.groups, bias=bias)
        return kind(second * found.groups, first, tuple(kernel), groups=found.groups, bias=bias)
