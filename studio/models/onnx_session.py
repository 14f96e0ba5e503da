"""A network that ONNX Runtime runs: what gives its first output for inputs, batch first."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from torch import Tensor

from studio.errors import ModelFileError, first_line

_ERRORS_ONLY = 3

#: How the runtime's errors begin.
_CODE = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")

#: Types of inputs by the runtime's names for them.
_TYPES: Mapping[str, type[np.generic]] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int16)": np.int16,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}

#: What the runtime raises for a file that it does not take; its exceptions share no base of their own.
REFUSALS = tuple(
    getattr(ort.capi.onnxruntime_pybind11_state, name)
    for name in ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
)


class OnnxSession:
    """Runs an ONNX file on the CPU with the runtime's own optimizations, none added or left out.

    Args:
        source: the file, or its bytes.
        inputs: names of the model's inputs in the order in which they are given.
        batch: samples that the network takes at once, None for any number; others are run in several goes.
        threads: how many to use, None for the runtime's choice.

    Raises:
        ModelFileError: the runtime refuses the file; so does a call where it refuses to run.
    """

    def __init__(
        self, source: Path | bytes, inputs: Sequence[str], batch: int | None = None, threads: int | None = None
    ) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = threads or 0
        try:
            self._session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except REFUSALS as error:
            raise ModelFileError(f"ONNX Runtime cannot open it: {_reason(error)}") from error
        self._inputs = tuple(inputs)
        self._batch = batch
        self._types = {given.name: _TYPES.get(given.type) for given in self._session.get_inputs()}
        self._first = self._session.get_outputs()[0].name

    def __call__(self, values: tuple[Tensor, ...]) -> Tensor:
        """The first output ``[batch, …]`` for inputs of as many samples; floats come as float32."""
        if self._batch is None:
            return self.run(values)
        count, size = len(values[0]), self._batch
        parts = [tuple(value[start : start + size] for value in values) for start in range(0, count, size)]
        return torch.cat([self.run(tuple(_filled(value, size) for value in part)) for part in parts])[:count]

    def run(self, values: tuple[Tensor, ...], limits: ort.RunOptions | None = None) -> Tensor:
        """Runs once, on as many samples as there are.

        Args:
            values: the inputs.
            limits: what may end the run early.

        Raises:
            ModelFileError: the runtime's reason.
        """
        feed = {
            name: np.asarray(value.numpy(), dtype=self._types[name])
            for name, value in zip(self._inputs, values, strict=True)
        }
        try:
            found = self._session.run([self._first], feed, limits)[0]
        except REFUSALS as error:
            raise ModelFileError(f"ONNX Runtime cannot run it: {_reason(error)}") from error
        if not isinstance(found, np.ndarray):
            raise ModelFileError("Its first output is no tensor.")
        output = torch.from_numpy(found)
        return output.float() if output.is_floating_point() else output


def _filled(values: Tensor, size: int) -> Tensor:
    """The last samples of a batch over and over until there are `size`."""
    missing = size - len(values)
    return torch.cat([values, *[values[-1:]] * missing]) if missing else values


def _reason(error: Exception) -> str:
    """The runtime's reason, without its code and the place in its own source."""
    return _CODE.sub("", first_line(error)).rstrip(".")
