"""Writing a compressed model whose graph the studio cannot build: the file's own graph with other weights, proven.

Where ONNX Runtime runs the network, the file is held against the preview on the same samples. Where it does not, the
runtime makes floats of every stored weight, and those are held against the preview's.
"""

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import EncodeError  # type: ignore[import-untyped]
from torch import Tensor

from studio.compression.compressed import CompressedModel
from studio.compression.modules import chained
from studio.errors import ExportError, ModelFileError, first_line
from studio.evaluation.evaluate import Samples
from studio.evaluation.result import Measurement
from studio.evaluation.runtime import predict_of, session_of
from studio.evaluation.weight_error import WeightNorms, error_result, squared_difference, weight_error
from studio.export.graph_edit import edited, graph_of, weight_parts
from studio.export.report import ExportReport
from studio.export.target import check_target, put_in_place
from studio.export.verify import Comparison, check, check_size, compare
from studio.models.model import Model
from studio.models.onnx_places import check_graph, find_places, graphs_in, tensor_of
from studio.models.onnx_session import OnnxSession
from studio.progress import Progress, Report, silent
from studio.recipe.cost import model_cost
from studio.recipe.graph_factors import FactorPart
from studio.recipe.graph_form import ONNX_TYPES

#: Bytes that the lengths of what a weight is nested in may take more or less than before.
_NESTING_SLACK = 16

#: Largest difference of a weight, as a share of the largest: those held in 16 bits are rounded on their way out.
_ROUNDING = {"F16": 2.0**-10, "BF16": 2.0**-7}

#: The same of a product of factors, whose sums may be taken in another order.
_SUMMED = 2.0**-20


def measure_graph_size(model: Model) -> int:
    """Bytes of the uncompressed graph when the studio writes it."""
    return int(graph_of(model).proto.ByteSize())


def export_graph(
    compressed: CompressedModel,
    out: Path,
    norms: WeightNorms,
    *,
    data: Samples | None = None,
    samples: int | None = None,
    seed: int = 0,
    format: str = "onnx",  # noqa: A002 (as in the command line and the report)
    report: Report = silent,
) -> ExportReport:
    """Writes the graph of `compressed` to `out`; a file that is already there is replaced only by a proven one.

    Args:
        compressed: of a model with a graph of its own.
        out: the file; its folder must exist.
        norms: of the original.
        data: samples that the preview and the file are both measured on, where the network runs; None takes random
            input.
        samples: at most this many, None for all.
        seed: fixes which samples.
        format: ``onnx``.
        report: receives progress; raising `Cancelled` from it leaves no file behind.

    Raises:
        ExportError: the place cannot be written to, a weight has no such form, or the file does not behave as the
            preview said.
    """
    model = compressed.model
    check_target(out, format, model.info.path)
    report(Progress(0, None, f"Writing {out.name}"))
    content, before = graph_content(edited(compressed)), measure_graph_size(model)
    predicted = model_cost(model.info, compressed.recipe, compressed.factors, before).bytes

    def write(path: Path) -> ExportReport:
        path.write_bytes(content)
        after = path.stat().st_size
        if model.info.runtime:
            found = _run(compressed, path, data, samples, seed, report)
            check(found, predicted, after, rounded=_rounds(model))
        else:
            found = _read_again(compressed, path, norms, report)
            check_size(predicted, after, _NESTING_SLACK)
        return found.reported(compressed, out, format, (before, predicted, after))

    return put_in_place(out, write)


def graph_content(graph: onnx.ModelProto) -> bytes:
    """The checked file.

    Raises:
        ExportError: it is no valid ONNX file, or too large for one.
    """
    try:
        content: bytes = graph.SerializeToString(deterministic=True)
        check_graph(graph)
    except (EncodeError, ValueError) as error:
        raise ExportError("The file would be larger than 2 GB, which one ONNX file cannot hold.") from error
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"The graph cannot be written: {first_line(error)}.") from error
    return content


def _run(
    compressed: CompressedModel, path: Path, data: Samples | None, samples: int | None, seed: int, report: Report
) -> Comparison:
    """The file beside the preview, both in ONNX Runtime: one with integers, the other with the floats of the recipe."""
    model = compressed.model
    try:
        exported = OnnxSession(path, [spec.name for spec in model.info.inputs], graph_of(model).batch)
        preview = session_of(model, compressed)
        return compare(model, predict_of(model), preview, exported, data, samples, seed, report)
    except ModelFileError as error:
        raise ExportError(f"The written file does not run, and was not kept: {error}") from error


def _rounds(model: Model) -> bool:
    """Whether the network rounds values of its own, so that a last bit may decide between two levels."""
    rounded = any(node.op_type == "QuantizeLinear" for node in graph_of(model).proto.graph.node)
    return rounded or any(layer.dtype in _ROUNDING for layer in model.info.layers)


def _read_again(compressed: CompressedModel, path: Path, norms: WeightNorms, report: Report) -> Comparison:
    """Holds the floats that ONNX Runtime makes of the file's weights against the preview's.

    Raises:
        ExportError: they differ by more than their type explains.
    """
    model, written = compressed.model, onnx.load(path)
    read, noise, largest, scale = _floats(written, compressed, report), 0.0, 0.0, 0.0
    for name in compressed.settings:
        wanted, found = compressed.effective_weight(name), chained(read[name])
        difference, peak = float((found - wanted).abs().max()), float(chained([one.abs() for one in read[name]]).max())
        summed = _SUMMED if len(read[name]) > 1 else 0.0
        if not difference <= _ROUNDING.get(model.info.layer(name).dtype or "", summed) * peak:
            raise ExportError(f"The file's weights of {name} differ from the preview's; it was not kept.")
        noise += squared_difference(model.module(name).get_parameter("weight"), found)
        largest, scale = max(largest, difference), max(scale, peak)
    preview = weight_error(compressed, norms, report)
    return Comparison(None, preview.metric, _as_read(noise, norms, preview.metric), largest, scale)


def _as_read(noise: float, norms: WeightNorms, preview: Measurement) -> Measurement:
    return error_result(noise, norms.total(), preview.samples).metric


def _floats(written: onnx.ModelProto, compressed: CompressedModel, report: Report) -> Mapping[str, list[Tensor]]:
    """The weight of every changed layer as the file gives it, ``[out, in / groups, *kernel]``, or its factors."""
    model, found = compressed.model, dict[str, list[Tensor]]()
    places = {place.output: place.tensor for place in find_places(written)}
    held = places | {tensor.name: tensor for graph in graphs_in(written.graph) for tensor in graph.initializer}
    for done, (name, settings) in enumerate(compressed.settings.items()):
        report(Progress(done, len(compressed.settings), f"Reading {name} again"))
        layer = model.info.layer(name)
        parts = [part for part, _stored in weight_parts(layer, settings, compressed.graph.get_submodule(name))]
        found[name] = [_read(written, part, held, layer.dtype or "F32").float() for part in parts]
    return found


def _read(written: onnx.ModelProto, part: FactorPart, held: Mapping[str, onnx.TensorProto], dtype: str) -> Tensor:
    """A weight or factor as the file gives it, ``[out, in / groups, *kernel]``."""
    if part.form.nodes:
        weight = _computed(written, dtype, [node.name for node in part.form.nodes])
    else:
        weight = tensor_of(held[part.held.output])
    return weight.mT.contiguous() if part.held.turned else weight


def _computed(written: onnx.ModelProto, dtype: str, names: list[str]) -> Tensor:
    """What ONNX Runtime makes of a weight's integers by the nodes of those names."""
    nodes, tensors = list[onnx.NodeProto](), list[onnx.TensorProto]()
    for graph in graphs_in(written.graph):
        nodes += [node for node in graph.node if node.name in names]
        tensors += graph.initializer
    read = {name for node in nodes for name in node.input}
    output = onnx.helper.make_tensor_value_info(nodes[-1].output[0], ONNX_TYPES[dtype], None)
    small = onnx.helper.make_graph(nodes, "weight", [], [output], [tensor for tensor in tensors if tensor.name in read])
    model = onnx.helper.make_model(small, opset_imports=written.opset_import, ir_version=written.ir_version)
    return OnnxSession(model.SerializeToString(), []).run(())
