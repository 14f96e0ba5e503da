"""Answers to requests for a file: the writer that fits the model and the format."""

from pathlib import Path

from studio.compression.compressed import CompressedModel
from studio.engine.requests import Export
from studio.evaluation.data import Dataset
from studio.evaluation.weight_error import WeightNorms
from studio.export.export import export
from studio.export.report import ExportReport
from studio.export.target import FORMATS, check_target
from studio.export.weights_file import export_weights
from studio.progress import Report


def check_export(request: Export) -> None:
    """Refuses a file that cannot or must not be written, before any work is done.

    Raises:
        ExportError: saying what is in the way.
    """
    for original in filter(None, (request.source.model, request.source.skeleton)):
        check_target(Path(request.out), request.format or FORMATS[0], original)


def answer_export(
    request: Export,
    compressed: CompressedModel,
    format_: str,
    data: Dataset | None,
    norms: WeightNorms,
    report: Report,
) -> ExportReport:
    """Writes and verifies the file.

    Args:
        request: what is asked.
        compressed: what to write.
        format_: that fits the model.
        data: what to verify on.
        norms: of the original's weights.
        report: receives progress; may raise `Cancelled`.
    """
    out = Path(request.out)
    if format_ == "safetensors":
        return export_weights(compressed, out, norms, report=report)
    return export(
        compressed,
        out,
        data=data,
        samples=request.samples,
        seed=request.seed,
        format=format_,
        report=report,
    )
