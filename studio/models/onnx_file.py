"""Reading an ONNX file into an fx graph of real `torch.nn` layers.

The file is data: it is parsed, checked and translated operator by operator; nothing in it is run. Weights kept in
files of their own are read only from the model's folder.
"""

from collections import defaultdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import onnx
import torch
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import external_data_helper, inliner, numpy_helper
from torch import fx

from studio.errors import ModelFileError, OperatorError, first_line
from studio.models.layer import TensorSpec
from studio.models.onnx_activations import ACTIVATIONS
from studio.models.onnx_attention import ATTENTION
from studio.models.onnx_fused import FUSED, name_domains
from studio.models.onnx_graph import Handler, Workbench
from studio.models.onnx_layers import LAYERS
from studio.models.onnx_names import scopes
from studio.models.onnx_nodes import Operator, ValueType
from studio.models.onnx_operators import OPERATORS
from studio.models.onnx_recurrent import RECURRENT
from studio.models.onnx_resize import RESIZING
from studio.models.onnx_scattering import SCATTERING
from studio.models.onnx_shaping import SHAPING
from studio.models.onnx_sizes import SIZES, computes_sizes
from studio.models.onnx_types import DTYPES, STORED_DTYPES, input_dtype, type_name

HANDLERS: dict[str, Handler] = {
    kind: handler
    for table in (OPERATORS, SHAPING, ACTIVATIONS, RESIZING, LAYERS, RECURRENT, ATTENTION, SCATTERING, FUSED)
    for kind, handler in table.handlers.items()
}
_DEFAULT_DOMAINS = ("", "ai.onnx")

#: What the ONNX package raises for files that are not what they should be.
_DAMAGED = (
    DecodeError,
    onnx.checker.ValidationError,
    onnx.shape_inference.InferenceError,
    RuntimeError,
    ValueError,
    TypeError,
    OSError,
)


def import_onnx(content: bytes, folder: Path) -> tuple[fx.GraphModule, tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Translates the bytes of an ONNX file.

    Args:
        content: the file's bytes.
        folder: where the file lies; external data must lie in there too.

    Returns:
        The graph in eval mode, its inputs and its outputs.

    Raises:
        ModelFileError: the file is damaged, reaches out of its folder, or holds an operator that is not known.
    """
    model = _parse(content, folder)
    initializers = {tensor.name: _constant(tensor) for tensor in model.graph.initializer}
    inputs = tuple(input_spec(value) for value in model.graph.input if value.name not in initializers)
    bench = _workbench(model, initializers)
    for spec in inputs:
        bench.set(spec.name, bench.graph.placeholder(_identifier(spec.name)))
    for op in _operators(model):
        _translate(bench, op)
    outputs = tuple(output_spec(value) for value in model.graph.output)
    return bench.output([spec.name for spec in outputs]), inputs, outputs


def _parse(content: bytes, folder: Path) -> onnx.ModelProto:
    """The checked model with external data read in, functions inlined and shapes inferred."""
    try:
        model = onnx.load_model_from_string(content)
        check_external(model, folder)
        external_data_helper.load_external_data_for_model(model, str(folder))
        if len(model.functions):
            model = inliner.inline_local_functions(model)
        name_domains(model)
        _check_known(model)
        model = onnx.shape_inference.infer_shapes(model, data_prop=True)
        onnx.checker.check_model(model)  # after the inference, since it wants a shape for every output
        return model
    except _DAMAGED as error:
        raise ModelFileError(f"The ONNX file is damaged or not an ONNX file: {first_line(error)[:200]}") from error


def check_external(model: onnx.ModelProto, folder: Path) -> None:
    """Refuses weights that lie outside the model's folder, through ``..``, an absolute path or a link.

    Raises:
        ModelFileError: naming the path.
    """
    for tensor in external_data_helper._get_all_tensors(model):
        if not external_data_helper.uses_external_data(tensor):
            continue
        location = external_data_helper.ExternalDataInfo(tensor).location
        target = (folder / location).resolve()
        if not target.is_relative_to(folder.resolve()):
            raise ModelFileError(f"The weights '{tensor.name}' lie outside the model's folder, at '{location}'.")
        if not target.is_file():
            raise ModelFileError(f"The weights '{tensor.name}' are missing: no file '{location}' beside the model.")


def _check_known(model: onnx.ModelProto) -> None:
    """Refuses operators that the studio does not know.

    Raises:
        ModelFileError: naming the first one and its node.
    """
    for op in _operators(model):
        if op.type not in HANDLERS:
            raise OperatorError(f"The ONNX operator {op.type} (node '{op.name}') is not supported.")


def _workbench(model: onnx.ModelProto, initializers: dict[str, torch.Tensor]) -> Workbench:
    users: dict[str, list[Operator]] = defaultdict(list)
    producers: dict[str, Operator] = {}
    for op in _operators(model):
        for name in op.inputs:
            users[name].append(op)
        producers.update(dict.fromkeys(op.outputs, op))
    for value in model.graph.output:
        users[value.name].append(Operator("Output", value.name, (value.name,), (), {}))
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    types = {value.name: _value_type(value) for value in values}
    opset = next((entry.version for entry in model.opset_import if entry.domain in _DEFAULT_DOMAINS), 1)
    return Workbench(initializers, types, users, producers, opset)


def _operators(model: onnx.ModelProto) -> list[Operator]:
    return [_operator(node) for node in model.graph.node]


def _operator(node: onnx.NodeProto) -> Operator:
    kind = node.op_type if node.domain in _DEFAULT_DOMAINS else f"{node.domain}.{node.op_type}"
    attributes = {attribute.name: _attribute(attribute) for attribute in node.attribute}
    metadata = {entry.key: entry.value for entry in node.metadata_props}
    name = node.name or next((output for output in node.output if output), kind)
    return Operator(kind, name, tuple(node.input), tuple(node.output), attributes, scopes(metadata))


def _attribute(attribute: onnx.AttributeProto) -> Any:
    """The attribute as a Python value; a graph stays as it is."""
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return _constant(value)
    return list(value) if attribute.type in (attribute.INTS, attribute.FLOATS) else value


def _constant(tensor: onnx.TensorProto) -> torch.Tensor:
    """The tensor in the studio's dtypes.

    Raises:
        ModelFileError: of a type that is not supported.
    """
    dtypes: dict[int, torch.dtype] = DTYPES | STORED_DTYPES
    if tensor.data_type not in dtypes:
        kind = type_name(tensor.data_type)
        raise ModelFileError(f"The constant '{tensor.name}' has the type {kind}, which is not supported.")
    try:
        array = numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelFileError(f"The constant '{tensor.name}' is damaged: {first_line(error)[:200]}") from error
    dtype = dtypes[tensor.data_type]
    # copied, for NumPy's array may be a view of the file, and four bits are widened to eight
    return torch.from_numpy(array.astype(str(dtype).removeprefix("torch.")))


def _translate(bench: Workbench, op: Operator) -> None:
    """Adds what `op` computes to the graph.

    Raises:
        ModelFileError: the operator is not supported in this form.
    """
    if all(name in bench.values for name in op.outputs if name):
        return  # taken into the layer before it
    handler = SIZES.handlers[op.type] if computes_sizes(bench, op) else HANDLERS[op.type]
    try:
        result = handler(bench, op)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise op.refuse(first_line(error)[:200]) from error
    results = result if isinstance(result, tuple) else (result,)
    for name, value in zip_longest(op.outputs, results[: len(op.outputs)]):
        if value is not None:
            bench.set(name, value)
        elif bench.is_used(name):
            raise op.refuse(f"its output '{name}' is not supported")


def input_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, dtype and shape of an input.

    Raises:
        ModelFileError: it is no tensor, or of unknown rank.
    """
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise ModelFileError(f"The input '{value.name}' is not a tensor of known rank.")
    dtype = input_dtype(value.name, kind.elem_type)
    return TensorSpec(value.name, str(dtype).removeprefix("torch."), _sizes(kind))


def output_spec(value: onnx.ValueInfoProto) -> TensorSpec:
    """Name, dtype and shape of an output, as far as the file tells."""
    found = _value_type(value)
    return TensorSpec(value.name, str(found.dtype or torch.float32).removeprefix("torch."), found.shape or ())


def _value_type(value: onnx.ValueInfoProto) -> ValueType:
    kind = value.type.tensor_type
    return ValueType(DTYPES.get(kind.elem_type), _sizes(kind) if kind.HasField("shape") else None)


def _sizes(kind: onnx.TypeProto.Tensor) -> tuple[int | None, ...]:
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in kind.shape.dim)


def _identifier(name: str) -> str:
    return "".join(character if character.isalnum() else "_" for character in name)
