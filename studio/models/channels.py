"""Coupled channels: which layers lose an output channel together, and which then lose inputs.

The graph runs once, and with every tensor goes a list of ids, one for each channel. Layers give new ids; element-wise
operators make the ids that meet in them one; concatenation and reshaping move them. Where an operator cannot be
followed, or where channels are the model's output, their ids are pinned with a reason. (Torch-Pruning's DepGraph,
arXiv 2301.12900, couples whole layers; ids couple single channels, so that a shortcut that pads channels with zeros
needs no special case.)
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from studio.models.channel_rules import (
    ELEMENTWISE,
    REDUCTIONS,
    RESHAPING,
    SLICES,
    WINDOWS,
    dims_of,
    name_of,
    padding_of,
)
from studio.models.layer import Share

Ids = NDArray[np.int64]
_Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

#: The id of what no layer gave: inputs and constants.
_FIXED = 0


@dataclass(frozen=True, eq=False)
class Carried:
    """The channels of a tensor: an id for each place along `axis`, the batch being dimension 0."""

    axis: int
    ids: Ids

    def along(self, shape: torch.Size) -> Tensor:
        """The ids spread over a tensor of `shape`."""
        view = [1] * len(shape)
        view[self.axis] = len(self.ids)
        return torch.from_numpy(self.ids).reshape(view).expand(shape)


@dataclass(frozen=True, eq=False)
class Channels:
    """What a graph's channels have to do with one another.

    Attributes:
        outputs: by layer the id of each output channel; ids that are equal are removed together.
        inputs: by layer the id of each input channel (of a linear layer: of each input).
        nodes: the channels of every tensor, for nodes that name a number of channels in their arguments.
        ranks: how many dimensions each of these tensors has.
        blocks: by id, the group and block it belongs to; ids that must stay are absent.
        shares: by layer its outputs and inputs as plain values.
        reasons: by layer why its outputs must all stay.
    """

    outputs: Mapping[str, Ids]
    inputs: Mapping[str, Ids]
    nodes: Mapping[fx.Node, Carried]
    ranks: Mapping[fx.Node, int]
    blocks: Mapping[int, tuple[str, int]]
    shares: Mapping[str, tuple[tuple[Share, ...], tuple[Share, ...]]]
    reasons: Mapping[str, str]


def find_channels(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> Channels:
    """Follows all channels of a graph.

    Args:
        graph: with its layers as modules.
        inputs: samples that fit.
    """
    trace = _Trace(graph)
    with torch.no_grad():
        trace.run(*inputs)
    return trace.result()


@dataclass
class _Coupling:
    """Ids, which of them are one (a union-find forest), and why some are pinned."""

    parents: list[int] = field(default_factory=lambda: [_FIXED])
    reasons: dict[int, str] = field(default_factory=dict)

    def fresh(self, count: int) -> Ids:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def root(self, one: int) -> int:
        while self.parents[one] != one:
            self.parents[one] = self.parents[self.parents[one]]
            one = self.parents[one]
        return one

    def unite(self, first: Ids, second: Ids, name: str) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            if _FIXED in (a, b):
                self.pin(np.array([a, b]), f"its outputs meet channels that are fixed at '{name}'")
            else:
                self.parents[self.root(a)] = self.root(b)

    def pin(self, ids: Ids, reason: str) -> None:
        for one in set(ids.tolist()) - {_FIXED}:
            self.reasons.setdefault(one, reason)

    def resolved(self, ids: Ids) -> Ids:
        return np.array([self.root(one) for one in ids.tolist()], dtype=np.int64)


class _Trace(fx.Interpreter):
    """Runs a graph and lets the ids follow."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self._coupling = _Coupling()
        self._carried: dict[fx.Node, Carried] = {}
        self._ranks: dict[fx.Node, int] = {}
        self._outputs: dict[str, Ids] = {}
        self._inputs: dict[str, Ids] = {}
        calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_module"]
        self._calls = Counter(calls)
        self._owners = Counter(id(p) for name in self._calls for p in graph.get_submodule(name).parameters())

    def run_node(self, n: fx.Node) -> Any:
        """Runs a node, then follows the channels through it."""
        result = super().run_node(n)
        carried = self._follow(n, result)
        if carried is not None:
            self._carried[n] = carried
            self._ranks[n] = result.dim()
        return result

    def _follow(self, node: fx.Node, result: Any) -> Carried | None:
        if node.op == "output":
            self._pin(node, "the model's output")
        if node.op in ("placeholder", "get_attr", "output"):
            return None
        if node.op == "call_module" and isinstance(layer := self.module.get_submodule(str(node.target)), _Layer):
            return self._layer(node, layer)
        if not any(source in self._carried for source in node.all_input_nodes) or not isinstance(
            result, Tensor | tuple
        ):
            return None  # nothing to follow, or sizes, which the smaller model computes anew
        if isinstance(result, Tensor) and node.op != "call_module":
            found = self._operator(node, result)
            if found is not None:
                return found
        self._pin(node, f"its outputs reach '{name_of(node)}', through which channels are not followed")
        return None

    def _pin(self, node: fx.Node, reason: str) -> None:
        for source in node.all_input_nodes:
            if source in self._carried:
                self._coupling.pin(self._carried[source].ids, reason)

    def _layer(self, node: fx.Node, layer: _Layer) -> Carried | None:
        """New ids for the outputs; a depthwise convolution passes on those of its inputs."""
        name, source = str(node.target), node.all_input_nodes[0]
        groups = int(getattr(layer, "groups", 1))
        width = layer.weight.shape[1] * groups
        axis = self.env[source].dim() - 1 if isinstance(layer, nn.Linear) else 1
        given = self._carried.get(source)
        inputs = given.ids if given is not None else np.full(width, _FIXED)
        outputs = self._coupling.fresh(len(layer.weight))
        alone = self._calls[name] == 1 and all(self._owners[id(p)] == 1 for p in layer.parameters())
        if not alone:
            self._coupling.pin(inputs, f"its outputs reach {name}, whose weights are used more than once")
            self._coupling.pin(outputs, "the layer's weights are used more than once")
        if given is not None and given.axis != axis:
            self._coupling.pin(inputs, f"its outputs are not the input channels of {name}")
        if groups > 1 and groups == width == len(layer.weight):
            self._coupling.unite(outputs, inputs, name)
        elif groups > 1:
            self._coupling.pin(inputs, f"its outputs reach {name}, a grouped convolution")
            self._coupling.pin(outputs, "grouped convolution: its groups must stay of one size")
        self._inputs[name], self._outputs[name] = inputs, outputs
        return Carried(axis, outputs)

    def _operator(self, node: fx.Node, result: Tensor) -> Carried | None:
        """The channels behind an operator, None where it cannot be followed."""
        name = name_of(node)
        if name in ELEMENTWISE:
            return self._elementwise(node, result)
        source = node.all_input_nodes[0]
        carried = self._carried.get(source)
        if name == "cat" or (carried is not None and name in RESHAPING):
            return self._moved(node)
        if carried is None:
            return None
        if name in SLICES:  # of pixels: those of channels would have to begin and end elsewhere
            moved = self._moved(node)
            return moved if moved is not None and np.array_equal(moved.ids, carried.ids) else None
        if name in WINDOWS:
            return carried if carried.axis == 1 else None
        if name in REDUCTIONS:
            return _reduced(carried, self.env[source].dim(), result.dim(), dims_of(node))
        return self._padded(carried, node, result)

    def _elementwise(self, node: fx.Node, result: Tensor) -> Carried | None:
        """One list of ids where all operands have theirs along the same dimension."""
        operands = [source for source in node.all_input_nodes if isinstance(self.env[source], Tensor)]
        found: Carried | None = None
        for source in operands:
            carried = self._carried.get(source)
            if carried is not None:
                axis = carried.axis + result.dim() - self.env[source].dim()
                if len(carried.ids) != result.shape[axis] or (found is not None and found.axis != axis):
                    return None
                found = found or Carried(axis, carried.ids)
                self._coupling.unite(found.ids, carried.ids, name_of(node))
        for source in operands:
            shape = self.env[source].shape
            place = found.axis - result.dim() if found is not None else 0
            if source not in self._carried and found is not None and len(shape) >= -place and shape[place] > 1:
                return None
        return found

    def _moved(self, node: fx.Node) -> Carried | None:
        """Lets the operator itself move the ids; they must lie along one dimension afterwards."""
        values = {n: self.env[n] for n in node.all_input_nodes}
        for source, value in values.items():
            if source in self._carried:
                values[source] = self._carried[source].along(value.shape)
            elif isinstance(value, Tensor):
                values[source] = torch.full(value.shape, _FIXED)
        args, kwargs = (fx.map_arg(given, values.__getitem__) for given in (node.args, node.kwargs))
        return _along_one_axis(getattr(self, node.op)(node.target, args, kwargs))

    def _padded(self, carried: Carried, node: fx.Node, result: Tensor) -> Carried | None:
        """Padding of pixels leaves the channels; channels of zeros are new ones that may go like any other."""
        padding = padding_of(node)
        if padding is None:
            return None
        extra = result.shape[carried.axis] - len(carried.ids)
        if extra == 0:
            return carried
        channels = padding.read(node, carried.axis, result.dim())
        if channels is None or sum(channels) != extra or min(channels) < 0:
            return None
        before, after = (self._coupling.fresh(count) for count in channels)
        return Carried(carried.axis, np.concatenate([before, carried.ids, after]))

    def result(self) -> Channels:
        """What was found, every id replaced by the one that stands for all it is one with."""
        resolved = self._coupling.resolved
        outputs = {name: resolved(ids) for name, ids in self._outputs.items()}
        inputs = {name: resolved(ids) for name, ids in self._inputs.items()}
        nodes = {node: Carried(carried.axis, resolved(carried.ids)) for node, carried in self._carried.items()}
        pinned = dict[int, str]()
        for one, reason in self._coupling.reasons.items():
            pinned.setdefault(self._coupling.root(one), reason)
        blocks, reasons = _grouped(outputs, inputs, pinned)
        counts = Counter(blocks.values())
        shares = {
            name: (_shares(ids, blocks, counts), _shares(inputs[name], blocks, counts)) for name, ids in outputs.items()
        }
        return Channels(outputs, inputs, nodes, self._ranks, blocks, shares, reasons)


def _along_one_axis(spread: Tensor) -> Carried | None:
    """The ids of a tensor that is filled with them, None where they differ along several dimensions or none."""
    axes = [
        axis for axis in range(spread.dim()) if not torch.equal(spread, spread.narrow(axis, 0, 1).expand_as(spread))
    ]
    if len(axes) != 1 or axes[0] == 0:
        return None
    axis = axes[0]
    return Carried(axis, spread.movedim(axis, 0).flatten(1)[:, 0].numpy())


def _reduced(carried: Carried, rank: int, new_rank: int, dims: list[int] | None) -> Carried | None:
    if dims is None:
        return None
    gone = {dim % rank for dim in dims}
    if carried.axis in gone:
        return None
    shift = sum(dim < carried.axis for dim in gone) if new_rank < rank else 0
    return Carried(carried.axis - shift, carried.ids)


def _grouped(
    outputs: Mapping[str, Ids], inputs: Mapping[str, Ids], pinned: Mapping[int, str]
) -> tuple[dict[int, tuple[str, int]], dict[str, str]]:
    """Groups of layers that share ids, each group's ids in blocks that occur alike in all layers.

    A group with one pinned id stays whole.

    Returns:
        Group and block by id, and the reason by layer of a group that stays.
    """
    group_of = _layer_groups(outputs)
    reasons = dict[str, str]()
    for name, ids in outputs.items():
        for one in ids.tolist():
            if one in pinned:
                reasons.setdefault(group_of[name], pinned[one])
    places = defaultdict[int, list[tuple[str, int]]](list)
    for direction, table in enumerate((outputs, inputs)):
        for name, ids in table.items():
            for one, count in Counter(ids.tolist()).items():
                places[one].append((name, 2 * count + direction))
    blocks, numbers = dict[int, tuple[str, int]](), defaultdict[str, dict[Any, int]](dict)
    for name, ids in outputs.items():
        group = group_of[name]
        if group not in reasons:
            for one in ids.tolist():
                signature = tuple(places[one])
                blocks[one] = (group, numbers[group].setdefault(signature, len(numbers[group])))
    return blocks, {name: reasons[group] for name, group in group_of.items() if group in reasons}


def _layer_groups(outputs: Mapping[str, Ids]) -> dict[str, str]:
    """The name of the first layer that a layer shares output ids with, directly or through others."""
    coupling = _Coupling()
    owner, first = dict[int, int](), coupling.fresh(len(outputs))
    for number, ids in zip(first.tolist(), outputs.values(), strict=True):
        for one in ids.tolist():
            low, high = sorted((coupling.root(owner.setdefault(one, number)), coupling.root(number)))
            coupling.parents[high] = low
    names = list(outputs)
    return {name: names[coupling.root(number) - 1] for name, number in zip(names, first.tolist(), strict=True)}


def _shares(ids: Ids, blocks: Mapping[int, tuple[str, int]], sizes: Mapping[tuple[str, int], int]) -> tuple[Share, ...]:
    """How often each block occurs among `ids`."""
    counts = Counter(blocks[one] for one in ids.tolist() if one in blocks)
    return tuple(Share(*block, sizes[block], count // sizes[block]) for block, count in counts.items())
