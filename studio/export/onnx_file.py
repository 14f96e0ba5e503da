"""Writes a graph as an ONNX file: what the exporter gives, tidied so that its size is known to the byte."""

import copy
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import onnx
import onnx_ir as ir
import torch
from onnx_ir.passes.common import RemoveUnusedNodesPass
from torch import fx

import studio
from studio.compression.modules import CompressedLinear
from studio.errors import ExportError, first_line
from studio.export.onnx_biases import hide_zeros, restore_biases
from studio.export.onnx_names import Names, Place, name_all, place_of
from studio.export.onnx_nbits import write_product
from studio.export.onnx_twins import part_twins, tied_weights
from studio.export.onnx_weights import (
    guard_bias,
    has_float_weight,
    is_rounded,
    name_levels,
    stored_weights,
    write_out,
)
from studio.export.translate import TRANSLATIONS
from studio.models.layer import ModelInfo, TensorSpec
from studio.models.model import DEFAULT_SIZE, example_inputs
from studio.recipe.settings import Product

#: First version with int4 and with scales for blocks.
OPSET = 21

#: Raised with every change that makes files of another size, so that remembered sizes are measured anew.
WRITER_VERSION = 5

#: What every entry of these attributes of a convolution is when they are left out.
_CONV_DEFAULTS = {"strides": 1, "dilations": 1, "pads": 0}

#: Largest message that protobuf can hold.
_LIMIT = 2**31 - 1


def onnx_bytes(
    graph: fx.GraphModule, info: ModelInfo, free_size: int = DEFAULT_SIZE, integer: Collection[str] = ()
) -> bytes:
    """`graph` as an ONNX file with the inputs and outputs of `info`; free dimensions stay free.

    Args:
        graph: in eval mode, its layers at the paths of ``info.layers``, compressed or not.
        info: the original.
        free_size: size that free dimensions other than the batch have in the example the graph is traced with.
        integer: paths of the layers that run in integers.

    Raises:
        ExportError: an operator has no form in ONNX, or the file would be too large.
    """
    copied = _as_it_is_now(graph)
    tied = tied_weights(copied, [layer.name for layer in info.layers])
    hidden = hide_zeros(copied, [layer.name for layer in info.layers])
    model = _exported(copied, info, free_size)
    products = {path: module.product for path, module in graph.named_modules() if isinstance(module, CompressedLinear)}
    places = {node: place_of(node, [layer.name for layer in info.layers]) for node in model.graph}
    restore_biases(model.graph, places, hidden)
    part_twins(model.graph, places, tied)
    _tidy(model, places, graph.state_dict().keys(), integer, products)
    proto = ir.to_proto(model)
    if proto.ByteSize() > _LIMIT:
        raise ExportError("The file would be larger than 2 GB, which one ONNX file cannot hold.")
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def write_onnx(
    graph: fx.GraphModule,
    info: ModelInfo,
    path: Path,
    free_size: int = DEFAULT_SIZE,
    integer: Collection[str] = (),
) -> None:
    """Writes what `onnx_bytes` gives to `path`."""
    path.write_bytes(onnx_bytes(graph, info, free_size, integer))


def _exported(graph: fx.GraphModule, info: ModelInfo, free_size: int) -> ir.Model:
    try:
        with _quiet():
            program = torch.onnx.export(
                graph,
                example_inputs(graph, info.inputs, 2, free_size),
                dynamo=True,
                opset_version=OPSET,
                input_names=[spec.name for spec in info.inputs],
                output_names=[spec.name for spec in info.outputs],
                dynamic_shapes=tuple(_free_dimensions(spec) for spec in info.inputs),
                custom_translation_table=dict(TRANSLATIONS),
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(f"The model cannot be written as ONNX: {_reason(error)}") from error
    return cast("torch.onnx.ONNXProgram", program).model


def _as_it_is_now(graph: fx.GraphModule) -> fx.GraphModule:
    """The same graph without notes on the modules it was once traced from: layers may have been replaced since.

    Its modules are its own around the same tensors: the exporter hangs others in them while another thread may measure.
    """
    copied = fx.Graph()
    copied.output(copied.graph_copy(graph.graph, {}))
    for node in copied.nodes:
        node.meta.pop("nn_module_stack", None)
    tensors = {id(tensor): tensor for tensor in (*graph.parameters(), *graph.buffers())}
    return fx.GraphModule(copy.deepcopy(graph, tensors), copied).eval()


def _free_dimensions(spec: TensorSpec) -> dict[int, str]:
    """Names of the free dimensions by axis."""
    free = (axis for axis, size in enumerate(spec.shape) if size is None)
    return {axis: f"{spec.name}_{axis}" if axis else "batch" for axis in free}


def _reason(error: BaseException) -> str:
    """The first line of what an exception comes from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return first_line(error)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back what the exporter says about itself and nobody can act on."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    registration.addFilter(_not_about_torchvision)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", FutureWarning)
            yield
    finally:
        registration.removeFilter(_not_about_torchvision)


def _not_about_torchvision(record: logging.LogRecord) -> bool:
    return "torchvision is not installed" not in record.getMessage()


def _tidy(
    model: ir.Model,
    places: dict[ir.Node, Place | None],
    parameters: Collection[str],
    integer: Collection[str],
    products: Mapping[str, Product],
) -> None:
    """Leaves nothing in the file but what runs, under names that tell where it belongs."""
    graph = model.graph
    named, names = name_levels(graph), Names()
    for stored in stored_weights(graph):
        place = places[stored.start]
        if place is None:
            raise ValueError(f"{stored.start.name}: a stored weight outside the model's layers")
        product = products.get(place.part, "portable")
        if product != "portable":
            places[write_product(graph, stored, place.part, product)] = place
            continue
        written = write_out(graph, stored, names.unique(f"{place.part}.weight"), place.layer in integer)
        named.update(written)
        places.update(dict.fromkeys(written, place))
    for node, place in list(places.items()):
        if place is not None and place.part == place.layer and _would_be_rounded(node):
            written = guard_bias(graph, node, names.unique(f"{place.layer}.bias"))
            named.update(written)
            places.update(dict.fromkeys(written, place))
    RemoveUnusedNodesPass()(model)
    name_all(graph, places, named, parameters)
    for node in graph:
        _strip(node)
    for value in graph.initializers.values():
        _forget_type(value)
    for value in (*graph.inputs, *graph.outputs):
        value.metadata_props.clear()
    model.producer_name, model.producer_version = "compression-studio", studio.__version__
    graph.name = "model"
    model.metadata_props.clear()
    graph.metadata_props.clear()


def _would_be_rounded(node: ir.Node) -> bool:
    """Whether ONNX Runtime may round the float weight of a layer's node, as its input is rounded."""
    return node.op_type in ("Conv", "Gemm") and is_rounded(node.inputs[0]) and has_float_weight(node)


def _strip(node: ir.Node) -> None:
    """Takes away what the node does without: notes, inner types, attributes that say what goes without saying."""
    node.metadata_props.clear()
    node.doc_string = None
    for name in [name for name, attribute in node.attributes.items() if _is_default(node, attribute)]:
        del node.attributes[name]
    for value in node.outputs:
        if not value.is_graph_output():
            _forget_type(value)


def _is_default(node: ir.Node, attribute: ir.Attr) -> bool:
    value = attribute.value
    if node.op_type == "Conv" and attribute.name in _CONV_DEFAULTS:
        return set(value) <= {_CONV_DEFAULTS[attribute.name]}
    if node.op_type == "DequantizeLinear" or node.domain:
        return False
    known = onnx.defs.get_schema(node.op_type, OPSET, "").attributes.get(attribute.name)
    if known is None or not known.default_value.name:
        return False
    default = onnx.helper.get_attribute_value(known.default_value)
    return bool(value == (default.decode() if isinstance(default, bytes) else default))


def _forget_type(value: ir.Value) -> None:
    """Types and shapes of inner values follow from the graph; runtimes infer them."""
    value.type = None
    value.shape = None
    value.metadata_props.clear()
