"""Which tensors of a graph are rounded to 8 bits, so that layers between them run in integers.

A site is the tensor that a node gives: the input of a layer, the output of one (behind its ReLU), or the sum of two
sites (behind its ReLU). Operators that only move values yield the levels of what they are given, and hand them on.
"""

import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import fx, nn

from studio.models import operators

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
    """Where a graph is rounded.

    Attributes:
        sources: nodes whose tensors get levels of their own, in running order.
        carried: nodes that hand on the levels of a source, by node.
    """

    sources: tuple[fx.Node, ...]
    carried: Mapping[fx.Node, fx.Node]


def find_sites(graph: fx.GraphModule, layers: Collection[str]) -> Sites:
    """The sites of the layers at the paths `layers`, each of which runs in integers."""
    wanted = set[fx.Node]()
    for node in graph.graph.nodes:
        if node.op == "call_module" and node.target in layers:
            wanted.add(source_of(node.all_input_nodes[0]))
            if not _is_last_product(graph, node):
                wanted.add(behind_relu(node))
        elif (
            role(node) == "add"
            and len(node.all_input_nodes) == 2
            and wanted.issuperset(map(source_of, node.all_input_nodes))
        ):
            wanted.add(behind_relu(node))
    nodes = list(graph.graph.nodes)
    sources = tuple(node for node in nodes if node in wanted)
    carried = {node: source_of(node) for node in nodes if role(node) == "move" and source_of(node) in wanted}
    return Sites(sources, carried)


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
    linear = isinstance(graph.get_submodule(str(node.target)), nn.Linear) or not hasattr(
        graph.get_submodule(str(node.target)), "stride"
    )
    return linear and all(user.op == "output" for user in node.users)
