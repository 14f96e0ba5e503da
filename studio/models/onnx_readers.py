"""The nodes that read the weights of an ONNX graph, where factors can be put in their place."""

from collections import Counter
from collections.abc import Iterable

import onnx

from studio.models.layer import GraphReader
from studio.models.onnx_places import Place, graphs_in

#: Attributes that the nodes of factors have to share among them.
_SHARED = ("kernel_shape", "strides", "dilations", "pads", "auto_pad", "transB")

#: Versions from which a Gemm spreads its bias by itself.
_SPREADS = 7


def readers_of(model: onnx.ModelProto, places: Iterable[Place]) -> dict[str, GraphReader]:
    """The one node that reads a layer's weight, by layer; without layers of several nodes or of other operators.

    Args:
        model: the graph.
        places: of its weights.
    """
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    graphs = list(graphs_in(model.graph))
    uses = Counter(name for graph in graphs for node in graph.node for name in node.input)
    uses.update(value.name for graph in graphs for value in graph.output)
    single = {
        node.input[1]: node for graph in graphs for node in graph.node if len(node.input) > 1 and _multiplies(node)
    }
    return {
        place.layer: _described(single[place.output])
        for place in places
        if opset >= _SPREADS and uses[place.output] == 1 and place.output in single
    }


def _multiplies(node: onnx.NodeProto) -> bool:
    """Whether factors are what such a node would multiply by, one after the other."""
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("Conv", "Gemm", "MatMul"):
        return False
    return all(attribute.f == 1 for attribute in node.attribute if attribute.name == "beta")


def _described(node: onnx.NodeProto) -> GraphReader:
    return GraphReader(
        kind=node.op_type,
        output=node.output[0],
        bias=node.input[2] if len(node.input) > 2 else None,
        size=node.ByteSize(),
        attributes=tuple((one.name, _value(one)) for one in node.attribute if one.name in _SHARED),
    )


def _value(attribute: onnx.AttributeProto) -> int | str | tuple[int, ...]:
    if attribute.type == onnx.AttributeProto.INTS:
        return tuple(attribute.ints)
    return attribute.s.decode() if attribute.type == onnx.AttributeProto.STRING else int(attribute.i)
