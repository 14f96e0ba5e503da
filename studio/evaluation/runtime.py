"""Predictions of a model, wherever its network runs: in torch, or in ONNX Runtime where the studio cannot build it."""

import torch

from studio.compression.compressed import CompressedModel
from studio.errors import ModelFileError
from studio.evaluation.predict import Predict, torch_predict
from studio.models.model import Model
from studio.models.onnx_places import with_weights
from studio.models.onnx_session import OnnxSession


def predict_of(model: Model | CompressedModel) -> Predict:
    """A `Predict` of a model or a compressed one."""
    original = model if isinstance(model, Model) else model.model
    if original.info.runtime:
        return session_of(original, None if isinstance(model, Model) else model)
    return torch_predict(model.graph)


def session_of(model: Model, compressed: CompressedModel | None) -> Predict:
    """A `Predict` that runs a model's own graph in ONNX Runtime, with the weights that a recipe makes of its own.

    Args:
        model: one that runs in ONNX Runtime.
        compressed: made of it; None runs the original.

    Raises:
        ModelFileError: the runtime refuses the graph; so does what is returned where it refuses to run.
    """
    if model.onnx is None:
        raise ModelFileError(f"{model.info.path}: there is no ONNX graph to run.")
    changed = {} if compressed is None else {name: compressed.effective_weight(name) for name in compressed.settings}
    graph = with_weights(model.onnx.proto, {model.stored_name(name): weight for name, weight in changed.items()})
    names = [spec.name for spec in model.info.inputs]
    return OnnxSession(graph.SerializeToString(), names, model.onnx.batch, torch.get_num_threads())
