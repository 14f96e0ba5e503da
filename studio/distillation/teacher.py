"""The original as a teacher: its answers to the training samples, each computed once."""

import copy

import numpy as np
import torch
from torch import Tensor, fx

from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset
from studio.evaluation.predict import torch_predict
from studio.evaluation.reference import Reference
from studio.progress import Progress, Report

#: Training samples that the teacher answers at once.
_BLOCK = 256


class Teacher:
    """Answers for the samples of one data set.

    As many answers as memory allows are computed beforehand, in an order that never changes: in which company a sample
    passes through a network may change the last bits of its output, and a resumed run must learn from the same ones.
    """

    def __init__(self, graph: fx.GraphModule, data: Dataset, device: torch.device) -> None:
        self.predict = torch_predict(_on(graph, device))
        self._data = data
        self._reference = Reference(self.predict)

    def prepare(self, report: Report) -> None:
        """Computes the answers that will be remembered; `report` may raise `Cancelled`."""
        for start in range(0, len(self._data), _BLOCK):
            if self._reference.is_full:
                return
            report(Progress(start, len(self._data), "asking the original"))
            block = np.arange(start, min(start + _BLOCK, len(self._data)))
            self._reference.outputs(block, self._data.inputs(block))

    def outputs(self, indices: Array, inputs: tuple[Tensor, ...]) -> Tensor:
        """The teacher's outputs ``[batch, …]`` for the samples at `indices`, whose inputs are `inputs`."""
        return self._reference.outputs(indices, inputs)


def _on(graph: fx.GraphModule, device: torch.device) -> fx.GraphModule:
    """The graph on `device`: itself where it is there already, otherwise a copy, as a model is never changed."""
    return graph if device.type == "cpu" else copy.deepcopy(graph).to(device)
