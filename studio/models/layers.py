"""The layer table: what layers a graph has, in the order they run, what they cost and what can be done to them."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import fx, nn

from studio.models.channels import Channels, find_channels
from studio.models.convolution import Conv, padding_amounts
from studio.models.layer import OK, Axis, Layer
from studio.models.model import weight_matrix
from studio.models.verdicts import verdicts

KINDS: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
    nn.Linear: "linear",
    nn.Embedding: "embedding",
}
_BYTES = 4  # float32


def layer_table(
    graph: fx.GraphModule, inputs: tuple[torch.Tensor, ...], names: Sequence[str] = ()
) -> tuple[Layer, ...]:
    """Runs the graph once and lists its layers.

    Args:
        graph: the model.
        inputs: samples that fit, the batch first.
        names: of the inputs.

    Returns:
        Every layer that holds weights, in the order of its first call; a layer called twice counts its MACs twice.
    """
    trace = _Trace(graph)
    with torch.no_grad():
        trace.run(*inputs)
    batch, channels = inputs[0].shape[0], find_channels(graph, inputs)
    layers = (
        _layer(name, graph.get_submodule(name), macs // batch, trace.windows[name]) for name, macs in trace.macs.items()
    )
    calls = Counter(str(node.target) for node in graph.graph.nodes if node.op == "call_module")
    reads = _reads(graph, names)
    return tuple(
        replace(_once(_with_channels(layer, channels), calls[layer.name]), reads=reads.get(layer.name, ""))
        for layer in layers
    )


def _reads(graph: fx.GraphModule, names: Sequence[str]) -> dict[str, str]:
    """What modules read by the names that stand in an exported file: of inputs, and of modules that give it."""
    nodes = list(graph.graph.nodes)
    known = dict(zip((node for node in nodes if node.op == "placeholder"), names, strict=False))
    modules = [node for node in nodes if node.op == "call_module"]
    known |= {node: str(node.target) for node in modules}
    return {str(node.target): known[node.args[0]] for node in modules if node.args and node.args[0] in known}


def _once(layer: Layer, calls: int) -> Layer:
    """The layer with the verdict on rounding what it reads and gives."""
    if calls < 2 or not layer.allows("activations"):
        return layer
    reason = "the layer runs more than once, on activations of different ranges"
    return replace(layer, methods={**layer.methods, "activations": reason})


def _with_channels(layer: Layer, channels: Channels) -> Layer:
    """The layer with what it shares with others, and the verdict on removing its outputs."""
    outputs, inputs = channels.shares.get(layer.name, ((), ()))
    reason = "transposed convolution and embedding layers keep their channels"
    if layer.name in channels.outputs:
        reason = channels.reasons.get(layer.name, OK)
    return replace(layer, outputs=outputs, inputs=inputs, methods={**layer.methods, "channels": reason})


@dataclass
class _Trace(fx.Interpreter):
    """Runs a graph and notes, for every layer, the multiply-accumulate operations of the whole batch and its window."""

    graph_module: fx.GraphModule
    macs: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    windows: dict[str, tuple[Axis, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.graph_module)

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        result = super().call_module(target, args, kwargs)
        module = self.graph_module.get_submodule(target)
        if type(module) in KINDS:
            self.macs[target] += _macs(module, args[0], result)
            self.windows[target] = _window(module, args[0], result)
        return result


def _macs(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> int:
    """One multiplication for each weight at each place it is used; a look-up multiplies nothing."""
    weight = module.get_parameter("weight")
    if isinstance(module, nn.Embedding):
        return 0
    if isinstance(module, nn.Linear):
        return y.numel() * module.in_features
    if KINDS[type(module)].startswith("conv_transpose"):
        return x.numel() // weight.shape[0] * weight.numel()
    return y.numel() // weight.shape[0] * weight.numel()


def _window(module: nn.Module, x: torch.Tensor, y: torch.Tensor) -> tuple[Axis, ...]:
    """How a convolution moves; other layers do not."""
    if not isinstance(module, Conv):
        return ()
    before = padding_amounts(module)[-2::-2]
    return tuple(map(Axis, x.shape[2:], y.shape[2:], module.stride, before, module.dilation))


def _layer(name: str, module: nn.Module, macs: int, window: tuple[Axis, ...]) -> Layer:
    weight, bias = module.get_parameter("weight"), getattr(module, "bias", None)
    kind, groups = KINDS[type(module)], int(getattr(module, "groups", 1))
    shape = tuple(weight.shape)
    if kind.startswith("conv_transpose"):
        shape = (weight_matrix(module).shape[0], weight.shape[0] // groups, *weight.shape[2:])
    parameters = weight.numel() + (bias.numel() if bias is not None else 0)
    return Layer(
        name=name,
        kind=kind,
        shape=shape,
        groups=groups,
        has_bias=bias is not None,
        parameters=parameters,
        bytes=_BYTES * parameters,
        macs=macs,
        methods=verdicts(kind, shape, groups),
        window=window,
    )
