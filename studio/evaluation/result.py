"""What an evaluation found: torch-free values that cross the engine's door."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from studio.recipe.factorization import Factorization

#: What is measured where there is no network to run: how far the weights are off, in percent of their norm.
WEIGHT_ERROR = "weight_error"

#: Noise over signal in dB beyond which nothing is left to compare.
LARGEST_DB = 100.0


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its interval.

    Attributes:
        name: one of `studio.evaluation.metric_kinds.METRIC_KINDS`, ``sqnr`` or ``weight_error``.
        value: in the metric's unit: percent for accuracies, AUROC, agreement and weight error, dB for sqnr, the data's
            unit² for mse.
        low: lower end of the 95 % interval.
        high: upper end of the 95 % interval.
        samples: how many samples were measured; of a weight error, how many weights.
    """

    name: str
    value: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True)
class Result:
    """How a compressed model does, beside the original on the same samples.

    Attributes:
        metric: the model's own value.
        original: the original's value on the same samples; None without a reference, and for agreement.
        drop: how much worse than the original (positive: worse), with the paired 95 % interval.
        total: samples that would be measured if nothing cut the run short.
        labelled: False when random or unlabelled input stands in and `metric` is agreement with the original.
        sqnr_db: ``10·log10(Σy² / Σ(y − ŷ)²)`` of the outputs against the original's, in dB; infinite for
            equal outputs, minus infinity where outputs are not finite, None without a reference.
        fit: which fit of the compressed layers was measured: ``layer`` or ``sequential``.
        factors: how the layers with a rank were split, by name.
        distortion_spread: half the 95 % interval of the outputs' distortion (`distortion_of`), as a share of it; None
            without a reference.
    """

    metric: Measurement
    original: Measurement | None
    drop: Measurement | None
    total: int
    labelled: bool
    sqnr_db: float | None = None
    fit: str = "layer"
    factors: Mapping[str, Factorization] = field(default_factory=dict)
    distortion_spread: float | None = None

    @property
    def finished(self) -> bool:
        """Whether all samples were measured."""
        return self.metric.samples >= self.total


def drop_of(result: Result) -> Measurement:
    """The drop; where agreement with the original counts, what is missing from 100 %."""
    if result.drop is not None:
        return result.drop
    metric = result.metric
    return Measurement(metric.name, 100 - metric.value, 100 - metric.high, 100 - metric.low, metric.samples)


def distortion_of(result: Result) -> float:
    """Noise over signal of the outputs; outputs that are not finite count as the largest there is."""
    level = result.sqnr_db if result.sqnr_db is not None else math.inf
    return math.pow(10, min(-level, LARGEST_DB) / 10)
