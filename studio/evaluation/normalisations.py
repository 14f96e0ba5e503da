"""The usual ways to normalise, and which of them a model answers best to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from studio.evaluation.data_guess import Tried
from studio.evaluation.description import DataDescription
from studio.evaluation.metrics import Metric
from studio.evaluation.predict import Predict

#: Samples that pass through the model at once.
BATCH = 64


@dataclass(frozen=True)
class Normalisation:
    """``(value / scale - mean) / std``, by a name for people."""

    name: str
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    bgr: bool = False

    def apply(self, stored: Tensor, channel: int) -> Tensor:
        """Converts samples ``[batch, …]`` whose channels are dimension `channel`."""
        stored = stored.flip(channel) if self.bgr else stored
        shape = [-1 if axis == channel else 1 for axis in range(stored.dim())]
        mean, std = (torch.tensor(values).reshape(shape if len(values) > 1 else []) for values in (self.mean, self.std))
        return (stored / self.scale - mean) / std

    def write(self, described: DataDescription) -> DataDescription:
        """The description with this normalisation."""
        changed = {"scale": self.scale, "mean": self.mean, "std": self.std}
        return described.model_copy(update=changed | ({"colour": "bgr"} if self.bgr else {}))


PLAIN = Normalisation("as it is stored")
IMAGENET = Normalisation("by ImageNet's mean and deviation", 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CIFAR = Normalisation("by CIFAR-10's mean and deviation", 255, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
MNIST = Normalisation("by MNIST's mean and deviation", 255, (0.1307,), (0.3081,))
UNIT = Normalisation("from 0 to 1", 255)
SIGNED = Normalisation("from −1 to 1", 255, (0.5,), (0.5,))
CAFFE = Normalisation("as Caffe has it: blue first, minus the mean", 1, (103.939, 116.779, 123.68), bgr=True)


def of_images(channels: int, peak: float) -> list[Normalisation]:
    """The usual ways for images.

    Args:
        channels: 1 or 3.
        peak: largest value that can be stored: 255 for bytes, 1 for shares.
    """
    usual = [UNIT, SIGNED, *((IMAGENET, CIFAR, CAFFE) if channels == 3 else (MNIST,))]
    stretched = [replace(way, scale=way.scale * peak / 255) for way in usual if way is not CAFFE or peak == 255]
    return stretched if peak == 1 else [PLAIN, *stretched]


def own(stored: Tensor, channel: int, scale: float, apart: bool) -> Normalisation:
    """By the samples' own mean and deviation, of each channel `apart` or of all."""
    axes = [axis for axis in range(stored.dim()) if axis != channel] if apart else list(range(stored.dim()))
    values = (stored / scale).double()
    mean, std = values.mean(axes).reshape(-1), values.std(axes).reshape(-1)
    std[std == 0] = 1
    return Normalisation("by the data's own mean and deviation", scale, _rounded(mean), _rounded(std))


def rank(
    predict: Predict, stored: Tensor, channel: int, ways: Sequence[Normalisation], labels: Tensor, metric: Metric
) -> tuple[list[Normalisation], list[Tried]]:
    """The ways from the best to the worst, each with the metric's value.

    Several ways may do about as well: among those whose values cannot be told apart on the same samples, the one that
    leaves the labels least surprising (the smallest cross-entropy) comes first.
    """
    outputs = [_outputs(predict, stored, channel, way) for way in ways]
    scores = [metric.score(output, labels).numpy() for output in outputs]
    values = [metric.summary.value(numbers)[0] for numbers in scores]
    sign = 1 if metric.higher_is_better else -1
    best = max(range(len(ways)), key=lambda place: sign * values[place])

    def told_apart(place: int) -> bool:
        _, low, high = metric.summary.gain(scores[place], scores[best])
        return (high if sign > 0 else -low) < 0

    def key(place: int) -> tuple[bool, float, float]:
        surprise = _surprise(outputs[place], labels) if not told_apart(place) else 0.0
        return told_apart(place), surprise, -sign * values[place]

    order = sorted(range(len(ways)), key=key)
    return [ways[place] for place in order], [Tried(ways[place].name, float(values[place])) for place in order]


def fitted(
    graph: Callable[[Tensor], Tensor], stored: Tensor, start: Normalisation, labels: Tensor, steps: int = 60
) -> Normalisation:
    """One mean and one deviation that make the labels least surprising, for data of an unknown unit.

    Two numbers are learnt from the samples, by Adam on the cross-entropy, from `start`.

    Args:
        graph: the model, in eval mode.
        stored: samples ``[batch, …]``.
        start: where to begin, with a single mean and deviation.
        labels: classes ``[batch]``.
        steps: of Adam.
    """
    shift, stretch = (torch.zeros((), requires_grad=True) for _ in range(2))
    optimizer = torch.optim.Adam([shift, stretch], lr=0.1)
    base = start.apply(stored, 1)
    for _ in range(steps):
        loss = F.cross_entropy(graph((base - shift) * torch.exp(stretch)).flatten(1), labels)
        shift.grad, stretch.grad = torch.autograd.grad(loss, [shift, stretch])
        optimizer.step()
    deviation = start.std[0] / float(torch.exp(stretch.detach()))
    mean = start.mean[0] + start.std[0] * float(shift.detach())
    return Normalisation(
        "by a mean and deviation fitted to the labels", start.scale, _rounded(mean), _rounded(deviation)
    )


def _outputs(predict: Predict, stored: Tensor, channel: int, way: Normalisation) -> Tensor:
    starts = range(0, len(stored), BATCH)
    return torch.cat([predict((way.apply(stored[start : start + BATCH], channel),)) for start in starts])


def _surprise(output: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy where labels are classes, 0 otherwise."""
    if labels.is_floating_point() or labels.dim() != 1 or output.dim() != 2 or output.shape[1] < 2:
        return 0.0
    loss = float(F.cross_entropy(output.float(), labels))
    return loss if np.isfinite(loss) else float("inf")


def _rounded(values: Tensor | float) -> tuple[float, ...]:
    """Four significant digits are more than enough, and can be read."""
    return tuple(float(f"{float(value):.4g}") for value in torch.as_tensor(values).reshape(-1))
