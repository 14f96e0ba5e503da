"""Where an ONNX graph holds the weights of its layers, and the same graph with other weights.

A weight is an initializer or the value of a Constant node, of the graph or of a branch within it. One that several
nodes read is one place. Searching a copy of a graph finds the same places under the same names, so that a copy can be
changed without remembering paths into the original.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from studio.models.onnx_integers import quantized_input, stands_for

#: Operators that are layers, and which of their inputs is the weight.
_WEIGHT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "Gather": 0}

#: The same where they compute in integers; their biases are of another scale, and left out.
_IN_INTEGERS = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}

#: What ONNX Runtime has of its own: with the activation behind them, or in integers.
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul", "QGemm": "QGemm"}

_DTYPES: Mapping[int, torch.dtype] = {
    onnx.TensorProto.FLOAT: torch.float32,
    onnx.TensorProto.FLOAT16: torch.float16,
    onnx.TensorProto.DOUBLE: torch.float64,
    onnx.TensorProto.BFLOAT16: torch.bfloat16,
}


@dataclass(frozen=True, eq=False)
class Place:
    """Where a layer's weight stands.

    Attributes:
        layer: the layer's name.
        kind: as of `studio.models.layer.Layer`.
        groups: of a convolution.
        graph: the graph or branch that holds the weight.
        tensor: the weight as the graph holds it, or the floats that its integers stand for.
        constant: the Constant node whose value it is; None for an initializer.
        integers: whether it is held in integers.
        turned: whether it is ``[in, out]`` there.
        bias: of the layer, where it is constant.
    """

    layer: str
    kind: str
    groups: int
    graph: onnx.GraphProto
    tensor: onnx.TensorProto
    constant: onnx.NodeProto | None
    integers: bool
    turned: bool
    bias: onnx.TensorProto | None

    @property
    def output(self) -> str:
        """The name that nodes read the weight under."""
        return str(self.constant.output[0] if self.constant is not None else self.tensor.name)

    def weight(self) -> Tensor:
        """The weight as everywhere else, ``[out, in / groups, *kernel]`` in its own type."""
        weight = tensor_of(self.tensor)
        return weight.mT.contiguous() if self.turned else weight


def find_places(model: onnx.ModelProto) -> list[Place]:
    """The places of all layers' weights, in the order in which nodes read them."""
    search = _Search()
    search.walk(model.graph, {})
    return list(search.places.values())


def with_weights(model: onnx.ModelProto, weights: Mapping[str, Tensor]) -> onnx.ModelProto:
    """A copy of a graph with other floats in some places.

    Args:
        model: the graph.
        weights: by layer, ``[out, in / groups, *kernel]``.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for place in find_places(copy):
        if place.layer in weights:
            set_floats(place.tensor, weights[place.layer].mT if place.turned else weights[place.layer])
    return copy


def check_graph(model: onnx.ModelProto) -> onnx.ModelProto:
    """Checks a graph as the ONNX package does, but for shapes of outputs that a runtime can do without.

    Returns:
        A copy with the shapes that can be told.

    Raises:
        onnx.checker.ValidationError: it is no valid graph.
        onnx.shape_inference.InferenceError: its shapes contradict each other.
    """
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    copy = onnx.ModelProto()
    copy.CopyFrom(inferred)
    for graph in graphs_in(copy.graph):
        for value in graph.output:
            if not value.type.WhichOneof("value"):
                value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.shape.SetInParent()
    onnx.checker.check_model(copy)
    return inferred


def graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and all branches within it."""
    yield graph
    for node in graph.node:
        for branch in _branches(node):
            yield from graphs_in(branch)


def names_in(graph: onnx.GraphProto) -> set[str]:
    """The names of all values and nodes of a graph and of the branches within it."""
    found = set[str]()
    for one in graphs_in(graph):
        found |= {tensor.name for tensor in one.initializer} | {value.name for value in one.input}
        for node in one.node:
            found |= {node.name, *node.input, *node.output}
    return found


def rows_looked_up(model: onnx.ModelProto) -> dict[str, int]:
    """By input of a graph, the rows of the smallest constant table that looks up what comes from it."""
    graph, found = model.graph, dict[str, int]()
    rows = {tensor.name: tensor.dims[0] for tensor in graph.initializer if len(tensor.dims) > 1}
    for value in graph.input:
        reached = {value.name}
        for node in graph.node:
            if node.op_type == "Gather" and node.input[0] in rows and node.input[1] in reached:
                found[value.name] = min(rows[node.input[0]], found.get(value.name, rows[node.input[0]]))
            elif reached.intersection(node.input):
                reached.update(node.output)
    return found


def set_floats(tensor: onnx.TensorProto, values: Tensor) -> None:
    """Gives a tensor other values of its own type and shape."""
    floats = values.detach().to(_DTYPES[tensor.data_type]).contiguous()
    for field_name in ("float_data", "int32_data", "double_data"):
        tensor.ClearField(field_name)
    tensor.raw_data = floats.reshape(-1).view(torch.uint8).numpy().tobytes()


def tensor_of(stored: onnx.TensorProto) -> Tensor:
    """A tensor of floats in its own type."""
    dtype = _DTYPES[stored.data_type]
    array = numpy_helper.to_array(stored)
    if dtype is torch.bfloat16:  # NumPy has none of its own
        return torch.from_numpy(np.array(array, dtype=np.float32)).to(dtype)
    return torch.from_numpy(np.array(array))


@dataclass
class _Search:
    """What a search has come upon.

    Attributes:
        places: by the id of the weight, which they keep alive.
        floats: by the id of constant integers, these and what they stand for.
        names: of layers, that are given away.
    """

    places: dict[int, Place] = field(default_factory=dict)
    floats: dict[int, tuple[onnx.TensorProto, onnx.TensorProto]] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def walk(self, graph: onnx.GraphProto, outer: "Mapping[str, _Constant]") -> None:
        """Takes in the layers of a graph and of the branches within it; `outer` has the constants that they see."""
        known = {**outer, **_constants(graph)}
        for node in graph.node:
            known |= self._dequantized(node, known, graph)
            self._take(node, known)
            for branch in _branches(node):
                self.walk(branch, known)

    def _dequantized(
        self, node: onnx.NodeProto, known: "Mapping[str, _Constant]", graph: onnx.GraphProto
    ) -> "dict[str, _Constant]":
        """What the constant integers that `node` reads stand for, by the name that its layer reads them under."""
        name = quantized_input(node)
        integers = known[name].tensor if name and name in known else None
        if integers is None or integers.data_type in _DTYPES:
            return {}
        if id(integers) not in self.floats:
            floats = stands_for(node, {given: known[given].tensor for given in node.input if given in known})
            if floats is None:
                return {}
            self.floats[id(integers)] = integers, floats
        floats = self.floats[id(integers)][1]
        return {name if node.op_type in _IN_INTEGERS else node.output[0]: _Constant(floats, graph, None, integers=True)}

    def _take(self, node: onnx.NodeProto, known: "Mapping[str, _Constant]") -> None:
        kind = _kind(node)
        place = (_WEIGHT | _IN_INTEGERS).get(kind)
        found = known.get(node.input[place]) if place is not None and len(node.input) > place else None
        layer = _layer(kind, found.tensor, node) if found is not None else ""
        if place is None or found is None or not layer or id(found.tensor) in self.places:
            return
        name = self._free(_name(node, found.tensor.name if found.integers else node.input[place]))
        has_bias = len(node.input) > 2 and kind not in ("Gather", *_IN_INTEGERS)
        bias = known.get(node.input[2]) if has_bias else None
        is_float = bias is not None and bias.tensor.data_type in _DTYPES
        self.places[id(found.tensor)] = Place(
            layer=name,
            kind=layer,
            groups=max(1, _number(node, "group")) if layer.startswith("conv") else 1,
            graph=found.graph,
            tensor=found.tensor,
            constant=found.node,
            integers=found.integers,
            turned=layer == "linear" and not _number(node, "transB"),
            bias=bias.tensor if bias is not None and is_float else None,
        )

    def _free(self, name: str) -> str:
        candidate, number = name, 1
        while candidate in self.names:
            candidate, number = f"{name}_{number}", number + 1
        self.names.add(candidate)
        return candidate


@dataclass(frozen=True, eq=False)
class _Constant:
    """A constant with the graph that holds it and the node that gives it, if any."""

    tensor: onnx.TensorProto
    graph: onnx.GraphProto
    node: onnx.NodeProto | None
    integers: bool = False


def _kind(node: onnx.NodeProto) -> str:
    """The ONNX operator that a node is or contains, empty for what belongs to neither ONNX nor its runtime."""
    if node.domain == "com.microsoft":
        return _FUSED.get(node.op_type, "")
    return node.op_type if node.domain in ("", "ai.onnx") else ""


def _layer(kind: str, weight: onnx.TensorProto, node: onnx.NodeProto) -> str:
    """The kind of layer that an operator with such a weight is; empty for none, such as a product of stacks."""
    dimensions = len(weight.dims)
    if weight.data_type not in _DTYPES:
        return ""
    if kind in ("Conv", "QLinearConv", "ConvTranspose"):
        form = "conv_transpose" if kind == "ConvTranspose" else "conv"
        return f"{form}{dimensions - 2}d" if 3 <= dimensions <= 5 else ""
    if kind == "Gather":
        return "embedding" if dimensions == 2 and not _number(node, "axis") else ""
    return "linear" if dimensions == 2 else ""


def _constants(graph: onnx.GraphProto) -> dict[str, _Constant]:
    found = {tensor.name: _Constant(tensor, graph, None) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            found |= {name: _Constant(value, graph, node) for name, value in zip(node.output, values, strict=False)}
    return found


def _branches(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _number(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def _name(node: onnx.NodeProto, weight: str) -> str:
    """The layer's path: that of its weight where it is called so, else the node's own name."""
    if weight.endswith(".weight"):
        return weight.removesuffix(".weight")
    path = (node.name or weight).strip("/").replace("/", ".").replace("::", ".")
    return path or node.op_type
