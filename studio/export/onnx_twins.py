"""Equal weights in an ONNX file: layers that only happen to have the same values each keep their own.

The exporter shares small constants of equal content, such as those of blocks that were copied and not trained yet, or
weights that rounding made equal. Another setting for one of the layers would part them, so that the file would grow by
what no prediction of its size knows of. One weight that the network itself uses in several layers stays one.
"""

from collections.abc import Iterable, Mapping

import onnx_ir as ir
from torch import fx, nn

from studio.export.onnx_names import WEIGHT_INPUT, Place
from studio.export.onnx_weights import initializer

#: Operators that make floats of what a weight is stored as, and those of them that come first.
_CHAIN = ("DequantizeLinear", "Cast", "Reshape", "Transpose")
_FIRST = ("DequantizeLinear", "Cast")


def tied_weights(graph: fx.GraphModule, layers: Iterable[str]) -> dict[str, int]:
    """By layer a number that is the same for all layers that use one weight.

    Args:
        graph: as it is exported.
        layers: paths of its layers.
    """
    modules = dict(graph.named_modules(remove_duplicate=False))
    weights = {name: getattr(modules[name], "weight", None) for name in layers if name in modules}
    return {name: id(weight) for name, weight in weights.items() if isinstance(weight, nn.Parameter)}


def part_twins(graph: ir.Graph, places: dict[ir.Node, Place | None], tied: Mapping[str, int]) -> None:
    """Gives each layer, and each factor of one, weights of its own.

    Args:
        graph: fresh from the exporter.
        places: where each node belongs; takes in those that are added.
        tied: see `tied_weights`.
    """
    owners = dict[ir.Value, str]()
    for node in list(graph):
        place, position = places[node], WEIGHT_INPUT.get(node.op_type)
        value = node.inputs[position] if place is not None and position is not None else None
        if place is None or position is None or value is None or not _is_weight(value):
            continue
        owner = owners.setdefault(value, place.part)
        if owner != place.part and (owner not in tied or tied[owner] != tied.get(place.part)):
            node.replace_input_with(position, _copied(graph, places, value, node, place))
    _part_stored(graph, places)


def _part_stored(graph: ir.Graph, places: Mapping[ir.Node, Place | None]) -> None:
    """Parts what weights are stored as: chains that make different floats of equal integers."""
    owners = dict[ir.Value, str]()
    for node in graph:
        place = places[node]
        for position, value in enumerate(node.inputs if place is not None and node.op_type in _FIRST else ()):
            if place is None or value is None or value.const_value is None:
                continue
            if owners.setdefault(value, place.part) != place.part:
                node.replace_input_with(position, _own(graph, value, node, position))


def _is_weight(value: ir.Value) -> bool:
    """Whether a value is a constant, or made of constants alone as stored weights are."""
    producer = value.producer()
    if producer is None:
        return value.const_value is not None
    return producer.op_type in _CHAIN and all(one is None or _is_weight(one) for one in producer.inputs)


def _copied(
    graph: ir.Graph, places: dict[ir.Node, Place | None], value: ir.Value, before: ir.Node, place: Place
) -> ir.Value:
    """Another value like a weight, with all that makes it, for the node `before` at `place`."""
    producer = value.producer()
    if producer is None:
        return _own(graph, value, before, 0)
    inputs = [None if one is None else _copied(graph, places, one, before, place) for one in producer.inputs]
    node = ir.node(producer.op_type, inputs, dict(producer.attributes), domain=producer.domain, name=producer.name)
    node.outputs[0].type, node.outputs[0].shape = value.type, value.shape
    node.metadata_props.update(producer.metadata_props)
    graph.insert_before(before, node)
    places[node] = place
    return node.outputs[0]


def _own(graph: ir.Graph, value: ir.Value, reader: ir.Node, position: int) -> ir.Value:
    if value.const_value is None:
        raise ValueError(f"{value.name} is no constant")
    name = f"{value.name}.{reader.name}.{position}.{len(graph.initializers)}"
    return initializer(graph, name, value.const_value.numpy())
