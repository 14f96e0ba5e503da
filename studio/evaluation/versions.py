"""Which values of two graphs are the same because the same computation makes them: value numbering.

A value's version is a digest of the operation that makes it, the modules and constants it uses, and the versions of
what it is given (Cocke & Schwartz, *Programming Languages and Their Compilers*, 1970). Graphs that share modules so
share versions, whatever else differs between them: other layers, other arguments, nodes put in between.
"""

import hashlib
from collections.abc import Mapping
from itertools import count
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_aggregate
from torch.utils.weak import WeakIdKeyDictionary

#: Arguments that their text tells apart from all others of their kind; of the rest only the very same are equal.
PLAIN = (bool, int, float, complex, str, type(None), type(...), torch.dtype, torch.device, torch.layout)


class Versions:
    """Gives versions that are equal, over all graphs asked about, only for values that are equal bit by bit.

    Modules and constants count as the same where they are the same object: they must not be changed in between. They
    are held weakly, and the number of one that is gone is never given to another, as an address would be.
    """

    def __init__(self) -> None:
        self._next = count()
        self._functions: dict[object, int] = {}
        self._objects = WeakIdKeyDictionary()

    def of(self, graph: fx.GraphModule) -> dict[fx.Node, str]:
        """The version of every node's value in `graph`, given the same inputs."""
        versions = dict[fx.Node, str]()
        inputs = count()
        for node in graph.graph.nodes:
            made_by = next(inputs) if node.op == "placeholder" else self._maker(graph, node)
            given = map_aggregate((node.args, node.kwargs), lambda leaf: self._leaf(leaf, versions))
            text = repr((node.op, made_by, None if node.op == "placeholder" else given))
            versions[node] = hashlib.blake2b(text.encode(), digest_size=20).hexdigest()
        return versions

    def _maker(self, graph: fx.GraphModule, node: fx.Node) -> str | int:
        """What a node applies: the name of a method, or the number of a function, a module or a constant."""
        if node.op == "call_module":
            return self._number(graph.get_submodule(str(node.target)))
        if node.op == "get_attr":
            return self._number(_attribute(graph, str(node.target)))
        if node.op == "call_function":
            return self._functions.setdefault(node.target, len(self._functions))
        return str(node.target)

    def _leaf(self, leaf: Any, versions: Mapping[fx.Node, str]) -> Any:
        """An argument in a form whose text stands for it alone."""
        if isinstance(leaf, fx.Node):
            return ("value", versions[leaf])
        if isinstance(leaf, PLAIN) or type(leaf) is torch.memory_format:
            return (type(leaf).__name__, repr(leaf))
        return ("object", self._number(leaf))

    def _number(self, thing: object) -> int:
        if thing not in self._objects:
            self._objects[thing] = next(self._next)
        number: int = self._objects[thing]
        return number


def _attribute(graph: fx.GraphModule, path: str) -> object:
    """A parameter, buffer or other attribute at a dotted path."""
    folder, _, name = path.rpartition(".")
    return getattr(graph.get_submodule(folder), name)
