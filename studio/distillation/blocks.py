"""Blocks of a network that follow one another, are built alike and keep the shape: what can be left out whole."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx


@dataclass(frozen=True, eq=False)
class Block:
    """A part of a graph that everything passes through.

    Attributes:
        entry: the value that goes in.
        exit: the value that comes out, of the same shape.
    """

    entry: fx.Node
    exit: fx.Node


@dataclass(frozen=True, eq=False)
class _Stretch:
    """What lies between two neighbouring values that all later ones depend on alone."""

    entry: fx.Node
    exit: fx.Node
    build: Hashable


def repeated_blocks(graph: fx.GraphModule, inputs: tuple[Tensor, ...]) -> list[list[Block]]:
    """Runs of two and more blocks that are built alike, each run in the order of the graph.

    The graph is cut at every value that no connection bypasses; a block is as few neighbouring stretches as repeat
    themselves. A residual block is one such stretch, a layer of a transformer two, a depthwise layer with its pointwise
    one several.

    Args:
        graph: a network.
        inputs: samples that fit.
    """
    shapes = _Shapes(graph)
    with torch.no_grad():
        shapes.run(*inputs)
    stretches = list(_stretches(graph))
    runs, place = list[list[Block]](), 0
    while place < len(stretches):
        run, length = _run_at(stretches, place, shapes.of)
        if run:
            runs.append(run)
        place += max(1, length)
    return runs


def _run_at(stretches: Sequence[_Stretch], start: int, shapes: dict[fx.Node, torch.Size]) -> tuple[list[Block], int]:
    """The run that begins with stretch `start`, of the shortest block that repeats, and its length in stretches."""
    for period in range(1, (len(stretches) - start) // 2 + 1):
        first = stretches[start : start + period]
        if shapes.get(first[0].entry) != shapes.get(first[-1].exit):
            continue
        wanted = [one.build for one in first]
        blocks = list[Block]()
        place = start
        while [one.build for one in stretches[place : place + period]] == wanted:
            blocks.append(Block(stretches[place].entry, stretches[place + period - 1].exit))
            place += period
        if len(blocks) > 1:
            return blocks, place - start
    return [], 0


def _stretches(graph: fx.GraphModule) -> Iterator[_Stretch]:
    """The graph cut at every node that no connection leads past; constants lead nowhere."""
    nodes = [node for node in graph.graph.nodes if node.op != "get_attr"]
    places = {node: place for place, node in enumerate(nodes)}
    entry, reach, inner = None, 0, list[fx.Node]()
    for place, node in enumerate(nodes):
        inner.append(node)
        if reach <= place and node.op != "output":
            if entry is not None:
                yield _Stretch(entry, node, _build(graph, entry, inner))
            entry, inner = node, []
        reach = max([reach, *(places[user] for user in node.users)])


def _build(graph: fx.GraphModule, entry: fx.Node, nodes: Sequence[fx.Node]) -> Hashable:
    """How a stretch is built: its operators, the kinds and sizes of its modules, and what is connected to what."""
    numbers = {node: number for number, node in enumerate([entry, *nodes])}

    def named(node: fx.Node) -> Any:
        if node in numbers:
            return ("value", numbers[node])
        return ("constant", *_shape_of(graph, node)) if node.op == "get_attr" else ("elsewhere", node.name)

    def described(node: fx.Node) -> Hashable:
        given = str(fx.map_arg((node.args, node.kwargs), lambda one: _Told(named(one))))
        if node.op != "call_module":
            return (node.op, str(node.target), given)
        module = graph.get_submodule(str(node.target))
        return (node.op, repr(module), tuple(p.shape for p in module.parameters()), given)

    return tuple(described(node) for node in nodes)


class _Told(str):
    """Stands for a node in a text."""

    def __new__(cls, given: Any) -> "_Told":
        return super().__new__(cls, str(given))


def _shape_of(graph: fx.GraphModule, node: fx.Node) -> tuple[int, ...]:
    owner, _, name = str(node.target).rpartition(".")
    value = getattr(graph.get_submodule(owner), name)
    return tuple(value.shape) if isinstance(value, Tensor) else ()


class _Shapes(fx.Interpreter):
    """Runs a graph and notes the shape of every tensor."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.of = dict[fx.Node, torch.Size]()

    def run_node(self, n: fx.Node) -> Any:
        """Runs a node."""
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.of[n] = result.shape
        return result
