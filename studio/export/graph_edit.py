"""Settings applied to an ONNX graph itself: the file's own nodes stay, and its weights take another form.

The forms are those of `studio.recipe.graph_form`, which also tells their size.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from math import prod

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from studio.compression.compressed import CompressedModel, effective_weight
from studio.compression.half import HalfWeight
from studio.compression.modules import CompressedConv, CompressedLinear, Factored
from studio.compression.stored import IntegerWeight, StoredWeight
from studio.errors import ExportError
from studio.export.attribution import node_key
from studio.export.graph_factors import chain_factors, form_node
from studio.models.layer import GraphWeight, Layer
from studio.models.model import Model
from studio.models.onnx_loose import OnnxGraph
from studio.models.onnx_places import Place, find_places, graphs_in, set_floats
from studio.recipe.graph_factors import ALL_ENDINGS, FactorPart, factor_parts
from studio.recipe.graph_form import HALF, ONNX_TYPES, QUANTIZED, SCALE, ZERO_POINT, Form, FormTensor, form_of
from studio.recipe.settings import LayerSettings
from studio.recipe.stored_size import NBITS_DOMAIN

#: ONNX's numbers of the types of stored weights.
_TYPES = {
    "I4": onnx.TensorProto.INT4,
    "I8": onnx.TensorProto.INT8,
    "F16": onnx.TensorProto.FLOAT16,
    "BF16": onnx.TensorProto.BFLOAT16,
    "F32": onnx.TensorProto.FLOAT,
    "I64": onnx.TensorProto.INT64,
}

#: First version of the format that has integers of four bits.
_FOUR_BITS = 10


def graph_of(model: Model) -> OnnxGraph:
    """The graph that a model's settings are applied to.

    Raises:
        ExportError: it has none.
    """
    if model.onnx is None:
        raise ExportError("An ONNX graph is written of files whose own graph was opened.")
    return model.onnx


def edited(compressed: CompressedModel) -> onnx.ModelProto:
    """The original's graph with the weights of changed layers in their new form.

    Raises:
        ExportError: a weight cannot have the form that its settings ask for.
    """
    model = compressed.model
    copy, layers = onnx.ModelProto(), {model.stored_name(name): name for name in compressed.settings}
    copy.CopyFrom(graph_of(model).proto)
    first, forms = defaultdict[int, list[onnx.NodeProto]](list), list[Form]()
    graphs = dict[int, onnx.GraphProto]()
    for place in find_places(copy):
        if place.layer not in layers:
            continue
        name = layers[place.layer]
        layer, module = model.info.layer(name), compressed.graph.get_submodule(name)
        parts = weight_parts(layer, compressed.settings[name], module)
        if not any(part.form.tensors for part, _stored in parts):
            weight = effective_weight(module)
            set_floats(place.tensor, weight.mT if place.turned else weight)
            continue
        _remove(place)
        for part, stored in parts:
            forms.append(part.form)
            place.graph.initializer.extend(_values(part, stored))
            first[id(place.graph)].extend(map(form_node, part.form.nodes))
        graphs[id(place.graph)] = place.graph
        if isinstance(module, Factored):
            chain_factors(copy, _held(layer), layer.shape, module.factorization)
    for key, nodes in first.items():
        _put_first(graphs[key], nodes)
    _declare(copy, forms)
    return copy


def graph_owners(model: Model) -> dict[str, str]:
    """The layers of the nodes that read weights, and of those that `edited` puts there, by `node_key`.

    Empty where the graph is not the file's own.
    """
    owners = dict[str, str]()
    if model.onnx is None:
        return owners
    layers = {model.stored_name(layer.name): layer for layer in model.info.layers}
    readers = {place.output: layers[place.layer].name for place in find_places(model.onnx.proto)}
    for graph in graphs_in(model.onnx.proto.graph):
        for node in graph.node:
            read = [name for name in node.input if name in readers]
            if read:
                owners[node_key(node)] = readers[read[0]]
    for layer in model.info.layers:
        if layer.held is not None:
            owners |= {layer.held.stem + ending: layer.name for ending in ALL_ENDINGS}
    return owners


def weight_parts(layer: Layer, settings: LayerSettings, module: nn.Module) -> list[tuple[FactorPart, StoredWeight]]:
    """What takes the place of a layer's weight, its factors or itself, and the values of each."""
    held, dtype = _held(layer), layer.dtype or "F32"
    if isinstance(module, Factored):
        parts = factor_parts(held, layer.shape, dtype, settings.quantize, module.factorization)
        return [(part, _stored(one)) for part, one in zip(parts, module.parts, strict=True)]
    form = form_of(held, layer.shape, dtype, settings.quantize)
    return [(FactorPart(held, layer.shape, form), _stored(module))]


def _held(layer: Layer) -> GraphWeight:
    if layer.held is None:
        raise ExportError(f"{layer.name}: the graph does not hold its weight in floats.")
    return layer.held


def _stored(module: nn.Module) -> StoredWeight:
    if not isinstance(module, CompressedLinear | CompressedConv):
        raise ExportError(f"A {type(module).__name__} is not written into a graph that the studio cannot build.")
    return module.stored


def _values(part: FactorPart, stored: StoredWeight) -> Iterator[onnx.TensorProto]:
    """The tensors of a weight with their values."""
    if not part.form.nodes:
        yield from _floats(part, stored())
        return
    if isinstance(stored, HalfWeight):
        found = {HALF: stored.floats}
    elif isinstance(stored, IntegerWeight):
        found = {QUANTIZED: stored.q, SCALE: stored.scale, ZERO_POINT: stored.zero_point}
    else:
        raise ExportError(f"{part.held.output}: it is not rounded.")
    for tensor in part.form.tensors:
        ending = tensor.name.removeprefix(part.held.stem)
        values = torch.tensor(tensor.numbers) if tensor.numbers else found[ending]
        if ending == QUANTIZED and values.numel() < prod(tensor.shape):  # the last block of a row is shorter
            values = F.pad(values, (0, prod(tensor.shape) // len(values) - values.shape[1]))
        yield _tensor(tensor, values.mT if tensor.turned else values)


def _floats(part: FactorPart, values: Tensor) -> Iterator[onnx.TensorProto]:
    """The one tensor of a factor that is not rounded."""
    for form in part.form.tensors:
        tensor = onnx.TensorProto(name=form.name, data_type=ONNX_TYPES[form.dtype], dims=form.shape)
        set_floats(tensor, values.mT if part.held.turned else values)
        yield tensor


def _tensor(form: FormTensor, values: Tensor) -> onnx.TensorProto:
    flat = values.detach().contiguous().reshape(-1)
    content = _packed(flat.numpy()) if form.dtype == "I4" else flat.view(torch.uint8).numpy().tobytes()
    return onnx.TensorProto(name=form.name, data_type=_TYPES[form.dtype], dims=form.shape, raw_data=content)


def _packed(integers: "np.ndarray[tuple[int, ...], np.dtype[np.int8]]") -> bytes:
    """Integers of -8..7 two a byte, the first in the lower half."""
    halves = np.pad(integers, (0, len(integers) % 2)).astype(np.uint8) & 0xF
    return (halves[::2] | (halves[1::2] << 4)).tobytes()


def _remove(place: Place) -> None:
    """Takes a weight out of its graph."""
    graph = place.graph
    if place.constant is None:
        names = [tensor.name for tensor in graph.initializer]
        del graph.initializer[names.index(place.tensor.name)]
    else:
        first = next(number for number, node in enumerate(graph.node) if place.output in node.output)
        del graph.node[first]


def _put_first(graph: onnx.GraphProto, nodes: Iterable[onnx.NodeProto]) -> None:
    """Puts nodes before all others: they read initializers alone."""
    for node in reversed(list(nodes)):
        graph.node.insert(0, node)


def _declare(model: onnx.ModelProto, forms: Iterable[Form]) -> None:
    """Has the file say which operators and types it uses."""
    forms = list(forms)
    known = {entry.domain for entry in model.opset_import}
    if any(form.owned for form in forms) and NBITS_DOMAIN not in known:
        model.opset_import.append(onnx.helper.make_opsetid(NBITS_DOMAIN, 1))
    if any(tensor.dtype == "I4" for form in forms for tensor in form.tensors):
        model.ir_version = max(model.ir_version, _FOUR_BITS)
