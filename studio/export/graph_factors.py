"""Nodes put into an ONNX graph that stays as it was: those of factors, behind the one that reads the weight."""

import onnx

from studio.models.layer import GraphWeight
from studio.models.onnx_places import graphs_in
from studio.recipe.factorization import Factorization
from studio.recipe.graph_factors import following_nodes, given_name, moved_attributes
from studio.recipe.graph_form import FormNode


def form_node(form: FormNode) -> onnx.NodeProto:
    """The node as the graph has it."""
    node = onnx.NodeProto(
        name=form.name, op_type=form.kind, domain=form.domain or None, input=form.inputs, output=[form.output]
    )
    node.attribute.extend(onnx.helper.make_attribute(name, value) for name, value in form.attributes.items())
    return node


def chain_factors(model: onnx.ModelProto, held: GraphWeight, shape: tuple[int, ...], factors: Factorization) -> None:
    """Has the node that reads a weight give to those of the other factors, which are put behind it.

    Args:
        model: is changed.
        held: how the graph holds the weight.
        shape: of the weight.
        factors: how it is split.
    """
    graph, place = _found(model, held.output)
    node = graph.node[place]
    del node.input[2:]
    node.output[0] = given_name(held, 0)
    if held.reader is not None:
        for name, value in moved_attributes(held.reader, factors.shapes(shape)[0], factors, 0).items():
            next(one for one in node.attribute if one.name == name).CopyFrom(onnx.helper.make_attribute(name, value))
    for behind, form in enumerate(following_nodes(held, shape, factors), 1):
        graph.node.insert(place + behind, form_node(form))


def _found(model: onnx.ModelProto, weight: str) -> tuple[onnx.GraphProto, int]:
    """The graph and the place in it of the node that reads a weight."""
    return next(
        (graph, place)
        for graph in graphs_in(model.graph)
        for place, node in enumerate(graph.node)
        if weight in node.input
    )
