"""What a model's output is worth on each sample, so that two models can be compared sample by sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from studio.errors import DataError
from studio.evaluation.arrays import Array

#: ``score(output, wanted)`` gives one float64 number for each sample, ``[batch]``.
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Metric:
    """How one number for each sample is found and read.

    Attributes:
        name: as the data description and the reports call it.
        unit: of the mean: ``%`` for shares, empty otherwise.
        higher_is_better: whether a larger mean is the better one.
        score: per-sample scores; 1 (right) or 0 (wrong) where the unit is ``%``.
        against: what the score holds the output against: ``labels`` or the ``original``'s output.
    """

    name: str
    unit: str
    higher_is_better: bool
    score: Score
    against: str = "labels"

    @property
    def is_share(self) -> bool:
        """Whether each sample is either right or wrong."""
        return self.unit == "%"


def top_k(k: int) -> Score:
    """Right when the label is among the `k` highest outputs; outputs that are not finite are wrong."""

    def score(output: Tensor, label: Tensor) -> Tensor:
        logits = _class_scores(output)
        highest = logits.nan_to_num(nan=-torch.inf).topk(min(k, logits.shape[1])).indices
        right = (highest == label[:, None]).any(1) & logits.isfinite().all(1)
        return right.to(torch.float64)

    return score


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each sample over all its outputs.

    Raises:
        DataError: labels and outputs differ in size.
    """
    output, target = output.flatten(1), target.reshape(len(target), -1)
    if output.shape != target.shape:
        raise DataError(f"mse: a label holds {target.shape[1]} values, the model gives {output.shape[1]}.")
    return (output.to(torch.float64) - target.to(torch.float64)).square().mean(1)


def same_answer(output: Tensor, original: Tensor) -> Tensor:
    """Right when the highest output is the original's; of a single output the sign decides."""
    output, original = output.flatten(1), original.flatten(1)
    if output.shape[1] == 1:
        same = (output[:, 0] > 0) == (original[:, 0] > 0)
    else:
        same = output.nan_to_num(nan=-torch.inf).argmax(1) == original.argmax(1)
    return (same & output.isfinite().all(1)).to(torch.float64)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("top1", "%", True, top_k(1)),
        Metric("top5", "%", True, top_k(5)),
        Metric("mse", "", False, squared_error),
        Metric("agreement", "%", True, same_answer, against="original"),
    )
}


def default_metric(labels: Array | None) -> str:
    """The metric that labels suggest: classes top-1, other numbers mse, none agreement with the original."""
    if labels is None:
        return "agreement"
    return "top1" if labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer) else "mse"


def _class_scores(output: Tensor) -> Tensor:
    """Outputs as ``[batch, classes]``.

    Raises:
        DataError: the model gives more than one score for each class, or only one.
    """
    flat = output.flatten(1)
    if flat.shape[1] < 2 or flat.shape[1] != max(output.shape[1:]):
        shape = "×".join(str(size) for size in output.shape[1:])
        raise DataError(
            f"top-1 needs one score for each class, but the model gives {shape} values; use 'mse' or 'agreement'."
        )
    return flat
