"""Short names that tell where things belong and do not depend on what is compressed.

What belongs to a layer is called after its path in the model's file; all else is numbered by kind. So a compressed
layer changes no name outside itself, and the size of a file can be told beforehand (`studio.recipe.cost`).
"""

import ast
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import onnx_ir as ir

from studio.recipe.factorization import PARTS

#: Nodes that do a layer's work and bear its name, and which of their inputs is its weight.
WEIGHT_INPUT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "MatMulNBits": 1, "Gather": 0}

#: What the inputs of a product with stored integers are called, from its weight on.
_NBITS_INPUTS = ("quantized", "scale", "zero_point")

_SCOPES = "pkg.torch.onnx.name_scopes"


@dataclass(frozen=True)
class Place:
    """Where a node belongs: to a `layer`, and of it to a `part`, a factor or the layer itself."""

    layer: str
    part: str


Places = Mapping[ir.Node, Place | None]


class Names:
    """Hands out names, each once."""

    def __init__(self, taken: Collection[str] = ()) -> None:
        self._taken = set(taken)
        self._numbers: Counter[str] = Counter()

    def unique(self, wanted: str) -> str:
        """`wanted`, numbered from the second time on."""
        name = wanted
        while name in self._taken:
            self._numbers[wanted] += 1
            name = f"{wanted}_{self._numbers[wanted]}"
        self._taken.add(name)
        return name


def place_of(node: ir.Node, layers: Collection[str]) -> Place | None:
    """The innermost of `layers` whose module the node was written by, None when it belongs to no layer."""
    scopes: list[str] = ast.literal_eval(node.metadata_props.get(_SCOPES, "[]"))[:-1]
    layer = next((scope for scope in reversed(scopes) if scope in layers), None)
    if layer is None:
        return None
    factors = {f"{layer}.{part}" for part in PARTS}
    return Place(layer, next((scope for scope in scopes if scope in factors), layer))


def name_all(graph: ir.Graph, places: Places, named: Collection[ir.Node], keep: Collection[str]) -> None:
    """Names every node and every value but the graph's inputs and outputs.

    Args:
        graph: with named inputs and outputs.
        places: where each node belongs.
        named: nodes that have their names already, as have the values they give and read.
        keep: names of parameters outside the layers, which they keep.
    """
    fixed = {value for node in named for value in (*node.inputs, *node.outputs) if value is not None}
    fixed -= {value for node in named if node.op_type == "QuantizeLinear" for value in _around(node)}
    fixed |= {*graph.inputs, *graph.outputs}
    names = Names({value.name or "" for value in fixed})
    nodes = Names({node.name or "" for node in named})
    wanted: dict[ir.Value, str] = {}
    for node in (node for node in graph if node not in named):
        node.name = nodes.unique(_node_name(node, places[node]))
        for value, name in (*_parameter_names(node, places[node], keep), *_output_names(node, places)):
            if value not in fixed and value not in wanted:
                wanted[value] = names.unique(name)
    _hand_on(named, wanted, fixed)
    for number, value in enumerate(wanted):
        value.name = f"\0{number}"  # out of the way of the names to come
    for value, name in wanted.items():
        value.name = name


def _around(quantize: ir.Node) -> tuple[ir.Value, ir.Value]:
    """The activation that goes into a pair of ``QuantizeLinear`` and ``DequantizeLinear``, and what it becomes."""
    (dequantize,) = quantize.outputs[0].consumers()
    return cast("ir.Value", quantize.inputs[0]), dequantize.outputs[0]


def _hand_on(named: Collection[ir.Node], wanted: dict[ir.Value, str], fixed: Collection[ir.Value]) -> None:
    """The rounded activation gets the name that the activation would have, which gets one of a known length."""
    for node in (node for node in named if node.op_type == "QuantizeLinear"):
        before, after = _around(node)
        name = str(node.name).removesuffix(".quantize")
        if after not in fixed:
            wanted[after] = wanted.get(before, f"{name}.rounded")
        if before not in fixed:
            wanted[before] = f"{name}.exact"


def _node_name(node: ir.Node, place: Place | None) -> str:
    if place is None:
        return node.op_type
    return place.part if node.op_type in WEIGHT_INPUT else f"{place.layer}.{node.op_type}"


def _parameter_names(node: ir.Node, place: Place | None, keep: Collection[str]) -> Iterator[tuple[ir.Value, str]]:
    for position, value in enumerate(node.inputs):
        if value is None or not value.is_initializer():
            continue
        if place is None:
            yield value, (value.name if value.name in keep else None) or f"{node.name}.{position}"
        elif node.op_type == "MatMulNBits" and position <= len(_NBITS_INPUTS):
            yield value, f"{place.part}.weight_{_NBITS_INPUTS[position - 1]}"
        elif position == WEIGHT_INPUT.get(node.op_type):
            yield value, f"{place.part}.weight"
        elif is_bias(node, position):
            yield value, f"{place.layer}.bias"
        else:
            yield value, f"{node.name}.{position}"


def _output_names(node: ir.Node, places: Places) -> Iterator[tuple[ir.Value, str]]:
    place = places[node]
    for position, value in enumerate(node.outputs):
        users = [places[user] for user in value.consumers()]
        if place is None:
            name = str(node.name)
        elif place in users:
            name = f"{place.layer}.{node.op_type.removesuffix('NBits')}"  # as long as that of floats
        else:
            name = place.part if place.layer in {user.layer for user in users if user} else place.layer
        yield value, f"{name}.{position}" if position else name


def is_bias(node: ir.Node, position: int) -> bool:
    """Whether a layer's node takes its bias as the input at `position`."""
    if node.op_type == "MatMulNBits":
        return position == 5
    return node.op_type == "Add" or (node.op_type in ("Conv", "ConvTranspose", "Gemm") and position == 2)
