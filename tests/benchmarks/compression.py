"""One-shot compression of a real model, every layer at the same setting, beside plain methods and other tools.

    python tests/benchmarks/compression.py ../shared/data
    python tests/benchmarks/compression.py ../shared/data --samples 2000 --only "4 bit" "70 % sparse"

Prints one table for each model. `plain` is the same setting without data: nearest rounding, smallest magnitudes,
plain SVD. All use the same calibration samples and are measured on the same test images; the drop is in points, bytes
are those of the file, MACs those of one sample. ONNX Runtime, NNCF and Torch-Pruning stand beside the rows they have
something for; those not installed (`pip install .[benchmarks]`) are skipped with a message.
"""

import argparse
import logging
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from onnxruntime.quantization import CalibrationMethod
from other_tools import Absent, nncf_static, onnx_runtime_static, parameter_bytes, torch_pruned
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from studio.analysis.calibration import Calibration
from studio.analysis.calibration_cache import remembered_calibration
from studio.compression.compress import compress
from studio.evaluation.batches import Batches
from studio.evaluation.data import Dataset, open_data
from studio.evaluation.evaluate import measure, torch_predict
from studio.evaluation.predict import Predict
from studio.evaluation.reference import Reference
from studio.export.onnx_runtime import runtime_predict
from studio.export.size import measure_export_size
from studio.models.layer import ModelInfo
from studio.models.model import Model
from studio.models.open import open_model
from studio.recipe.cost import model_cost
from studio.recipe.recipe import SETTABLE, Recipe, technique_of
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
INT8 = "int8, activations too"
INNER = "25 % of the channels inside blocks"


class Case(NamedTuple):
    """One model with its data; `norms` is the same one with its BatchNorms, for Torch-Pruning."""

    title: str
    model: str
    test: str
    calibration: str
    skeleton: str | None = None
    norms: str | None = None


CASES = {
    "resnet20": Case(
        "ResNet-20, CIFAR-10",
        "resnet20_cifar10.onnx",
        "cifar10_test.data.yaml",
        "cifar10_train20k.data.yaml",
        norms="resnet20_cifar10.pt2",
    ),
    "dscnn": Case(
        "DS-CNN, keyword spotting", "kws/kws_dscnn_fp32.onnx", "kws/kws_eval.data.yaml", "kws/kws_eval.data.yaml"
    ),
}


def settings() -> dict[str, LayerSettings]:
    """Every row of the table."""

    def quantized(bits: int) -> QuantizeSettings:
        return QuantizeSettings.model_validate({"weight_bits": bits})

    half = PruneSettings(ratio=0.5)
    return {
        "8 bit": LayerSettings(quantize=quantized(8)),
        "4 bit": LayerSettings(quantize=quantized(4)),
        "4 bit, groups of 16": LayerSettings(
            quantize=QuantizeSettings(weight_bits=4, granularity="group", group_size=16)
        ),
        "3 bit": LayerSettings(quantize=quantized(3)),
        "2 bit": LayerSettings(quantize=quantized(2)),
        INT8: LayerSettings(quantize=QuantizeSettings(activation_bits=8)),
        "50 % sparse": LayerSettings(prune=half),
        "70 % sparse": LayerSettings(prune=PruneSettings(ratio=0.7)),
        "2:4 sparse": LayerSettings(prune=PruneSettings(kind="n_m", n=2, m=4)),
        "rank, 75 % of parameters": LayerSettings(rank=RankSettings(parameters=0.75)),
        "rank, 50 % of parameters": LayerSettings(rank=RankSettings(parameters=0.5)),
        "50 % sparse, then 4 bit": LayerSettings(prune=half, quantize=quantized(4)),
        "22 % of all channels": LayerSettings(channels=ChannelSettings(ratio=0.22)),
        INNER: LayerSettings(channels=ChannelSettings(ratio=0.25)),
    }


def recipe(info: ModelInfo, row: str, options: Options) -> Recipe:
    """`row` for every layer that can take it; methods a layer cannot take are left out for it."""
    wanted, chosen = settings()[row], {}
    for layer in info.layers:
        if row == INNER and layer.name not in inner(info):
            continue
        barred = {method for method in SETTABLE if not layer.allows(technique_of(method, getattr(wanted, method)))}
        chosen[layer.name] = wanted.model_copy(update=dict.fromkeys(barred))
    return Recipe(options=options).with_layers(chosen)


def inner(info: ModelInfo) -> list[str]:
    """Layers whose channels no other layer shares: the first convolution of each residual block."""
    return [group.members[0] for group in info.groups if len(group.members) == 1]


@dataclass(frozen=True)
class Way:
    """One line of the table: a setting done one way."""

    name: str
    predict: Predict
    bytes: int
    macs: int
    seconds: float


@dataclass(frozen=True)
class Bench:
    """One model, opened, with its samples."""

    case: Case
    folder: Path
    model: Model
    test: Dataset
    calibration: Calibration

    @property
    def batches(self) -> Sequence:
        """The calibration samples."""
        return self.calibration.batches

    def ours(self, row: str, fit: str) -> Way:
        """The row as the studio does it."""
        chosen = recipe(self.model.info, row, FITS[fit])
        began = time.perf_counter()
        compressed = compress(self.model, chosen, calibration=self.calibration)
        seconds = time.perf_counter() - began
        cost = model_cost(self.model.info, chosen, compressed.factors, measure_export_size(self.model))
        return Way(fit, torch_predict(compressed.graph), cost.bytes, cost.macs, seconds)

    def others(self, row: str) -> Iterator[Way | str]:
        """The row as other tools do it, or why they do not."""
        if row == INT8:
            for method in (CalibrationMethod.Percentile, CalibrationMethod.Entropy, CalibrationMethod.MinMax):
                yield self._file(
                    f"ONNX Runtime, {method.name.lower()}",
                    lambda out, method=method: onnx_runtime_static(self._onnx, self._input, self.batches, method, out),
                )
            yield self._file("NNCF", lambda out: nncf_static(self._onnx, self._input, self.batches, out))
        elif row == INNER and self.case.norms is not None:
            yield self._torch_pruning(self.folder / self.case.norms)

    @property
    def _onnx(self) -> Path:
        return self.folder / self.case.model

    @property
    def _input(self) -> str:
        return self.model.info.inputs[0].name

    def _file(self, name: str, write: object) -> Way | str:
        """A file as some tool writes it."""
        with TemporaryDirectory() as folder:
            out = Path(folder) / "static.onnx"
            began = time.perf_counter()
            try:
                write(out)  # type: ignore[operator]
            except Absent as absent:
                return str(absent)
            seconds = time.perf_counter() - began
            predict = runtime_predict(out, [self._input])
            return Way(name, predict, out.stat().st_size, self.model.info.macs, seconds)

    def _torch_pruning(self, pt2: Path) -> Way | str:
        began = time.perf_counter()
        try:
            pruned, macs = torch_pruned(pt2, inner(self.model.info), 0.25, self.batches)
        except Absent as absent:
            return str(absent)
        seconds = time.perf_counter() - began
        return Way("Torch-Pruning, norms renewed", torch_predict(pruned), parameter_bytes(pruned), macs, seconds)


def opened(case: Case, folder: Path) -> Bench:
    """A model with its data, calibrated."""
    model = open_model(folder / case.model, skeleton=folder / case.skeleton if case.skeleton else None)
    test, data = (open_data(folder / path, model.info) for path in (case.test, case.calibration))
    calibration = remembered_calibration(model, Batches(data, CALIBRATION, BATCH))
    return Bench(case, folder, model, test, calibration)


def run(bench: Bench, only: list[str], fits: list[str], samples: int | None, out: Console) -> None:
    """Measures and prints one model's table, each line as it comes."""
    model, reference = bench.model, Reference(torch_predict(bench.model.graph))
    original = measure(torch_predict(model.graph), bench.test, samples=samples).metric
    size, progress = measure_export_size(model), Console(stderr=True, width=140)
    title = f"{bench.case.title}: {original.value:.2f} % on {original.samples:,} samples, {size:,} bytes"
    table = Table("setting", "way", title=f"{title}, {model.info.macs:,} MACs")
    for heading in ("right", "drop", "bytes", "MACs", "seconds"):
        table.add_column(heading, justify="right")

    def add(row: str, way: Way) -> None:
        result = measure(way.predict, bench.test, reference=reference, samples=samples)
        value = result.metric.value
        line = (f"{value:.2f}", f"{original.value - value:.2f}", f"{way.bytes:,}", f"{way.macs:,}")
        table.add_row(row, way.name, *line, f"{way.seconds:.0f}")
        progress.print(f"{row} | {way.name}", *line, f"{way.seconds:.0f} s", sep=" | ", highlight=False)

    for row in only or settings():
        for fit in fits:
            if row == INT8 and fit == "plain":
                continue  # ranges of activations are learnt from data
            add(row, bench.ours(row, fit))
        for other in bench.others(row):
            if isinstance(other, str):
                table.add_row(row, escape(other))
            else:
                add(row, other)
    out.print(table)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--samples", type=int, help="measure on at most this many samples")
    parser.add_argument("--only", nargs="*", default=[], help="rows of the table")
    parser.add_argument("--fits", nargs="*", default=list(FITS), choices=list(FITS), help="ways of the studio's own")
    parser.add_argument("--models", nargs="*", default=list(CASES), choices=list(CASES))
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)  # ONNX Runtime's quantizer recommends preprocessing for every call
    out = Console(width=140)
    if not arguments.folder.is_dir():
        sys.exit(f"skipped: there is no benchmark data in {arguments.folder}")
    for name in arguments.models:
        run(opened(CASES[name], arguments.folder), arguments.only, arguments.fits, arguments.samples, out)


if __name__ == "__main__":
    main()
