"""A model as a teacher: its answers to the training samples, each computed once."""

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, fx

from studio.distillation.devices import Arithmetic
from studio.distillation.features import tapped
from studio.distillation.memory import bytes_of
from studio.errors import TrainingError
from studio.evaluation.arrays import Array
from studio.evaluation.data import Dataset
from studio.evaluation.predict import first_output, in_parts, torch_predict
from studio.evaluation.reference import MEMORY_LIMIT, Reference
from studio.models.layer import ModelInfo
from studio.progress import Progress, Report

#: Training samples that the teacher answers at once, where no limit says otherwise.
_BLOCK = 256


def check_pair(teacher: ModelInfo, student: ModelInfo) -> None:
    """Makes sure that two models take the same inputs and give the same output; names may differ.

    Raises:
        TrainingError: they do not; the message says where.
    """
    if len(teacher.inputs) != len(student.inputs):
        raise TrainingError(f"The student takes {len(student.inputs)} inputs, the teacher {len(teacher.inputs)}.")
    pairs = [*zip(teacher.inputs, student.inputs, strict=True), (teacher.outputs[0], student.outputs[0])]
    for theirs, mine in pairs:
        if theirs.dtype != mine.dtype or not _agree(theirs.shape, mine.shape):
            raise TrainingError(
                f"{mine.name} of the student is {mine.dtype} {_shown(mine.shape)}, {theirs.name} of the teacher "
                f"{theirs.dtype} {_shown(theirs.shape)}; a student must take and give what its teacher does."
            )


def _agree(first: Sequence[int | None], second: Sequence[int | None]) -> bool:
    return len(first) == len(second) and all(None in (a, b) or a == b for a, b in zip(first, second, strict=True))


def _shown(shape: Sequence[int | None]) -> str:
    return "×".join("any" if size is None else str(size) for size in shape)


class Teacher:
    """Answers for the samples of one data set.

    As many answers as memory allows are computed beforehand, in an order that never changes: in which company a sample
    passes through a network may change the last bits of its output, and a resumed run must learn from the same ones.

    Args:
        graph: stays as it is.
        data: the samples.
        arithmetic: where and how it runs.
        layers: paths of those whose outputs are told too.
        recalls: whether samples come as they are, so that answers are worth remembering.
        remembers: bytes of answers that are kept of one data set.

    Attributes:
        at_once: samples that pass through it at once at most.
        remembers: see above.
    """

    def __init__(
        self,
        graph: fx.GraphModule,
        data: Dataset,
        arithmetic: Arithmetic,
        layers: Sequence[str],
        *,
        recalls: bool,
        remembers: int = MEMORY_LIMIT,
    ) -> None:
        # a copy of its own: others may run the original meanwhile
        self._graph = arithmetic.prepared(copy.deepcopy(graph))
        self._data = data
        self._arithmetic = arithmetic
        self._layers = layers
        self._recalls = recalls and not layers
        self.remembers = remembers
        self._reference = Reference(self.predict, remembers)
        self.at_once = _BLOCK

    @property
    def bytes(self) -> int:
        """Of its weights."""
        return bytes_of(self._graph.state_dict().values())

    def predict(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """The teacher's outputs ``[batch, …]``, up to `at_once` samples at once."""
        return in_parts(torch_predict(self._graph), self.at_once)(inputs)

    def prepare(self, report: Report) -> None:
        """Computes the answers that will be remembered; `report` may raise `Cancelled`."""
        size = min(self.at_once, _BLOCK)
        for start in range(0, len(self._data) if self._recalls else 0, size):
            if self._reference.is_full:
                return
            report(Progress(start, len(self._data), "asking the original"))
            block = np.arange(start, min(start + size, len(self._data)))
            self._reference.outputs(block, self._data.inputs(block))

    def recalled(self, indices: Array, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """`asked` for the samples at `indices`, whose inputs are `inputs`."""
        return (self._reference.outputs(indices, inputs), {}) if self._recalls else self.asked(inputs)

    def asked(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The teacher's outputs ``[batch, …]`` and, by layer, its features."""
        parts = [self._asked(part) for part in _split(inputs, self.at_once)]
        if len(parts) == 1:
            return parts[0]
        outputs = torch.cat([part for part, _ in parts])
        return outputs, {name: torch.cat([features[name] for _, features in parts]) for name in parts[0][1]}

    @torch.no_grad()
    def _asked(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Mapping[str, Tensor]]:
        with tapped(self._graph, self._layers) as features, self._arithmetic.context():
            outputs = first_output(self._graph(*self._arithmetic.placed(inputs)))
        return outputs.float(), features


def _split(inputs: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    """Inputs, batch first, in parts of up to `size` samples."""
    for start in range(0, len(inputs[0]), size):
        yield tuple(part[start : start + size] for part in inputs)
