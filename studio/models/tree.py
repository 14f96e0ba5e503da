"""A module tree grown by dotted paths: where an importer hangs the layers and constants that it finds in a file."""

import re

import torch
from torch import fx, nn

#: What a tree can hold at the end of a path.
Leaf = nn.Module | nn.Parameter | torch.Tensor


class ModuleTree:
    """Nested containers that receive layers, parameters and constants at the paths the file gives them.

    A path that is taken, or that Python or torch cannot hold as an attribute, is changed as little as possible;
    `place` returns the path that was used.
    """

    def __init__(self) -> None:
        self.root = nn.Module()
        self._taken: set[str] = set()

    def place(self, path: str, leaf: Leaf) -> str:
        """Hangs `leaf` at `path`, or close to it, and returns where it is."""
        path = self._free(_attribute_path(path))
        self._taken.add(path)
        *containers, name = path.split(".")
        parent = self.root
        for container in containers:
            if not hasattr(parent, container):
                parent.add_module(container, nn.Module())
            parent = getattr(parent, container)
        if isinstance(leaf, nn.Module):
            parent.add_module(name, leaf)
        elif isinstance(leaf, nn.Parameter):
            parent.register_parameter(name, leaf)
        else:
            parent.register_buffer(name, leaf)
        return path

    def _free(self, path: str) -> str:
        """`path` itself, or the same with dots flattened or a number behind it where something is in the way."""
        prefixes = {path[:i] for i, character in enumerate(path) if character == "."}
        if prefixes & self._taken:
            path = path.replace(".", "_")
        candidate, number = path, 1
        while candidate in self._taken or any(taken.startswith(f"{candidate}.") for taken in self._taken):
            candidate, number = f"{path}_{number}", number + 1
        return candidate


def finished(root: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """The module of `graph` over `root` in eval mode, without nodes, layers and constants that nothing reads."""
    module = fx.GraphModule(root, graph)
    module.graph.eliminate_dead_code()
    module.graph.lint()
    return fx.GraphModule(module, module.graph).eval()


def _attribute_path(path: str) -> str:
    """`path` with every part made a name that `nn.Module` can hold."""
    parts = [re.sub(r"\W", "_", part) for part in path.strip("./").split(".") if part] or ["constant"]
    return ".".join(f"{part}_" if hasattr(nn.Module, part) or part == "training" else part for part in parts)
