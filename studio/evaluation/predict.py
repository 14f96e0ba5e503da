"""Whatever turns inputs into outputs, a torch graph or a session of another runtime alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, fx

from studio.evaluation.arrays import Array

#: Gets a model's inputs, batch first, and gives its first output ``[batch, …]``.
Predict = Callable[[tuple[Tensor, ...]], Tensor]


@runtime_checkable
class HasOutputs(Protocol):
    """What gives outputs of samples it can tell apart, and so may remember what it knows of them."""

    def outputs(self, indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """The first output ``[batch, …]`` for the samples at `indices`, whose inputs are `inputs`."""
        ...


@dataclass(frozen=True)
class Forgetful:
    """A `Predict` that is asked anew each time."""

    predict: Predict

    def outputs(self, _indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """See `HasOutputs.outputs`."""
        return self.predict(inputs)


def torch_predict(graph: fx.GraphModule) -> Predict:
    """A `Predict` that runs `graph` where its parameters are and gives the output on the CPU.

    The graph must be in eval mode, as `studio.models` and `studio.compression` leave it.
    """
    device = device_of(graph)

    @torch.inference_mode()
    def predict(inputs: tuple[Tensor, ...]) -> Tensor:
        return first_output(graph(*(part.to(device) for part in inputs))).to("cpu")

    return predict


def in_parts(predict: Predict, size: int) -> Predict:
    """A `Predict` that passes up to `size` samples on at once."""

    def parted(inputs: tuple[Tensor, ...]) -> Tensor:
        starts = range(0, len(inputs[0]), size)
        return torch.cat([predict(tuple(part[start : start + size] for part in inputs)) for start in starts])

    return parted


def device_of(graph: fx.GraphModule) -> torch.device:
    """Where a graph's parameters are."""
    return next((parameter.device for parameter in graph.parameters()), torch.device("cpu"))


def first_output(outputs: object) -> Tensor:
    """The first of a graph's outputs, which is the one that is measured and trained.

    Raises:
        TypeError: it is no tensor.
    """
    first = outputs[0] if isinstance(outputs, (tuple, list)) else outputs
    if not isinstance(first, Tensor):
        raise TypeError(f"the graph gives {type(first).__name__} where a tensor is expected")
    return first
