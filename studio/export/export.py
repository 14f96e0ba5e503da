"""One verb: write a compressed model to a file, prove it in its runtime, and only then put it in place."""

from pathlib import Path

from studio.compression.compressed import CompressedModel
from studio.evaluation.evaluate import Samples, torch_predict
from studio.evaluation.weight_error import WeightNorms
from studio.export.graph_file import export_graph
from studio.export.onnx_file import write_onnx
from studio.export.onnx_runtime import runtime_predict
from studio.export.report import ExportReport
from studio.export.size import measure_export_size
from studio.export.target import check_target, put_in_place
from studio.export.verify import check, compare
from studio.progress import Progress, Report, silent
from studio.recipe.cost import model_cost
from studio.recipe.rounding import integer_layers, nbits_layers, rounded_layers

__all__ = ["export", "measure_export_size"]


def export(
    compressed: CompressedModel,
    out: Path,
    *,
    data: Samples | None = None,
    samples: int | None = None,
    seed: int = 0,
    format: str = "onnx",  # noqa: A002 (as in the command line and the report)
    report: Report = silent,
) -> ExportReport:
    """Writes `compressed` to `out` and verifies it; a file that is already there is replaced only by a proven one.

    Args:
        compressed: the model to write.
        out: the file; its folder must exist.
        data: samples that the preview and the file are both measured on; None takes random input.
        samples: at most this many, None for all.
        seed: fixes which samples.
        format: one of `studio.export.target.FORMATS`.
        report: receives progress; raising `Cancelled` from it leaves no file behind.

    Raises:
        ExportError: the place cannot be written to, the format is unknown, the model cannot be written, or the file
            does not behave as the preview said.
    """
    model = compressed.model
    if model.onnx is not None:
        return export_graph(
            compressed, out, WeightNorms(model), data=data, samples=samples, seed=seed, format=format, report=report
        )
    check_target(out, format, model.info.path)
    report(Progress(0, None, "Measuring the uncompressed model"))
    before = measure_export_size(model)
    predicted = model_cost(model.info, compressed.recipe, compressed.factors, before).bytes

    def write(path: Path) -> ExportReport:
        report(Progress(0, None, f"Writing {out.name}"))
        write_onnx(compressed.graph, model.info, path, model.free_size, integer_layers(compressed.settings))
        after = path.stat().st_size
        comparison = compare(
            model,
            torch_predict(model.graph),
            torch_predict(compressed.graph),
            runtime_predict(path, [spec.name for spec in model.info.inputs]),
            data,
            samples,
            seed,
            report,
        )
        check(comparison, predicted, after, rounded=_rounds(compressed))
        return comparison.reported(compressed, out, format, (before, predicted, after))

    return put_in_place(out, write)


def _rounds(compressed: CompressedModel) -> bool:
    """Whether the file rounds what its layers read, so that a last bit may decide between two levels."""
    products = nbits_layers(compressed.model.info.layers, compressed.settings).values()
    return bool(rounded_layers(compressed.settings)) or "onnxruntime_int8" in products
