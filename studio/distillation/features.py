"""Feature matching: the student's inner layers answer as the teacher's do."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from studio.compression.compressed import CompressedModel
from studio.errors import TrainingError, did_you_mean
from studio.models.model import Model


@dataclass(frozen=True)
class Pair:
    """A layer of the student and the one of the teacher that it is held against."""

    student: str
    teacher: str


def pairs_of(features: Sequence[str], student: Sequence[str], teacher: Sequence[str]) -> tuple[Pair, ...]:
    """Reads ``layer`` or ``layer=other``, the student's layer first.

    Args:
        features: the texts.
        student: layers that the student has.
        teacher: layers that the teacher has.

    Raises:
        TrainingError: the model has no such layer.
    """
    pairs = tuple(
        Pair(own.strip(), (other or own).strip()) for own, _, other in (one.partition("=") for one in features)
    )
    for pair in pairs:
        _check_layer(pair.student, student, "student")
        _check_layer(pair.teacher, teacher, "teacher")
    return pairs


def _check_layer(name: str, layers: Sequence[str], whose: str) -> None:
    if name not in layers:
        raise TrainingError(f"features: the {whose} has no layer '{name}'.{did_you_mean(name, layers)}")


@contextmanager
def tapped(graph: fx.GraphModule, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collects the outputs of the named layers while the graph runs inside the block."""
    seen = dict[str, Tensor]()

    def note(name: str) -> Any:
        return lambda _module, _inputs, output: seen.__setitem__(name, output)

    hooks = [graph.get_submodule(name).register_forward_hook(note(name)) for name in dict.fromkeys(names)]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


class Adapter(nn.Module):
    """A 1×1 convolution, or its like for other shapes, from the student's channels to the teacher's.

    Args:
        start: its weight to begin with, ``[teacher's, student's]``.
        axis: along which the channels run.
    """

    def __init__(self, start: Tensor, axis: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(start)
        self._axis = axis

    def forward(self, features: Tensor) -> Tensor:
        """``[batch, student's, …]`` to ``[batch, teacher's, …]``."""
        return F.linear(features.movedim(self._axis, -1), self.weight).movedim(-1, self._axis)


class FeatureLoss(nn.Module):
    """``mean over pairs of  mean (A f_s − f_t)² / mean f_t²``, A being an `Adapter` where widths differ.

    A. Romero et al., FitNets: hints for thin deep nets, arXiv 1412.6550; divided by the teacher's power, so that one
    weight fits all layers.
    """

    def __init__(self, pairs: Sequence[Pair], student: CompressedModel, teacher: Model) -> None:
        super().__init__()
        self.pairs = pairs
        self.adapters = nn.ModuleList([_adapter(pair, student, teacher) for pair in pairs])

    def forward(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The loss for features by layer."""
        losses = list[Tensor]()
        for pair, adapt in zip(self.pairs, self.adapters, strict=True):
            wanted, given = teacher[pair.teacher].float(), adapt(student[pair.student].float())
            if wanted.shape != given.shape:
                shapes = f"{tuple(given.shape[1:])} and {tuple(wanted.shape[1:])}"
                raise TrainingError(f"features: {pair.student} and {pair.teacher} differ in size: {shapes}.")
            losses.append(F.mse_loss(given, wanted) / wanted.square().mean().clamp_min(torch.finfo(torch.float32).tiny))
        return torch.stack(losses).mean()


def _adapter(pair: Pair, student: CompressedModel, teacher: Model) -> nn.Module:
    """What brings the student's channels to the teacher's; to begin with, those that stayed are passed on."""
    layer, cut = teacher.module(pair.teacher), student.cuts.get(pair.student)
    mine, theirs = (len(one.get_parameter("weight")) for one in (student.model.module(pair.student), layer))
    start = torch.eye(theirs, mine)
    if cut is not None:
        start = start[:, list(cut.outputs)].contiguous()
    if start.shape[0] == start.shape[1]:
        return nn.Identity()
    return Adapter(start, -1 if isinstance(layer, nn.Linear) else 1)
