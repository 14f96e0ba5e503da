"""The original as a teacher: its answers to the training samples, each computed once."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, fx

from studio.distillation.features import tapped
from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset
from studio.evaluation.predict import first_output, torch_predict
from studio.evaluation.reference import Reference
from studio.progress import Progress, Report

#: Training samples that the teacher answers at once.
_BLOCK = 256


class Teacher:
    """Answers for the samples of one data set.

    As many answers as memory allows are computed beforehand, in an order that never changes: in which company a sample
    passes through a network may change the last bits of its output, and a resumed run must learn from the same ones.

    Args:
        graph: the original; stays as it is.
        data: the samples.
        device: where it runs.
        layers: paths of those whose outputs are told too.
        recalls: whether samples come as they are, so that answers are worth remembering.
    """

    def __init__(
        self, graph: fx.GraphModule, data: Dataset, device: torch.device, layers: Sequence[str], *, recalls: bool
    ) -> None:
        # tapping takes a copy of its own: others may run the original meanwhile
        self._graph = copy.deepcopy(graph).to(device) if layers or device.type != "cpu" else graph
        self.predict = torch_predict(self._graph)
        self._data = data
        self._device = device
        self._layers = layers
        self._recalls = recalls and not layers
        self._reference = Reference(self.predict)

    def prepare(self, report: Report) -> None:
        """Computes the answers that will be remembered; `report` may raise `Cancelled`."""
        for start in range(0, len(self._data) if self._recalls else 0, _BLOCK):
            if self._reference.is_full:
                return
            report(Progress(start, len(self._data), "asking the original"))
            block = np.arange(start, min(start + _BLOCK, len(self._data)))
            self._reference.outputs(block, self._data.inputs(block))

    def recalled(self, indices: Array, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """`asked` for the samples at `indices`, whose inputs are `inputs`."""
        return (self._reference.outputs(indices, inputs), {}) if self._recalls else self.asked(inputs)

    @torch.no_grad()
    def asked(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The teacher's outputs ``[batch, …]`` and, by layer, its features."""
        with tapped(self._graph, self._layers) as features:
            outputs = first_output(self._graph(*(part.to(self._device) for part in inputs)))
        return outputs, features
