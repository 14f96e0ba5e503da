"""What a model's output is worth on each sample, so that two models can be compared sample by sample."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from studio.errors import DataError
from studio.evaluation.arrays import Rows
from studio.evaluation.metric_kinds import IGNORED, METRIC_KINDS, MetricKind
from studio.evaluation.summaries import Mean, Ranking, Share, Summary

#: ``score(output, wanted)`` gives float64 numbers for each sample, ``[batch]`` or ``[batch, numbers]``, as the
#: metric's summary takes them.
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Metric(MetricKind):
    """How the numbers for each sample are found and become one value with its interval.

    Attributes:
        score: of single samples.
        summary: of all of them.
    """

    score: Score = field(kw_only=True)
    summary: Summary = field(kw_only=True)


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
    return _difference("mse", output, target).square().mean(1)


def absolute_error(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of each sample over all its outputs.

    Raises:
        DataError: labels and outputs differ in size.
    """
    return _difference("mae", output, target).abs().mean(1)


def cosine_similarity(output: Tensor, target: Tensor) -> Tensor:
    """``x·y / (|x| |y|)`` of each sample's outputs and targets as one long vector; 0 where one has no direction.

    Raises:
        DataError: labels and outputs differ in size.
    """
    output, target = _alike("cosine", output, target)
    return F.cosine_similarity(output, target, 1).nan_to_num(nan=0.0)


def token_surprise(output: Tensor, label: Tensor) -> Tensor:
    """Sum of ``-ln p(label)`` over a sample's tokens, and how many there are, ``[batch, 2]``.

    Args:
        output: logits ``[batch, tokens, vocabulary]``, or ``[batch, classes]`` for one label a sample.
        label: what comes next, ``[batch, tokens]`` or ``[batch]``; `IGNORED` does not count.

    Raises:
        DataError: there is not one label for each of the output's tokens.
    """
    if output.shape[:-1] != label.shape or output.dim() < 2:
        raise DataError(
            f"perplexity: the labels are {_times(label.shape[1:])} for each sample, but the model gives "
            f"{_times(output.shape[1:])}; it takes one label for each token, of which the last size is the vocabulary."
        )
    flat, wanted = output.flatten(0, -2).float(), label.flatten().long()
    strange = wanted[(wanted != IGNORED) & ((wanted < 0) | (wanted >= flat.shape[1]))]
    if len(strange):
        raise DataError(
            f"perplexity: there is a label {int(strange[0])}, but the vocabulary has {flat.shape[1]}; "
            f"tokens that do not count have {IGNORED}."
        )
    lost = F.cross_entropy(flat, wanted, reduction="none", ignore_index=IGNORED).double()
    counted = (wanted != IGNORED).double()
    return torch.stack([part.reshape(len(label), -1).sum(1) for part in (lost, counted)], 1)


def same_answer(output: Tensor, original: Tensor) -> Tensor:
    """Right when the highest output is the original's; of a single output the sign decides.

    Outputs ``[batch, tokens, vocabulary]`` and ``[batch, classes, height, width]`` have an answer for every token or
    pixel: then it is how many are right, and how many there are, ``[batch, 2]``.
    """
    if output.dim() < 3 or output[0].numel() == 1:
        return _same(output.flatten(1), original.flatten(1), 1).to(torch.float64)
    same = _same(output, original, 2 if output.dim() == 3 else 1).flatten(1).to(torch.float64)
    return torch.stack([same.sum(1), torch.full((len(same),), same.shape[1], dtype=torch.float64)], 1)


def class_ranks(output: Tensor, label: Tensor) -> Tensor:
    """A score for each class and, last, the label, ``[batch, classes + 1]``; for two classes one score is enough.

    Raises:
        DataError: the labels are not one class for each sample.
    """
    flat = output.flatten(1).double()
    if label.dim() != 1 or label.is_floating_point():
        raise DataError("auroc needs whole numbers as labels, one for each sample.")
    if flat.shape[1] == 2:
        flat = flat[:, 1:] - flat[:, :1]
    elif flat.shape[1] > 2 and not torch.allclose(flat.sum(1), torch.ones(len(flat), dtype=torch.float64), atol=1e-3):
        flat = flat.softmax(1)  # ranks are taken over samples, which logits do not allow: each has an offset of its own
    return torch.cat([flat.nan_to_num(nan=-torch.inf), label[:, None].double()], 1)


def _metric(name: str, score: Score, summary: Summary) -> Metric:
    kind = METRIC_KINDS[name]
    return Metric(**{part.name: getattr(kind, part.name) for part in fields(MetricKind)}, score=score, summary=summary)


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        _metric("top1", top_k(1), Share()),
        _metric("top5", top_k(5), Share()),
        _metric("auroc", class_ranks, Ranking()),
        _metric("perplexity", token_surprise, Mean(exponential=True)),
        _metric("mse", squared_error, Mean()),
        _metric("mae", absolute_error, Mean()),
        _metric("cosine", cosine_similarity, Mean()),
        _metric("agreement", same_answer, Share()),
    )
}


#: Stands for the dimensions of an output of one number for each sample.
SINGLE = -1


def default_metric(labels: Rows | None, outputs: int | None = None) -> str:
    """The metric that labels suggest.

    Whole numbers are classes, measured by top-1, or by AUROC where the model has a single output; one for each token
    of a text they are measured by perplexity. Other numbers are measured by mse, and without labels it is agreement
    with the original.

    Args:
        labels: of all samples.
        outputs: dimensions of the model's output (with the batch), `SINGLE` for one number a sample, None if unknown.
    """
    if labels is None:
        return "agreement"
    if not np.issubdtype(labels.dtype, np.integer):
        return "mse"
    if labels.ndim == 1:
        return "auroc" if outputs == SINGLE else "top1"
    return "perplexity" if labels.ndim == 2 and outputs == 3 else "mse"


def _difference(name: str, output: Tensor, target: Tensor) -> Tensor:
    output, target = _alike(name, output, target)
    return output - target


def _alike(name: str, output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    output, target = output.flatten(1), target.reshape(len(target), -1)
    if output.shape != target.shape:
        raise DataError(f"{name}: a label holds {target.shape[1]} values, the model gives {output.shape[1]}.")
    return output.to(torch.float64), target.to(torch.float64)


def _same(output: Tensor, original: Tensor, axis: int) -> Tensor:
    """Whether the highest along `axis` is the original's, where all are finite."""
    if output.shape[axis] == 1:
        same = (output > 0) == (original > 0)
        return (same & output.isfinite()).squeeze(axis)
    same = output.nan_to_num(nan=-torch.inf).argmax(axis) == original.argmax(axis)
    return same & output.isfinite().all(axis)


def _class_scores(output: Tensor) -> Tensor:
    """Outputs as ``[batch, classes]``.

    Raises:
        DataError: the model gives more than one score for each class, or only one.
    """
    flat = output.flatten(1)
    if flat.shape[1] < 2 or flat.shape[1] != max(output.shape[1:]):
        raise DataError(
            f"top-1 needs one score for each class, but the model gives {_times(output.shape[1:])} values; "
            "use 'auroc' or 'mse' with labels, 'agreement' without."
        )
    return flat


def _times(shape: torch.Size) -> str:
    return "×".join(str(size) for size in shape) or "single numbers"
