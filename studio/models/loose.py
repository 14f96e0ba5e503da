"""Layers without a network: what a file of weights tells of them by names and shapes alone.

A weight of two dimensions is taken for that of a linear layer, or of an embedding where its name says so; one of three
to five for a convolution's, of as many groups as it has outputs where it sees a single input channel, and for that of
a transposed one where its bias tells. Others, such as those of norms, belong to no layer.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, fx, nn

from studio.errors import ModelFileError
from studio.models.layer import ABILITIES, OK, Layer, ModelInfo
from studio.models.layers import KINDS, verdicts
from studio.models.mapped import DTYPE_NAMES
from studio.models.model import Model, WeightFile, weight_matrix
from studio.models.tree import ModuleTree

#: Why there is so much that cannot be done with such a file.
WEIGHTS_ALONE = "the file holds weights alone: choose its network"

_WEIGHT = ".weight"
_STATISTICS = ("running_mean", "running_var")
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_EMBEDDING = re.compile(r"emb|(^|[._])w[tp]e([._]|$)|position|token_type", re.IGNORECASE)


def weights_alone(
    path: Path, format_: str, files: Iterable[Path], tensors: Mapping[str, Tensor], reason: str = WEIGHTS_ALONE
) -> Model:
    """A model of layers that nothing connects.

    Args:
        path: the file that was opened.
        format_: ``safetensors`` or ``state_dict``.
        files: where the tensors are.
        tensors: all of the file, by name.
        reason: why nothing connects them, in words.

    Raises:
        ModelFileError: none of them is the weight of a layer.
    """
    graph, file = _beside_each_other(tensors)
    layers = tuple(_layer(name, graph.get_submodule(name), reason) for name in file.names)
    if not layers:
        raise ModelFileError("it holds no weight of a layer.")
    states = [one.stat() for one in files]
    floats = [t for n, t in tensors.items() if t.is_floating_point() and not n.endswith(_STATISTICS)]
    once = {(tensor.data_ptr(), tensor.shape, tensor.stride()): tensor.numel() for tensor in floats}
    info = ModelInfo(
        path=str(path),
        format=format_,
        fingerprint=_fingerprint(tensors, [(state.st_size, state.st_mtime_ns) for state in states]),
        inputs=(),
        outputs=(),
        layers=layers,
        parameters=sum(once.values()),
        bytes=sum(state.st_size for state in states),
        macs=0,
        lacks=dict.fromkeys(ABILITIES, reason),
    )
    return Model(graph, info, weights=file)


def _fingerprint(tensors: Mapping[str, Tensor], states: list[tuple[int, int]]) -> str:
    """Of the file's list of tensors, its size and time: the weights themselves may be more than memory holds."""
    listed = [(name, str(tensor.dtype), tuple(tensor.shape)) for name, tensor in tensors.items()]
    return hashlib.sha256(repr((listed, states)).encode()).hexdigest()


def _beside_each_other(tensors: Mapping[str, Tensor]) -> tuple[fx.GraphModule, WeightFile]:
    """A graph of all layers on one input, which is never run, and which tensors they have."""
    tree, graph, names = ModuleTree(), fx.Graph(), dict[str, tuple[str, str | None]]()
    x = graph.placeholder("x")
    calls = []
    for found in _found(tensors):
        path = tree.place(found.path, found.module(tensors))
        names[path] = (found.weight, found.bias)
        calls.append(graph.call_module(path, (x,)))
    graph.output(tuple(calls))
    return fx.GraphModule(tree.root, graph).eval(), WeightFile(tensors, names)


@dataclass(frozen=True)
class _Found:
    """A layer's place, its kind, and the names of its tensors."""

    path: str
    kind: type[nn.Module]
    weight: str
    bias: str | None

    def module(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The layer with the tensors of the file themselves."""
        weight = tensors[self.weight]
        module = _empty(self.kind, weight, self.bias is not None)
        module.weight = nn.Parameter(weight, requires_grad=False)
        if self.bias is not None:
            module.bias = nn.Parameter(tensors[self.bias], requires_grad=False)
        return module


def _found(tensors: Mapping[str, Tensor]) -> Iterator[_Found]:
    for name, tensor in tensors.items():
        if tensor.dtype not in _FLOATS or not tensor.numel() or not 2 <= tensor.dim() <= 5:
            continue
        if name.endswith(_WEIGHT):
            path, bias = name.removesuffix(_WEIGHT), name.removesuffix(_WEIGHT) + ".bias"
        elif tensor.dim() == 2:
            path, bias = name, re.sub("weight$", "bias", name)
        else:
            continue
        kind, given = _kind(path, tensor), tensors.get(bias) if bias != name else None
        if given is not None and given.dim() == 1 and kind in _TURNED and len(given) == tensor.shape[1] != len(tensor):
            kind = _TURNED[kind]
        elif given is None or tuple(given.shape) != (len(tensor),) or kind is nn.Embedding:
            given = None
        yield _Found(path, kind, name, bias if given is not None else None)


_CONV: tuple[type[nn.Module], ...] = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TURNED = dict(zip(_CONV, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), strict=True))


def _kind(path: str, weight: Tensor) -> type[nn.Module]:
    if weight.dim() > 2:
        return _CONV[weight.dim() - 3]
    return nn.Embedding if _EMBEDDING.search(path) else nn.Linear


def _empty(kind: type[nn.Module], weight: Tensor, bias: bool) -> nn.Module:
    """A layer of the weight's sizes without values."""
    first, second, *kernel = weight.shape
    with torch.device("meta"):
        if kind is nn.Embedding:
            return nn.Embedding(first, second)
        if kind is nn.Linear:
            return nn.Linear(second, first, bias)
        if kind in _CONV:
            groups = first if second == 1 else 1
            return kind(second * groups, first, tuple(kernel), groups=groups, bias=bias)
        return kind(first, second, tuple(kernel), bias=bias)


def _layer(name: str, module: nn.Module, why: str) -> Layer:
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    kind, groups = KINDS[type(module)], int(getattr(module, "groups", 1))
    shape = tuple(weight.shape)
    if kind.startswith("conv_transpose"):
        shape = (weight_matrix(module).shape[0], weight.shape[0] // groups, *weight.shape[2:])
    methods = verdicts(kind, shape, groups)
    methods |= {"channels": why, "activations": why}
    layer = Layer(
        name=name,
        kind=kind,
        shape=shape,
        groups=groups,
        has_bias=bias is not None,
        parameters=weight.numel() + (bias.numel() if bias is not None else 0),
        bytes=weight.nbytes + (bias.nbytes if bias is not None else 0),
        macs=0,
        methods=methods,
        dtype=DTYPE_NAMES[weight.dtype],
    )
    single = groups > 1 and methods["rank"] != OK
    reason = "sees a single input channel, as depthwise convolutions do: nothing to factor"
    return replace(layer, methods={**methods, "rank": reason}) if single else layer
