"""Measuring a model in growing blocks, paired with the original sample by sample."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from studio.compression.compressed import CompressedModel
from studio.evaluation.arrays import Array, Indices
from studio.evaluation.intervals import ratio_spread
from studio.evaluation.metrics import METRICS, Metric
from studio.evaluation.predict import Forgetful, HasOutputs, Predict, torch_predict
from studio.evaluation.random_input import DEFAULT_COUNT, RandomInput
from studio.evaluation.reference import Reference
from studio.evaluation.result import Measurement, Result
from studio.evaluation.runtime import predict_of
from studio.models.model import Model
from studio.progress import Progress, Report, silent

__all__ = ["Predict", "Reference", "Samples", "evaluate", "measure", "torch_predict"]

#: Samples that pass through a model at once; progress is reported, and cancelling possible, after each such batch.
BATCH = 128

#: Samples in all after which a first, second, third result is published; all of them give the last.
BLOCKS = (128, 512, 2048)


class Samples(Protocol):
    """What can be measured on: a `studio.evaluation.data.Dataset` or random input."""

    @property
    def metric(self) -> str:
        """A name of `METRICS`."""
        ...

    @property
    def labelled(self) -> bool:
        """Whether there are labels."""
        ...

    def __len__(self) -> int: ...

    def inputs(self, indices: Indices) -> tuple[Tensor, ...]:
        """The model's inputs for the samples at `indices`."""
        ...

    def labels(self, indices: Indices) -> Tensor | None:
        """Their labels."""
        ...

    def order(self, seed: int) -> Array:
        """All indices in the order they are measured."""
        ...


def unpublished(_result: Result) -> None:
    """Receives results that nobody waits for."""


def evaluate(
    model: Model | CompressedModel,
    data: Samples,
    *,
    original: Model | CompressedModel | None = None,
    samples: int | None = None,
    seed: int = 0,
    report: Report = silent,
) -> Result:
    """Measures a model, or a compressed model beside its original.

    Args:
        model: a `Model` or a `CompressedModel`.
        data: what to measure on, from `studio.evaluation.data.open_data`.
        original: what to compare with on the same samples.
        samples: at most this many, None for all.
        seed: fixes which and in what order.
        report: receives progress; may raise `Cancelled`.

    Raises:
        DataError: the labels do not fit the model's outputs.
    """
    reference = Reference(predict_of(original)) if original is not None else None
    return measure(predict_of(model), data, reference=reference, samples=samples, seed=seed, report=report)


def measure(
    predict: Predict | HasOutputs,
    data: Samples | None,
    *,
    reference: Reference | Predict | None = None,
    model: Model | None = None,
    samples: int | None = None,
    seed: int = 0,
    blocks: Sequence[int] = BLOCKS,
    enough: Callable[[Result], bool] | None = None,
    fit: str = "layer",
    report: Report = silent,
    publish: Callable[[Result], None] = unpublished,
) -> Result:
    """Measures `predict` on samples in random order, every beginning of which is balanced over the classes.

    Args:
        predict: what to measure: `torch_predict` of a graph, or a variant of a `studio.evaluation.replay.Replay`.
        data: what to measure on; None takes random input of `model`, on which agreement with the original counts.
        reference: the original, measured on the same samples; needed for agreement.
        model: whose random input stands in for data.
        samples: at most this many, None for all.
        seed: fixes which samples and in what order.
        blocks: after how many samples a result is published, ascending.
        enough: asked after each block whether its result will do; None measures all samples.
        fit: noted in the result.
        report: receives progress for every `BATCH` samples; may raise `Cancelled`.
        publish: receives a result after each block, the whole last.

    Raises:
        DataError: the labels do not fit the model's outputs.
        ValueError: there is neither data nor a model, or agreement is asked for without a reference.
    """
    if data is None:
        if model is None:
            raise ValueError("measuring without data needs the model that random input is made for")
        data = RandomInput(model, min(samples or DEFAULT_COUNT, DEFAULT_COUNT))
    if reference is not None and not isinstance(reference, Reference):
        reference = Reference(reference)
    measured = predict if isinstance(predict, HasOutputs) else Forgetful(predict)
    metric = METRICS[data.metric]
    if reference is None and (metric.against == "original" or not data.labelled):
        raise ValueError(f"{metric.name} without labels needs the original as reference")
    total = min(samples or len(data), len(data))
    tally = _Tally(metric, total, data.labelled, fit)
    order = data.order(seed)[:total]
    for start, stop in pairwise(_bounds(total, blocks)):
        for batch in _batches(order[start:stop]):
            inputs = data.inputs(batch)
            original = reference.outputs(batch, inputs) if reference is not None else None
            tally.add(measured.outputs(batch, inputs), original, data.labels(batch))
            report(Progress(tally.count, total, "measuring"))
        result = tally.result()
        publish(result)
        if enough is not None and enough(result):
            break
    return result


class _Tally:
    """Scores so far and what follows from them."""

    def __init__(self, metric: Metric, total: int, labelled: bool, fit: str) -> None:
        self._metric = metric
        self._total = total
        self._labelled = labelled
        self._fit = fit
        self._scores: list[Tensor] = []
        self._original: list[Tensor] = []
        self._signal: list[Tensor] = []
        self._noise: list[Tensor] = []
        self.count = 0

    def add(self, output: Tensor, original: Tensor | None, labels: Tensor | None) -> None:
        """Scores a batch of outputs ``[batch, …]``."""
        if self._metric.against != "original" and labels is not None:
            self._scores.append(self._metric.score(output, labels))
            if original is not None:
                self._original.append(self._metric.score(original, labels))
        elif original is not None:
            self._scores.append(self._metric.score(output, original))
        if original is not None:
            self._signal.append(_energies(original.double()))
            self._noise.append(_energies(output.double() - original.double()))
        self.count += len(output)

    def result(self) -> Result:
        """What has been measured so far."""
        scores = torch.cat(self._scores).numpy()
        original = torch.cat(self._original).numpy() if self._original else None
        signal, noise = (torch.cat(parts).numpy() if parts else None for parts in (self._signal, self._noise))
        return Result(
            metric=_measurement(self._metric, scores),
            original=None if original is None else _measurement(self._metric, original),
            drop=None if original is None else _drop(self._metric, scores, original),
            total=self._total,
            labelled=self._labelled,
            sqnr_db=None if signal is None or noise is None else _sqnr_db(float(signal.sum()), float(noise.sum())),
            distortion_spread=None if signal is None or noise is None else ratio_spread(noise, signal),
            fit=self._fit,
        )


def _measurement(metric: Metric, scores: Array) -> Measurement:
    value, low, high = metric.summary.value(scores)
    return Measurement(metric.name, value, low if metric.name == "cosine" else max(low, 0.0), high, len(scores))


def _drop(metric: Metric, scores: Array, original: Array) -> Measurement:
    """How much worse than the original, from the differences sample by sample."""
    gain, low, high = metric.summary.gain(scores, original)
    if metric.higher_is_better:
        gain, low, high = -gain, -high, -low
    return Measurement(metric.name, gain + 0.0, low, high, len(scores))


def _sqnr_db(signal: float, noise: float) -> float:
    """Signal to noise in dB; infinite for equal outputs, minus infinity for outputs that are not finite."""
    if not math.isfinite(noise) or (signal == 0 and noise > 0):
        return -math.inf
    return 10 * math.log10(signal / noise) if noise > 0 else math.inf


def _energies(values: Tensor) -> Tensor:
    """Sums of squares, sample by sample ``[batch]``."""
    return values.square().reshape(len(values), -1).sum(1)


def _bounds(total: int, blocks: Sequence[int]) -> list[int]:
    """Where blocks begin and end: 0, the `blocks` below `total`, `total`."""
    return [0, *(block for block in blocks if block < total), total]


def _batches(order: Array) -> Iterator[Array]:
    for start in range(0, len(order), BATCH):
        yield np.asarray(order[start : start + BATCH])
