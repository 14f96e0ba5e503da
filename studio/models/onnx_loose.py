"""Layers of an ONNX file whose graph the studio cannot build: found where operators read constant weights.

Weights may be initializers or Constant nodes, of the graph or of a branch within it, and floats or integers that stand
for floats. One that several nodes read is one layer. What multiplies from the right is turned, so that weights are
``[out, in]`` as everywhere else.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, numpy_helper
from torch import Tensor

from studio.errors import ModelFileError
from studio.models.onnx_file import check_external
from studio.models.onnx_integers import quantized_input, stands_for

#: Operators that are layers, and which of their inputs is the weight.
_WEIGHT = {"Conv": 1, "ConvTranspose": 1, "Gemm": 1, "MatMul": 1, "Gather": 0}

#: The same where they compute in integers; their biases are of another scale, and left out.
_IN_INTEGERS = {"QLinearConv": 3, "QLinearMatMul": 3, "QGemm": 3}

#: What ONNX Runtime has of its own: with the activation behind them, or in integers.
_FUSED = {"FusedConv": "Conv", "FusedGemm": "Gemm", "FusedMatMul": "MatMul", "QGemm": "QGemm"}

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16)


def weights_in(content: bytes, folder: Path) -> dict[str, Tensor]:
    """The weights and biases of all layers, named ``layer.weight`` and ``layer.bias``.

    Args:
        content: the file's bytes.
        folder: where the file lies; external data must lie in there too.

    Raises:
        ModelFileError: the file is damaged, or reaches out of its folder.
    """
    try:
        model = onnx.load_model_from_string(content)
        check_external(model, folder)
        external_data_helper.load_external_data_for_model(model, str(folder))
        found = _Found()
        found.search(model.graph, {})
        for function in model.functions:
            found.search(function, {})
    except (DecodeError, RuntimeError, ValueError, TypeError, OSError) as error:
        raise ModelFileError("The ONNX file is damaged or not an ONNX file.") from error
    return found.tensors


@dataclass
class _Found:
    """What a search has come upon.

    Attributes:
        tensors: weights and biases by name.
        seen: ids of the weights among them.
        floats: by the id of constant integers, what they stand for.
    """

    tensors: dict[str, Tensor] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    floats: dict[int, onnx.TensorProto] = field(default_factory=dict)

    def search(self, graph: "onnx.GraphProto | onnx.FunctionProto", outer: Mapping[str, onnx.TensorProto]) -> None:
        """Takes in the layers of a graph and of the branches within it; `outer` has the constants that they see."""
        known = {**outer, **_constants(graph)}
        for node in graph.node:
            known |= self._dequantized(node, known)
            self._take(node, known)
            for branch in _branches(node):
                self.search(branch, known)

    def _dequantized(self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> dict[str, onnx.TensorProto]:
        """What the constant integers that `node` reads stand for, by the name that its layer reads them under."""
        name = quantized_input(node)
        integers = known.get(name)
        if integers is None or integers.data_type in _FLOATS:
            return {}
        if id(integers) not in self.floats:
            floats = stands_for(node, known)
            if floats is None:
                return {}
            self.floats[id(integers)] = floats
        return {name if node.op_type in _IN_INTEGERS else node.output[0]: self.floats[id(integers)]}

    def _take(self, node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> None:
        place = (_WEIGHT | _IN_INTEGERS).get(_kind(node))
        if place is None or len(node.input) <= place:
            return
        stored = known.get(node.input[place])
        if stored is None or id(stored) in self.seen or stored.data_type not in _FLOATS or len(stored.dims) < 2:
            return
        self.seen.add(id(stored))
        integers = any(stored is floats for floats in self.floats.values())
        name = self._free(_name(node, stored.name if integers else node.input[place]))
        self.tensors[f"{name}.weight"] = _turned(node, _tensor(stored))
        has_bias = len(node.input) > 2 and _kind(node) not in ("Gather", *_IN_INTEGERS)
        bias = known.get(node.input[2]) if has_bias else None
        if bias is not None:
            self.tensors[f"{name}.bias"] = _tensor(bias)

    def _free(self, name: str) -> str:
        candidate, number = name, 1
        while f"{candidate}.weight" in self.tensors:
            candidate, number = f"{name}_{number}", number + 1
        return candidate


def _kind(node: onnx.NodeProto) -> str:
    """The ONNX operator that a node is or contains, empty for what belongs to neither ONNX nor its runtime."""
    if node.domain == "com.microsoft":
        return _FUSED.get(node.op_type, "")
    return node.op_type if node.domain in ("", "ai.onnx") else ""


def _constants(graph: "onnx.GraphProto | onnx.FunctionProto") -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
    for node in graph.node:
        if node.op_type == "Constant":
            values = [attribute.t for attribute in node.attribute if attribute.name == "value"]
            found |= dict(zip(node.output, values, strict=False))
    return found


def _branches(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs


def _name(node: onnx.NodeProto, weight: str) -> str:
    """The layer's path: that of its weight where it is called so, else the node's own name."""
    if weight.endswith(".weight"):
        return weight.removesuffix(".weight")
    path = (node.name or weight).strip("/").replace("/", ".").replace("::", ".")
    return path or node.op_type


def _turned(node: onnx.NodeProto, weight: Tensor) -> Tensor:
    """The weight as ``[out, in]``."""
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    right = _kind(node) in ("MatMul", "Gemm", "QLinearMatMul", "QGemm") and not transposed
    return weight.mT.contiguous() if right and weight.dim() == 2 else weight


def _tensor(stored: onnx.TensorProto) -> Tensor:
    array = numpy_helper.to_array(stored)
    return torch.from_numpy(np.array(array, dtype=np.float32))
