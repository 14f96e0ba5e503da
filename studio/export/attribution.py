"""Whose work a node in the runtime is: it fuses and renames what it read, so that its names lead back to the file's.

Fused, a layer with its activation bears the activation's name, rounded ones get numbers, and what is laid out anew a
suffix: ``Relu_3_nchwc``, ``fused hidden``, ``stem_token_2``. What it builds itself is called after the value that it
gives. So the longest name of a node or value of the file that the runtime's name begins with is taken; where that is no
layer's but the operator is one that only layers have, the work is that of the layer next before it.
"""

import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping

import onnx

#: Operators of the runtime that do a layer's work, by the end of their name or as they are.
_WORK = re.compile(r"(Conv|ConvTranspose|Gemm|MatMul|MatMulNBits|ConvInteger|MatMulInteger|MatMulIntegerToFloat)$")

_FUSED = "fused "


class Attribution:
    """Tells the layer of a node in the runtime.

    Args:
        nodes: of the file, in running order.
        layers: names of the model's layers.
        owners: layers of nodes by `node_key`, where names do not tell.
    """

    def __init__(
        self, nodes: Iterable[onnx.NodeProto], layers: Collection[str], owners: Mapping[str, str] | None = None
    ) -> None:
        self._nodes = {node_key(node): node for node in nodes}
        self._makers = {output: key for key, node in self._nodes.items() for output in node.output if output}
        self._known = {**self._makers, **{key: key for key in self._nodes}}
        self._owner = {name: (owners or {}).get(name) or _owner(name, layers) for name in self._nodes}

    def layer(self, operator: str, name: str) -> str | None:
        """The layer that the runtime's node of this operator and name works for, None for none."""
        known = self._file_name(name.removeprefix(_FUSED))
        if known is None:
            return None
        if self._owner[known] is None and _WORK.search(operator):
            return self._before(known)
        return self._owner[known]

    def _file_name(self, name: str) -> str | None:
        """The node with the longest name in the file that `name` is, or begins with before an underscore or a slash."""
        ends = [len(name), *sorted((match.start() for match in re.finditer("[_/]", name)), reverse=True)]
        return next((self._known[name[:end]] for end in ends if name[:end] in self._known), None)

    def _before(self, name: str) -> str | None:
        queue, seen = deque([name]), {name}
        while queue:
            key = queue.popleft()
            owner = self._owner[key]
            if owner is not None:
                return owner
            for maker in (self._makers[given] for given in self._nodes[key].input if given in self._makers):
                if maker not in seen:
                    seen.add(maker)
                    queue.append(maker)
        return None


def node_key(node: onnx.NodeProto) -> str:
    """A node's name, or that of what it gives: names may be left out."""
    return str(node.name or node.output[0])


def by_layer(times: Mapping[str, float], attribution: Attribution) -> tuple[dict[str, float], float]:
    """Sums what nodes take by layer, and what is left.

    Args:
        times: by ``operator:name`` in the runtime.
        attribution: of the file.
    """
    layers: dict[str, float] = {}
    rest = 0.0
    for key, taken in times.items():
        layer = attribution.layer(*key.split(":", 1))
        if layer is None:
            rest += taken
        else:
            layers[layer] = layers.get(layer, 0.0) + taken
    return layers, rest


def _owner(name: str, layers: Collection[str]) -> str | None:
    """The innermost layer whose path begins the name; used a second time, it bears a number."""
    plain = re.sub(r"_\d+$", "", name)
    for whole in (name, plain):
        parts = whole.split(".")
        for end in range(len(parts), 0, -1):
            if ".".join(parts[:end]) in layers:
                return ".".join(parts[:end])
    return None
