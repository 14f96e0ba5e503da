"""Layers and graphs without some of their channels."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from studio.analysis.inputs import HasRows, layer_at
from studio.models.channel_rules import RESHAPING, name_of, padding_of
from studio.models.channels import Channels, Ids


@dataclass(frozen=True)
class Cut:
    """What stays of a layer's weight ``[out, in / groups, *kernel]``.

    Attributes:
        outputs: rows that stay, in ascending order.
        inputs: places along its second dimension that stay.
    """

    outputs: tuple[int, ...]
    inputs: tuple[int, ...]


def cuts_of(graph: fx.GraphModule, channels: Channels, removed: Collection[int]) -> dict[str, Cut]:
    """What stays of every layer that loses a channel.

    Args:
        graph: the original.
        channels: of it.
        removed: ids of the channels that go.
    """
    cuts = dict[str, Cut]()
    for name, ids in channels.outputs.items():
        layer = layer_at(graph, name)
        outputs, inputs = _staying(ids, removed), _staying(channels.inputs[name], removed)
        if getattr(layer, "groups", 1) > 1:  # depthwise: each channel goes with the one input it sees
            inputs = tuple(range(layer.weight.shape[1]))
        if (len(outputs), len(inputs)) != layer.weight.shape[:2]:
            cuts[name] = Cut(outputs, inputs)
    return cuts


def removed_by(cuts: Mapping[str, Cut], channels: Channels) -> set[int]:
    """Ids of the channels that `cuts` take away: the inverse of `cuts_of`."""
    gone = set[int]()
    for name, cut in cuts.items():
        ids = channels.outputs[name]
        gone |= set(ids.tolist()) - {int(ids[i]) for i in cut.outputs}
    return gone


def _staying(ids: Ids, removed: Collection[int]) -> tuple[int, ...]:
    return tuple(np.flatnonzero(~np.isin(ids, list(removed))).tolist())


def cut_weight(weight: Tensor, cut: Cut) -> Tensor:
    """The part of a weight that stays."""
    return weight[list(cut.outputs)][:, list(cut.inputs)]


def widened(weight: Tensor, cut: Cut, shape: tuple[int, ...]) -> Tensor:
    """A weight (or bias ``[out]``) of `shape` with zeros where channels were taken away."""
    full = torch.zeros(shape, dtype=weight.dtype)
    if weight.dim() == 1:
        full[list(cut.outputs)] = weight
    else:
        full[torch.tensor(cut.outputs)[:, None], torch.tensor(cut.inputs)[None]] = weight
    return full


def cut_layer(layer: HasRows, cut: Cut) -> HasRows:
    """A layer of its own with the weights of `layer` that stay."""
    inputs, outputs, bias = len(cut.inputs), len(cut.outputs), layer.bias is not None
    if isinstance(layer, nn.Linear):
        slim: HasRows = nn.Linear(inputs, outputs, bias, device="meta")
    else:
        groups = outputs if layer.groups > 1 else 1
        like: dict[str, Any] = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding", "dilation")}
        slim = type(layer)(groups * inputs, outputs, groups=groups, bias=bias, device="meta", **like)
    slim.weight = nn.Parameter(cut_weight(layer.weight.detach(), cut), requires_grad=False)
    if layer.bias is not None:
        slim.bias = nn.Parameter(layer.bias.detach()[list(cut.outputs)], requires_grad=False)
    return slim.eval()


def new_arguments(channels: Channels, removed: Collection[int]) -> dict[fx.Node, tuple[Any, ...]]:
    """Arguments of the nodes that name a number of channels which is another one now."""
    changed = dict[fx.Node, tuple[Any, ...]]()
    for node in channels.nodes:
        arguments = _arguments(node, channels, removed)
        if arguments != node.args:
            changed[node] = arguments
    return changed


def _arguments(node: fx.Node, channels: Channels, removed: Collection[int]) -> tuple[Any, ...]:
    carried = channels.nodes[node]
    if node.op == "call_module":
        return node.args
    source = channels.nodes.get(node.all_input_nodes[0])
    padding = padding_of(node)
    if padding is not None and source is not None and len(source.ids) != len(carried.ids):
        before, _ = padding.read(node, carried.axis, channels.ranks[node]) or (0, 0)
        added = carried.ids[:before], carried.ids[before + len(source.ids) :]
        counts = (len(_staying(added[0], removed)), len(_staying(added[1], removed)))
        return padding.written(node, carried.axis, channels.ranks[node], counts)
    if name_of(node) in RESHAPING:
        stay = len(_staying(carried.ids, removed))
        return _with_size(node, carried.axis, len(carried.ids), stay) if stay < len(carried.ids) else node.args
    return node.args


def _with_size(node: fx.Node, axis: int, before: int, after: int) -> tuple[Any, ...]:
    """The arguments of a reshaping with the size along `axis` replaced where it is written out."""
    listed = len(node.args) > 1 and isinstance(node.args[1], list | tuple)
    sizes: list[Any] = list(node.args[1]) if listed else list(node.args[1:])  # type: ignore[arg-type]
    if name_of(node) not in ("reshape", "view") or axis >= len(sizes) or sizes[axis] != before:
        return node.args
    sizes[axis] = after
    return (node.args[0], sizes, *node.args[2:]) if listed else (node.args[0], *sizes)


def with_arguments(graph: fx.GraphModule, arguments: Mapping[fx.Node, tuple[Any, ...]]) -> fx.GraphModule:
    """The graph with other arguments for some of its nodes; all modules are shared."""
    if not arguments:
        return graph
    copied, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    copied.output(copied.graph_copy(graph.graph, copies))
    for node, given in arguments.items():
        copies[node].args = fx.map_arg(given, copies.__getitem__)
    return fx.GraphModule(graph, copied).eval()
