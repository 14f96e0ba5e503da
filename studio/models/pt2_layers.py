"""ATen calls that are layers, and how to build the `torch.nn` module that each of them was."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

_aten = torch.ops.aten

#: A module without its weights, what goes into it, and the names of the weights it takes.
Built = tuple[nn.Module, fx.Node, list[str]]
Builder = Callable[[Mapping[str, Any]], Built | None]

_CONV: dict[int, Callable[..., nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., nn.Module]] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORM = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}


#: What arguments are called in the layer that takes them, where the two differ.
ATTRIBUTES = {"mat2": "weight", "self": "bias"}

#: Arguments that the layer holds transposed.
TRANSPOSED = ("mat2",)


def arguments(node: fx.Node) -> dict[str, Any]:
    """The arguments of an ATen call by the names of its schema, defaults filled in."""
    schema: Any = getattr(node.target, "_schema").arguments  # noqa: B009 (typed only on operator overloads)
    defaults = {argument.name: argument.default_value for argument in schema if argument.has_default_value()}
    return {**defaults, **dict(zip((argument.name for argument in schema), node.args, strict=False)), **node.kwargs}


def linear(a: Mapping[str, Any]) -> Built | None:
    """``x Wᵀ + b``."""
    weight = a["weight"]
    if not _constant(weight, a["bias"]) or weight.dim() != 2:
        return None
    return nn.Linear(weight.shape[1], weight.shape[0], a["bias"] is not None), a["input"], _present(a, "weight", "bias")


def product(a: Mapping[str, Any]) -> Built | None:
    """``b + x W`` with a weight ``[in, out]``: how GPT-2 writes its linear layers."""
    weight, bias = a["mat2"], a["self"]
    plain = a["beta"] == a["alpha"] == 1 and isinstance(weight, torch.Tensor) and isinstance(bias, torch.Tensor)
    if not plain or weight.dim() != 2 or bias.shape != weight.shape[1:]:
        return None
    return nn.Linear(*weight.shape), a["mat1"], ["mat2", "self"]


def convolution(a: Mapping[str, Any]) -> Built | None:
    """A convolution, or a transposed one; `padding` may be a word."""
    weight = a["weight"]
    if not _constant(weight, a["bias"]) or not 3 <= weight.dim() <= 5:
        return None
    n, groups, bias = weight.dim() - 2, a["groups"], a["bias"] is not None
    padding = a["padding"] if isinstance(a["padding"], str) else _each(a["padding"], n)
    stride, dilation, kernel = _each(a["stride"], n), _each(a["dilation"], n), tuple(weight.shape[2:])
    module: nn.Module
    if a.get("transposed", "output_padding" in a):
        outputs, output_padding = weight.shape[1] * groups, _each(a["output_padding"], n)
        module = _CONV_TRANSPOSE[n](
            weight.shape[0], outputs, kernel, stride, padding, output_padding, groups, bias, dilation
        )
    else:
        inputs = weight.shape[1] * groups
        module = _CONV[n](inputs, weight.shape[0], kernel, stride, padding, dilation, groups, bias)
    return module, a["input"], _present(a, "weight", "bias")


def batch_norm(a: Mapping[str, Any]) -> Built | None:
    """Normalises by the running statistics, which must be part of the file."""
    mean, value = a["running_mean"], a["input"].meta.get("val")
    if not _constant(mean, a["running_var"], a["weight"], a["bias"]) or mean is None or value is None:
        return None
    kind = _BATCH_NORM[value.dim()]
    module = kind(mean.shape[0], a["eps"], a["momentum"], affine=a["weight"] is not None)
    module.num_batches_tracked = torch.tensor(0, device="cpu")
    return module, a["input"], _present(a, "weight", "bias", "running_mean", "running_var")


def layer_norm(a: Mapping[str, Any]) -> Built | None:
    """Normalises over the last dimensions."""
    if not isinstance(a["weight"], torch.Tensor) or not _constant(a["bias"]):
        return None
    module = nn.LayerNorm(list(a["normalized_shape"]), a["eps"], bias=a["bias"] is not None)
    return module, a["input"], _present(a, "weight", "bias")


def embedding(a: Mapping[str, Any]) -> Built | None:
    """Rows of a table."""
    weight = a["weight"]
    if not isinstance(weight, torch.Tensor):
        return None
    return nn.Embedding(weight.shape[0], weight.shape[1]), a["indices"], ["weight"]


BUILDERS: Mapping[Any, Builder] = {
    _aten.linear.default: linear,
    _aten.addmm.default: product,
    _aten.conv1d.default: convolution,
    _aten.conv2d.default: convolution,
    _aten.conv3d.default: convolution,
    _aten.conv1d.padding: convolution,
    _aten.conv2d.padding: convolution,
    _aten.conv3d.padding: convolution,
    _aten.convolution.default: convolution,
    _aten.conv_transpose1d.default: convolution,
    _aten.conv_transpose2d.input: convolution,
    _aten.conv_transpose3d.input: convolution,
    _aten.batch_norm.default: batch_norm,
    _aten.layer_norm.default: layer_norm,
    _aten.embedding.default: embedding,
}


def _constant(*values: Any) -> bool:
    """Whether all values are weights of the file, or left out."""
    return all(value is None or isinstance(value, torch.Tensor) for value in values)


def _present(a: Mapping[str, Any], *names: str) -> list[str]:
    return [name for name in names if a[name] is not None]


def _each(value: Any, count: int) -> tuple[int, ...]:
    """A setting for each dimension; one value, alone or in a list, stands for all."""
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return values * count if len(values) == 1 else values
