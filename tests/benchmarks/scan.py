"""Scanning a model layer by layer beside one full evaluation per setting, in one run; then the same with racing.

    python tests/benchmarks/scan.py ../shared/data
    python tests/benchmarks/scan.py ../shared/data --layers "layer3.*"

Every way measures the same samples, training images that did not calibrate, and compresses each layer itself; a
calibration is made before the clock starts. How far a race's ranking of all points agrees with the exact one is told
by Spearman's correlation, of the drops and of the outputs' distortion. With drops of a few samples out of a thousand
the drops' own ranking is mostly chance: the correlation between the two halves of the samples would be lower still.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from studio.engine.requests import Preview, ScanLayers, Source
from studio.engine.workspace import Workspace
from studio.evaluation.evaluate import measure, torch_predict
from studio.evaluation.result import Result
from studio.evaluation.sensitivity import Scan
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Options

SAMPLES = 1024
CALIBRATION = 512


class WorkspaceInFull(Workspace):
    """Measures every request with a run of the whole graph."""

    def full(self, request: Preview) -> Result:
        """One full evaluation."""
        assert request.data is not None
        model = self._model(request.source.model, None)
        graph = self._compress(request.source, lambda _progress: None).graph
        reference = self._reference(model, request.data)
        data = self._dataset(request.data, model)
        return measure(torch_predict(graph), data, reference=reference, samples=request.samples, blocks=())


def write_data(source: Path, folder: Path) -> tuple[Path, Path]:
    """Training images that calibrate, and others that measure."""
    arrays = np.load(source / "cifar10_train20k.npz")
    description = (source / "cifar10_train20k.data.yaml").read_text()
    paths = []
    for name, part in (("calibration", slice(CALIBRATION)), ("measured", slice(CALIBRATION, 8 * CALIBRATION))):
        np.savez(folder / f"{name}.npz", x=arrays["x"][part], y=arrays["y"][part])
        paths.append(folder / f"{name}.data.yaml")
        paths[-1].write_text(description.replace("cifar10_train20k.npz", f"{name}.npz"))
    return paths[0], paths[1]


def in_full(request: ScanLayers, scan: Scan) -> tuple[float, bool]:
    """Seconds of one full evaluation for each point of `scan`, and whether all values are the same."""
    workspace, same = WorkspaceInFull(), True
    options = request.source.recipe.options
    warm(workspace, request)
    began = time.perf_counter()
    for point in scan.points:
        recipe = Recipe(options=options).with_layer(point.layer, point.settings)
        result = workspace.full(Preview(replace(request.source, recipe=recipe), request.data, SAMPLES))
        same &= result.drop is not None and (result.metric.value, result.drop.value) == (point.value, point.drop)
    return time.perf_counter() - began, same


def warm(workspace: Workspace, request: ScanLayers) -> None:
    """Opens the model, calibrates, and makes the original's outputs."""
    workspace.answer(Preview(request.source, request.data, SAMPLES))
    workspace._learnt(request.source, workspace._model(request.source.model, None), lambda _progress: None)


def timed(request: ScanLayers) -> tuple[float, Scan]:
    """Seconds of a scan, and what it found."""
    workspace = Workspace()
    warm(workspace, request)
    began = time.perf_counter()
    scan = workspace.answer(request)
    return time.perf_counter() - began, scan


def agreement(exact: Scan, raced: Scan, field: str) -> str:
    """Spearman's correlation of one value of all points."""
    values = [[getattr(point, field) for point in scan.points] for scan in (exact, raced)]
    return f"{spearmanr(*values).statistic:.4f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--layers", default="*", help="glob of the layers to scan")
    parser.add_argument("--threads", type=int, help="torch threads; as many as the window's engine otherwise")
    parser.add_argument("--ceiling", action="store_true", help="scan other samples too: how far exact drops agree")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 2) - 1))
    with TemporaryDirectory() as name:
        folder = Path(name)
        calibration, data = write_data(arguments.folder, folder)
        model, recipe = str(arguments.folder / "resnet20_cifar10.onnx"), Recipe(options=Options(fit="layer"))
        source = Source(model, recipe, calibration=str(calibration))
        request = ScanLayers(source, str(data), SAMPLES, 0, arguments.layers, False, str(folder / "exact.json"))
        seconds, exact = timed(request)
        racing, raced = timed(replace(request, racing=True, keep=str(folder / "raced.json")))
        full, same = in_full(request, exact)
        other = replace(request, seed=1, keep=str(folder / "other.json"))
        ceiling = timed(other)[1] if arguments.ceiling else None
    count = len(exact.points)
    table = Table("", "seconds", "faster", "samples", title=f"{count} points, {torch.get_num_threads()} threads")
    table.add_row("full evaluations", f"{full:.1f}", "1×", str(SAMPLES))
    table.add_row("scan", f"{seconds:.1f}", f"{full / seconds:.2f}×", str(SAMPLES))
    mean = sum(point.samples for point in raced.points) / count
    table.add_row("racing", f"{racing:.1f}", f"{full / racing:.2f}×", f"{mean:.0f} (mean)")
    out = Console()
    out.print(table)
    out.print(f"scan and full evaluations give the same values: {'yes' if same else 'NO'}")
    drops, distortions = agreement(exact, raced, "drop"), agreement(exact, raced, "distortion")
    out.print(f"Spearman of racing and exact: drops {drops}, distortion of outputs {distortions}")
    if ceiling is not None:
        drops, distortions = agreement(exact, ceiling, "drop"), agreement(exact, ceiling, "distortion")
        out.print(
            f"Spearman of exact scans of two draws of samples: drops {drops}, distortion of outputs {distortions}"
        )


if __name__ == "__main__":
    main()
