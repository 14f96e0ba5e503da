"""ONNX Runtime as one more thing that predicts, as a user of the exported file would set it up."""

from collections.abc import Sequence
from pathlib import Path

import onnxruntime as ort
import torch
from torch import Tensor

from studio.errors import ExportError, first_line
from studio.evaluation.predict import Predict

_ERRORS_ONLY = 3


def runtime_predict(path: Path, inputs: Sequence[str], threads: int | None = None) -> Predict:
    """A `Predict` that runs an ONNX file on the CPU with the runtime's own optimizations, none added or left out.

    Args:
        path: the file.
        inputs: names of the model's inputs in the order in which they are given.
        threads: how many to use, None for the runtime's choice.

    Raises:
        ExportError: the runtime refuses the file; so does what is returned where it refuses to run.
    """
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = threads or 0
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise ExportError(f"ONNX Runtime cannot open the exported file: {first_line(error)}") from error

    def predict(values: tuple[Tensor, ...]) -> Tensor:
        feed = {name: value.numpy() for name, value in zip(inputs, values, strict=True)}
        try:
            return torch.from_numpy(session.run(None, feed)[0])
        except _REFUSALS as error:
            raise ExportError(f"ONNX Runtime cannot run the exported file: {first_line(error)}") from error

    return predict


#: What the runtime raises for a file that it does not take; its exceptions share no base of their own.
_REFUSALS = tuple(
    getattr(ort.capi.onnxruntime_pybind11_state, name)
    for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
)
