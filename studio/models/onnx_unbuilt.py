"""Opening an ONNX file whose graph the studio cannot build: its layers, and its network where ONNX Runtime runs it."""

import hashlib
from dataclasses import replace
from pathlib import Path

from studio.errors import ModelFileError, OperatorError
from studio.models.layer import ABILITIES, Layer
from studio.models.loose import weights_alone
from studio.models.model import Model
from studio.models.onnx_loose import OnnxGraph, read_graph
from studio.models.onnx_trial import try_runtime
from studio.progress import Progress, Report

#: Why there is so much that cannot be done to a layer that is held in integers.
_INTEGERS = "its weights are integers in the file already"

_FACTORS = "several nodes read its weight, or one that factors cannot take the place of"


def open_unbuilt(path: Path, refused: OperatorError, report: Report) -> Model:
    """The layers of an ONNX file whose graph holds what the studio does not know.

    Args:
        path: the file.
        refused: what is not known.
        report: told what is being done; may raise `Cancelled`.

    Raises:
        OperatorError: it has no layers either.
        ModelFileError: it is damaged.
    """
    content = path.read_bytes()
    try:
        graph = read_graph(content, path.parent)
    except ModelFileError as error:
        raise ModelFileError(f"{path.name}: {error}") from error
    if not graph.kinds:
        raise refused
    why = _inner(str(refused).removeprefix(f"{path.name}: "))
    files = [path, *(path.parent / name for name in sorted(graph.files))]
    alone = weights_alone(path, "onnx", files, graph.tensors, f"only its weights are open: {why}", graph.kinds)
    layers = tuple(_in_graph(layer, alone, graph) for layer in alone.info.layers)
    digest = hashlib.sha256(content)
    digest.update(alone.info.fingerprint.encode())  # of the weights that lie in other files
    model = replace(alone, info=replace(alone.info, layers=layers, fingerprint=digest.hexdigest()), onnx=graph)
    report(Progress(2, 3, "Trying ONNX Runtime"))
    return _running(model, graph, why)


def _running(model: Model, graph: OnnxGraph, why: str) -> Model:
    """The model with its network where ONNX Runtime runs it, else with the reason why not."""
    try:
        found = try_runtime(graph)
    except ModelFileError as error:
        reason = f"only its weights are open: {why}; {_inner(str(error))}"
        return replace(model, info=replace(model.info, lacks=dict.fromkeys(ABILITIES, reason)))
    reason = f"it runs in ONNX Runtime alone: {why}"
    lacks = dict.fromkeys(("fit", "train"), reason)
    if found.batch not in (None, 1):
        lacks["time"] = f"it takes {found.batch} samples at once, and times are those of one"
    layers = tuple(
        replace(layer, methods={**layer.methods, "channels": reason, "activations": reason})
        for layer in model.info.layers
    )
    info = replace(model.info, inputs=found.inputs, outputs=found.outputs, layers=layers, lacks=lacks, runtime=True)
    return replace(model, info=info, free_size=found.size, onnx=replace(graph, batch=found.batch))


def _in_graph(layer: Layer, model: Model, graph: OnnxGraph) -> Layer:
    """The layer with how the graph holds its weight, and what can be done to it there."""
    held = graph.held.get(model.stored_name(layer.name))
    if held is None:
        barred = dict.fromkeys(("prune", "n_m", "rank", "quantize"), _INTEGERS)
        return replace(layer, methods={**layer.methods, **barred})
    rank = layer.methods["rank"] if held.reader is not None or not layer.allows("rank") else _FACTORS
    return replace(layer, held=held, methods={**layer.methods, "rank": rank})


def _inner(sentence: str) -> str:
    """A sentence as it goes on another."""
    line = sentence.strip().rstrip(".")
    return line[:1].lower() + line[1:] if line[1:2].islower() else line
