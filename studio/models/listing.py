"""Layers of a file of weights by names, types and shapes alone; free of torch, and no weight is looked at.

A weight of two dimensions is taken for that of a linear layer, or of an embedding where its name says so; one of three
to five for a convolution's, of as many groups as it has outputs where it sees a single input channel, and for that of
a transposed one where its bias tells. Others, such as those of norms, belong to no layer.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from studio.errors import ModelFileError
from studio.models.layer import ABILITIES, OK, Layer, ModelInfo
from studio.models.verdicts import verdicts

#: Why there is so much that cannot be done with such a file.
WEIGHTS_ALONE = "the file holds weights alone: choose its network"

_WEIGHT = ".weight"
_STATISTICS = ("running_mean", "running_var")
_TRAINED = ("F32", "F16", "BF16", "F64")
_EMBEDDING = re.compile(r"emb|(^|[._])w[tp]e([._]|$)|position|token_type", re.IGNORECASE)


@dataclass(frozen=True)
class Stored:
    """One tensor of a file.

    Attributes:
        dtype: as the safetensors format calls it, or as torch does where that has no name for it.
        shape: of the tensor.
        bytes: that it takes.
        floating: whether it holds fractions.
    """

    dtype: str
    shape: tuple[int, ...]
    bytes: int
    floating: bool

    @property
    def values(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


@dataclass(frozen=True)
class Found:
    """A layer by its tensors.

    Attributes:
        path: what the names of its tensors have in common.
        kind: as of `studio.models.layer.Layer`.
        weight, bias: names of its tensors; no bias is None.
        groups: of a convolution, 1 for all others.
    """

    path: str
    kind: str
    weight: str
    bias: str | None
    groups: int = 1


def find_layers(tensors: Mapping[str, Stored], kinds: Mapping[str, tuple[str, int]] | None = None) -> Iterator[Found]:
    """The layers that names and shapes tell of, in the order of the file.

    Args:
        tensors: of the file.
        kinds: the kind of layers and the groups of their convolutions, where more is known than names and shapes.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in _TRAINED or not tensor.values or not 2 <= len(tensor.shape) <= 5:
            continue
        if name.endswith(_WEIGHT):
            path, bias = name.removesuffix(_WEIGHT), name.removesuffix(_WEIGHT) + ".bias"
        elif len(tensor.shape) == 2:
            path, bias = name, re.sub("weight$", "bias", name)
        else:
            continue
        kind, width = _kind(path, tensor.shape), tensor.shape[0]
        shape = tensors[bias].shape if bias != name and bias in tensors else ()
        if kinds is not None and path in kinds:
            kind, groups = kinds[path]
            outputs = tensor.shape[1] * groups if kind.startswith("conv_transpose") else width
            yield Found(path, kind, name, bias if shape == (outputs,) and kind != "embedding" else None, groups)
            continue
        if kind.startswith("conv") and shape == tensor.shape[1:2] and shape != (width,):
            yield Found(path, kind.replace("conv", "conv_transpose"), name, bias)
            continue
        has_bias = shape == (width,) and kind != "embedding"
        groups = width if kind.startswith("conv") and tensor.shape[1] == 1 else 1
        yield Found(path, kind, name, bias if has_bias else None, groups)


def _kind(path: str, shape: tuple[int, ...]) -> str:
    if len(shape) > 2:
        return f"conv{len(shape) - 2}d"
    return "embedding" if _EMBEDDING.search(path) else "linear"


def listed(name: str, found: Found, tensors: Mapping[str, Stored], why: str) -> Layer:
    """The row of one layer.

    Args:
        name: what the layer is called, which is its path unless that is taken.
        found: the layer.
        tensors: of the file.
        why: what needs a network cannot be done, in words.
    """
    weight, bias = tensors[found.weight], tensors[found.bias] if found.bias is not None else None
    shape = weight.shape
    if found.kind.startswith("conv_transpose"):
        shape = (shape[1] * found.groups, shape[0] // found.groups, *shape[2:])
    methods = verdicts(found.kind, shape, found.groups) | {"channels": why, "activations": why}
    if found.groups > 1 and methods["rank"] != OK:
        methods["rank"] = "sees a single input channel, as depthwise convolutions do: nothing to factor"
    return Layer(
        name=name,
        kind=found.kind,
        shape=shape,
        groups=found.groups,
        has_bias=bias is not None,
        parameters=weight.values + (bias.values if bias is not None else 0),
        bytes=weight.bytes + (bias.bytes if bias is not None else 0),
        macs=0,
        methods=methods,
        dtype=weight.dtype,
    )


def is_parameter(name: str, tensor: Stored) -> bool:
    """Whether a tensor is trained, and not only counted along."""
    return tensor.floating and not name.endswith(_STATISTICS)


def info_of(
    path: Path,
    format_: str,
    files: Iterable[Path],
    tensors: Mapping[str, Stored],
    layers: tuple[Layer, ...],
    parameters: int,
    why: str = WEIGHTS_ALONE,
) -> ModelInfo:
    """What is known of a file of weights alone.

    Args:
        path: the file that was opened.
        format_: ``safetensors`` or ``state_dict``.
        files: where the tensors are.
        tensors: all of them.
        layers: see `listed`.
        parameters: how many there are, each once.
        why: what needs a network cannot be done, in words.

    Raises:
        ModelFileError: there is no layer.
    """
    if not layers:
        raise ModelFileError("it holds no weight of a layer.")
    states = [one.stat() for one in files]
    return ModelInfo(
        path=str(path),
        format=format_,
        fingerprint=_fingerprint(tensors, [(state.st_size, state.st_mtime_ns) for state in states]),
        inputs=(),
        outputs=(),
        layers=layers,
        parameters=parameters,
        bytes=sum(state.st_size for state in states),
        macs=0,
        lacks=dict.fromkeys(ABILITIES, why),
    )


def _fingerprint(tensors: Mapping[str, Stored], states: list[tuple[int, int]]) -> str:
    """Of the file's list of tensors, its size and time: the weights themselves may be more than memory holds."""
    named = [(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()]
    return hashlib.sha256(repr((named, states)).encode()).hexdigest()
