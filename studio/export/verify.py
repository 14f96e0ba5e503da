"""The proof that a written file behaves as the preview said: the same samples through torch and ONNX Runtime."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from studio.compression.compressed import CompressedModel
from studio.errors import ExportError
from studio.evaluation.evaluate import Samples, measure
from studio.evaluation.metrics import METRICS
from studio.evaluation.predict import Predict
from studio.evaluation.reference import Reference
from studio.evaluation.result import Measurement
from studio.export.report import ExportReport
from studio.models.model import Model
from studio.progress import Progress, Report

#: Largest difference of an output, as a share of the largest output. Float32 sums in another order differ by some
#: 1e-6 of it (5e-7 seen over 20 layers), while a runtime that rounds activations on its own is off by 4e-3.
OUTPUT_TOLERANCE = 1e-4

#: The same where activations are rounded: a sum that lies between two levels, but for its last bits, may be rounded to
#: either, and the layers behind carry the difference on (7e-3 seen over 20 layers).
ROUNDED_TOLERANCE = 2e-2

#: Samples whose answer may then change in the sum: of few samples one is as much as `POINT_TOLERANCE`.
ROUNDED_FLIPS = 3

#: Largest difference of a metric: points of a percentage, for others a share of the value.
POINT_TOLERANCE = 0.1
SHARE_TOLERANCE = 1e-3

#: Largest difference of the file's size from the predicted one, as a share.
SIZE_TOLERANCE = 0.005

#: Random samples when there is no data and nobody says how many.
RANDOM_SAMPLES = 128


@dataclass(frozen=True)
class Comparison:
    """The preview and the file on the same samples; attributes as in `studio.export.report.ExportReport`."""

    original: Measurement | None
    preview: Measurement
    exported: Measurement
    max_error: float
    output_scale: float

    def reported(
        self,
        compressed: CompressedModel,
        out: Path,
        format: str,  # noqa: A002 (as in the command line and the report)
        sizes: tuple[int, int, int],
    ) -> ExportReport:
        """The report of a file of `compressed` that was checked: its size before, as predicted, and on disk."""
        before, predicted, after = sizes
        return ExportReport(
            out=str(out),
            format=format,
            before=before,
            predicted=predicted,
            after=after,
            max_error=self.max_error,
            output_scale=self.output_scale,
            original=self.original,
            preview=self.preview,
            exported=self.exported,
            verified=True,
            factors=compressed.factors,
        )


def compare(
    model: Model,
    original: Predict,
    preview: Predict,
    exported: Predict,
    data: Samples | None,
    samples: int | None,
    seed: int,
    report: Report,
) -> Comparison:
    """Measures the preview and the file, and holds their outputs against each other.

    Args:
        model: the original, which random input is made for where there is no data.
        original: its outputs.
        preview: the compressed model's.
        exported: the file's.
        data: what to measure on.
        samples: at most this many, None for all.
        seed: fixes which samples.
        report: receives progress; may raise `Cancelled`.
    """
    count = samples if data is not None else samples or RANDOM_SAMPLES
    reference = Reference(original)
    outputs: list[Tensor] = []
    errors = _Errors(iter(outputs))

    def measured(predict: Predict, message: str) -> tuple[Measurement, Measurement | None]:
        result = measure(
            predict,
            data,
            reference=reference,
            model=model,
            samples=count,
            seed=seed,
            report=lambda progress: report(Progress(progress.done, progress.total, message)),
        )
        return result.metric, result.original

    before, value = measured(_watched(preview, outputs.append), "Measuring the preview")
    after, _ = measured(_watched(exported, errors.add), "Measuring the file in ONNX Runtime")
    return Comparison(value, before, after, errors.largest, errors.scale)


def check(comparison: Comparison, predicted: int, after: int, *, rounded: bool = False) -> None:
    """Refuses a file that does not behave as announced; `rounded` tells whether its activations are rounded.

    Raises:
        ExportError: its outputs, its metric or its size differ by more than the tolerances.
    """
    largest, scale = comparison.max_error, comparison.output_scale
    if not largest <= (ROUNDED_TOLERANCE if rounded else OUTPUT_TOLERANCE) * scale:  # also when it is not a number
        raise ExportError(
            f"The file's outputs in ONNX Runtime differ from the preview by {largest:.3g} where the largest output "
            f"is {scale:.3g}; the file was not kept."
        )
    preview, exported = comparison.preview, comparison.exported
    if not abs(preview.value - exported.value) <= _metric_tolerance(preview, rounded):
        raise ExportError(
            f"{preview.name} is {exported.value:.2f} in ONNX Runtime but {preview.value:.2f} in the preview; "
            "the file was not kept."
        )
    check_size(predicted, after)


def check_size(predicted: int, after: int, slack: int = 0) -> None:
    """Refuses a file whose size is not the predicted one.

    Args:
        predicted: bytes that were announced.
        after: bytes on disk.
        slack: bytes that it may be off beside `SIZE_TOLERANCE`.

    Raises:
        ExportError: it differs by more.
    """
    if abs(predicted - after) > SIZE_TOLERANCE * after + slack:
        raise ExportError(f"The file takes {after:,} bytes, but {predicted:,} were predicted; it was not kept.")


def _metric_tolerance(measurement: Measurement, rounded: bool) -> float:
    if not METRICS[measurement.name].unit:
        return (ROUNDED_TOLERANCE if rounded else SHARE_TOLERANCE) * abs(measurement.value)
    flips = ROUNDED_FLIPS if rounded else 0
    return max(POINT_TOLERANCE, 100 * (flips + 0.5) / measurement.samples)  # and half a sample for last bits


class _Errors:
    """Largest difference from a sequence of expected outputs, given in the same order."""

    def __init__(self, expected: Iterator[Tensor]) -> None:
        self._expected = expected
        self.largest = 0.0
        self.scale = 0.0

    def add(self, output: Tensor) -> None:
        """Holds the next output against what is expected; values that are not finite must be so in both."""
        expected = next(self._expected).double()
        error = (output.double() - expected).abs()
        error[(output == expected) | (output.isnan() & expected.isnan())] = 0
        self.largest = max(self.largest, float(error.nan_to_num(nan=torch.inf).max()))
        finite = expected.nan_to_num(nan=0, posinf=0, neginf=0)
        self.scale = max(self.scale, float(finite.abs().max()))


def _watched(predict: Predict, watch: Callable[[Tensor], None]) -> Predict:
    """`predict`, every output of which is also shown to `watch`."""

    def predict_and_show(inputs: tuple[Tensor, ...]) -> Tensor:
        output = predict(inputs)
        watch(output)
        return output

    return predict_and_show
