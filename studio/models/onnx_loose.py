"""ONNX files whose graph the studio cannot build: read as layers, and as the graph that holds their weights.

Layers are found where operators read constant weights (`studio.models.onnx_places`). Weights are ``[out, in]`` as
everywhere else, whichever side the graph multiplies from, and of the file's own type.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, inliner
from torch import Tensor

from studio.errors import ModelFileError
from studio.models.layer import GraphWeight
from studio.models.onnx_file import check_external
from studio.models.onnx_places import Place, find_places, names_in, rows_looked_up, tensor_of
from studio.models.onnx_readers import readers_of
from studio.recipe.graph_factors import ALL_ENDINGS
from studio.recipe.protobuf import field_size

#: First version of the format in which initializers need not be inputs too.
_INITIALIZERS_ALONE = 4

#: What the ONNX package raises for files that are not what they should be.
_DAMAGED = (DecodeError, RuntimeError, ValueError, TypeError, OSError, IndexError)


@dataclass(frozen=True, eq=False)
class OnnxGraph:
    """The graph of an ONNX file with the weights in it.

    Attributes:
        proto: the graph; nobody changes it. Functions of the file's own are taken apart, weights of other files in it.
        tensors: weights and biases of all layers, named ``layer.weight`` and ``layer.bias``.
        kinds: of each layer, and the groups of its convolution.
        held: of each layer, how the graph holds its weight; without those that it holds in integers.
        files: the names of all files that it was read from, in the model's folder.
        rows: by input of the graph, the rows of the smallest table that looks it up, where one does.
        batch: samples that the network takes at once, None for any number; known once it has run.
    """

    proto: onnx.ModelProto
    tensors: Mapping[str, Tensor]
    kinds: Mapping[str, tuple[str, int]]
    held: Mapping[str, GraphWeight]
    files: frozenset[str]
    rows: Mapping[str, int] = field(default_factory=dict)
    batch: int | None = None


def read_graph(content: bytes, folder: Path) -> OnnxGraph:
    """Reads the graph of an ONNX file without building it.

    Args:
        content: the file's bytes.
        folder: where the file lies; external data must lie in there too.

    Raises:
        ModelFileError: the file is damaged, or reaches out of its folder.
    """
    try:
        model = onnx.load_model_from_string(content)
        check_external(model, folder)
        files = frozenset(_locations(model))
        external_data_helper.load_external_data_for_model(model, str(folder))
        model = _tidied(inliner.inline_local_functions(model) if len(model.functions) else model)
        places = find_places(model)
        tensors = dict[str, Tensor]()
        for place in places:
            tensors[f"{place.layer}.weight"] = place.weight()
            if place.bias is not None:
                tensors[f"{place.layer}.bias"] = tensor_of(place.bias)
        kinds = {place.layer: (place.kind, place.groups) for place in places}
        return OnnxGraph(model, tensors, kinds, _held(model, places), files, rows_looked_up(model))
    except _DAMAGED as error:
        raise ModelFileError("The ONNX file is damaged or not an ONNX file.") from error


def _locations(model: onnx.ModelProto) -> set[str]:
    tensors = filter(external_data_helper.uses_external_data, external_data_helper._get_all_tensors(model))
    return {external_data_helper.ExternalDataInfo(tensor).location for tensor in tensors}


def _tidied(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with initializers that are no inputs as well, as in old files: something may take their place."""
    initializers = {tensor.name for tensor in model.graph.initializer}
    given = [value for value in model.graph.input if value.name not in initializers]
    if len(given) < len(model.graph.input):
        kept = [type(value).FromString(value.SerializeToString()) for value in given]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        model.ir_version = max(model.ir_version, _INITIALIZERS_ALONE)
    return model


def _held(model: onnx.ModelProto, places: list[Place]) -> dict[str, GraphWeight]:
    """How the graph holds each weight that is there in floats."""
    taken = names_in(model.graph)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    owned = any(entry.domain == "com.microsoft" for entry in model.opset_import)
    held, readers = dict[str, GraphWeight](), readers_of(model, places)
    for place in places:
        if place.integers:
            continue
        stem = place.output
        while any(stem + ending in taken for ending in ALL_ENDINGS):
            stem += "_"
        taken.update(stem + ending for ending in ALL_ENDINGS)
        message = place.tensor if place.constant is None else place.constant
        size = field_size(message.ByteSize())
        reader = readers.get(place.layer)
        held[place.layer] = GraphWeight(stem, place.output, size, place.turned, opset, owned, reader)
    return held
