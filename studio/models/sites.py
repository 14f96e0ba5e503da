"""Which tensors of a graph may be rounded to 8 bits, so that layers between them run in integers.

A site is the tensor that a node gives: the input of a layer, the output of one (behind its ReLU), or the sum of two
sites (behind its ReLU). Operators that only move values yield the levels of what they are given, and hand them on.
`studio.recipe.rounding` tells which of them a recipe rounds.
"""

import operator
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from studio.models import operators
from studio.models.layer import IntegerOperator, Layer, Site

#: What an operator does to rounded values: cut them at zero, add them, move them about.
Role = Literal["relu", "add", "move"]

_aten = torch.ops.aten

#: Files of either kind name the same operators differently.
ROLES: Mapping[Any, Role] = {
    **dict.fromkeys((torch.relu, F.relu, _aten.relu.default), "relu"),
    **dict.fromkeys((torch.add, operator.add, _aten.add.Tensor), "add"),
    **dict.fromkeys((F.max_pool1d, F.max_pool2d, _aten.max_pool1d.default, _aten.max_pool2d.default), "move"),
    **dict.fromkeys((operators.slice_, operators.pad, operators.flatten, operators.reshape), "move"),
    **dict.fromkeys((_aten.slice.Tensor, _aten.pad.default, _aten.flatten.using_ints), "move"),
    **dict.fromkeys((_aten.view.default, _aten.reshape.default, torch.flatten), "move"),
}


@dataclass(frozen=True, eq=False)
class Sites:
    """Where a graph can be rounded.

    Attributes:
        nodes: those that give the sites' tensors; sites are numbered in this order, that of running.
        moves: nodes that hand on the levels of a site, with its number.
        operators: what can run in integers, in running order.
    """

    nodes: tuple[fx.Node, ...]
    moves: Mapping[fx.Node, int]
    operators: tuple[IntegerOperator, ...]

    def described(self, graph: fx.GraphModule, inputs: Sequence[str]) -> tuple[Site, ...]:
        """The sites of `graph` as plain values; `inputs` names what goes in."""
        moved = Counter(self.moves.values())
        named = dict(zip((node for node in graph.graph.nodes if node.op == "placeholder"), inputs, strict=True))
        return tuple(
            Site(1 + moved[number], named.get(node), len(node.users)) for number, node in enumerate(self.nodes)
        )


def sites_of(graph: fx.GraphModule, layers: Iterable[Layer]) -> Sites:
    """The sites of a model's graph."""
    return find_sites(graph, {layer.name for layer in layers if layer.allows("activations")})


def find_sites(graph: fx.GraphModule, layers: Collection[str]) -> Sites:
    """Every site that the layers at the paths `layers` and the sums between them may have."""
    found = list[tuple[str | None, tuple[fx.Node, ...], fx.Node | None]]()
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in layers:
            output = None if _is_last_product(graph, node) else behind_relu(node)
            found.append((str(node.target), (source_of(node.all_input_nodes[0]),), output))
        elif role(node) == "add" and len(node.all_input_nodes) == 2:
            found.append((None, tuple(map(source_of, node.all_input_nodes)), behind_relu(node)))
    wanted = {node for _, inputs, output in found for node in (*inputs, output)}
    nodes = tuple(node for node in graph.graph.nodes if node in wanted)
    number = {node: i for i, node in enumerate(nodes)}
    moves = {
        node: number[source_of(node)]
        for node in graph.graph.nodes
        if role(node) == "move" and source_of(node) in number
    }
    operators = tuple(
        IntegerOperator(layer, tuple(number[node] for node in inputs), None if output is None else number[output])
        for layer, inputs, output in found
    )
    return Sites(nodes, moves, operators)


def role(node: fx.Node) -> Role | None:
    """What `node` does to rounded values; None for all that computes others."""
    return ROLES.get(node.target) if node.op == "call_function" else None


def source_of(node: fx.Node) -> fx.Node:
    """The node whose values `node` only moves."""
    while role(node) == "move":
        node = node.all_input_nodes[0]
    return node


def behind_relu(node: fx.Node) -> fx.Node:
    """The ReLU that alone reads `node`, otherwise `node`."""
    readers = list(node.users)
    return readers[0] if len(readers) == 1 and role(readers[0]) == "relu" else node


def _is_last_product(graph: fx.GraphModule, node: fx.Node) -> bool:
    """Whether `node` is a matrix product that only the outputs read: it may give floats."""
    return isinstance(graph.get_submodule(str(node.target)), nn.Linear) and all(u.op == "output" for u in node.users)
