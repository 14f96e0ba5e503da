"""One-shot compression of a real model, every layer at the same setting: accuracy by fit, beside other tools.

    python tests/benchmarks/compression.py ../shared/data
    python tests/benchmarks/compression.py ../shared/data --samples 2000 --only "4 bit" "70 % sparse"

Prints one table. `plain` is the same setting without data: nearest rounding, smallest magnitudes, plain SVD. All use
the same calibration samples and are measured on the same test images. ONNX Runtime's own static quantization is
measured beside the 8-bit rows; other tools only where they are installed.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
from rich.console import Console
from rich.table import Table

from studio.analysis.calibration import Calibration, calibrate
from studio.compression.compress import compress
from studio.evaluation.data import Dataset, open_data
from studio.evaluation.evaluate import measure, torch_predict
from studio.evaluation.reference import Reference
from studio.export.onnx_runtime import runtime_predict
from studio.models.layer import Layer, ModelInfo
from studio.models.model import Model
from studio.models.open import open_model
from studio.recipe.recipe import SETTABLE, Recipe
from studio.recipe.settings import (
    ChannelSettings,
    LayerSettings,
    Options,
    PruneSettings,
    QuantizeSettings,
    RankSettings,
)

CALIBRATION = 512
BATCH = 64
FITS = {
    "plain": Options(data_aware=False, fit="layer"),
    "layer": Options(fit="layer"),
    "sequential": Options(fit="sequential"),
}


@dataclass(frozen=True)
class Case:
    """One model with its data."""

    title: str
    model: str
    test: str
    calibration: str


CASES = (
    Case("ResNet-20, CIFAR-10", "resnet20_cifar10.onnx", "cifar10_test.data.yaml", "cifar10_train20k.data.yaml"),
    Case("DS-CNN, keyword spotting", "kws/kws_dscnn_fp32.onnx", "kws/kws_eval.data.yaml", "kws/kws_eval.data.yaml"),
)


def settings(layer: Layer) -> dict[str, LayerSettings]:
    """Every row of the table for one layer."""

    def quantized(bits: int) -> QuantizeSettings:
        return QuantizeSettings.model_validate({"weight_bits": bits})

    def rank(share: float) -> RankSettings:
        return RankSettings(rank=max(1, int(share * layer.break_even_rank)))

    half = PruneSettings(ratio=0.5)
    return {
        "8 bit": LayerSettings(quantize=quantized(8)),
        "4 bit": LayerSettings(quantize=quantized(4)),
        "4 bit, groups of 16": LayerSettings(
            quantize=QuantizeSettings(weight_bits=4, granularity="group", group_size=16)
        ),
        "22 % of channels": LayerSettings(channels=ChannelSettings(ratio=0.22)),
        "50 % sparse": LayerSettings(prune=half),
        "70 % sparse": LayerSettings(prune=PruneSettings(ratio=0.7)),
        "rank, 75 % of parameters": LayerSettings(rank=rank(0.75)),
        "rank, 50 % of parameters": LayerSettings(rank=rank(0.5)),
        "50 % sparse, then 4 bit": LayerSettings(prune=half, quantize=quantized(4)),
    }


def recipe(info: ModelInfo, row: str, options: Options) -> Recipe:
    """`row` for every layer that can take it; methods a layer cannot take are left out for it."""
    chosen = {}
    for layer in info.layers:
        wanted = settings(layer)[row]
        barred = {method: None for method in SETTABLE if not layer.allows(method)}
        chosen[layer.name] = wanted.model_copy(update=barred)
    return Recipe(options=options).with_layers(chosen)


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Feeds calibration samples to ONNX Runtime's quantizer."""

    def __init__(self, name: str, data: Dataset) -> None:
        self._name = name
        self._batches = iter(batches(data))

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch by input name."""
        batch = next(self._batches, None)
        return None if batch is None else {self._name: batch[0].numpy()}


def batches(data: Dataset) -> Iterator[tuple]:
    """The calibration samples."""
    for start in range(0, min(CALIBRATION, len(data)), BATCH):
        yield data.inputs(range(start, min(start + BATCH, CALIBRATION, len(data))))


def onnx_runtime_static(model: Path, info: ModelInfo, data: Dataset, test: Dataset, samples: int | None) -> float:
    """Top-1 of ONNX Runtime's own 8-bit file, weights and activations, in its best types."""
    with TemporaryDirectory() as folder:
        out = Path(folder) / "static.onnx"
        quantize_static(
            str(model),
            str(out),
            Reader(info.inputs[0].name, data),
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod.Percentile,
        )
        return measure(runtime_predict(out, [spec.name for spec in info.inputs]), test, samples=samples).metric.value


def run(case: Case, folder: Path, only: list[str], samples: int | None, out: Console) -> None:
    """Measures and prints one model's table."""
    model: Model = open_model(folder / case.model)
    test, data = (open_data(folder / path, model.info) for path in (case.test, case.calibration))
    calibration: Calibration = calibrate(model, list(batches(data)))
    reference = Reference(torch_predict(model.graph))
    original = measure(torch_predict(model.graph), test, samples=samples).metric
    table = Table("setting", title=f"{case.title}: {original.value:.2f} % on {original.samples:,} samples")
    for heading in (*FITS, "seconds"):
        table.add_column(heading, justify="right")
    for row in only or settings(model.info.layers[0]):
        values, seconds = [], []
        for options in FITS.values():
            began = time.perf_counter()
            compressed = compress(model, recipe(model.info, row, options), calibration=calibration)
            seconds.append(time.perf_counter() - began)
            result = measure(torch_predict(compressed.graph), test, reference=reference, samples=samples)
            values.append(f"{result.metric.value:.2f}")
        table.add_row(row, *values, " / ".join(f"{value:.0f}" for value in seconds))
    if not only:
        static = onnx_runtime_static(folder / case.model, model.info, data, test, samples)
        table.add_row("ONNX Runtime static, 8-bit weights and activations", "", f"{static:.2f}", "", "")
    out.print(table)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--samples", type=int, help="measure on at most this many samples")
    parser.add_argument("--only", nargs="*", default=[], help="rows of the table")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # ONNX Runtime's quantizer recommends preprocessing for every call
    out = Console()
    if not arguments.folder.is_dir():
        sys.exit(f"skipped: there is no benchmark data in {arguments.folder}")
    for case in CASES:
        run(case, arguments.folder, arguments.only, arguments.samples, out)


if __name__ == "__main__":
    main()
