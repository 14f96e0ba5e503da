"""Scanning a model layer by layer beside one full evaluation per setting, in one run; then the same with racing.

    python tests/benchmarks/scan.py ../shared/data
    python tests/benchmarks/scan.py ../shared/data --threads 1 --full-every 3
    python tests/benchmarks/scan.py ../shared/data --layers "layer3.*"

Every way measures the same samples, training images that did not calibrate, and compresses each layer itself; a
calibration is made before the clock starts. The three ways take turns layer by layer, so that whatever else the
machine does disturbs them alike; seconds of the clock and of the processor are told. With ``--full-every N`` the full
evaluations are made of every Nth setting, in each layer of others, and each stands for N.

The ranking is that of the product: a search adds up distortions of the outputs, ``Σ(y − ŷ)² / Σy²`` on the same
samples, and reads a drop from them. How far a race agrees with the exact scan is therefore Spearman's correlation of
the distortion of all (layer, setting) pairs. That of the drops is told beside it. Drops of a few samples out of a
thousand are mostly chance: what the drops' ranking can reach is that of two exact scans of two draws of samples, with
``--ceiling``.
"""

import argparse
import glob
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from studio.engine.requests import Preview, ScanLayers, Source
from studio.engine.workspace import Workspace
from studio.evaluation.candidates import candidates
from studio.evaluation.evaluate import measure, torch_predict
from studio.evaluation.result import Result
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.open import open_model
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


@dataclass
class Clock:
    """Seconds that one way took.

    Attributes:
        wall: of the clock.
        processor: of all threads.
    """

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def running(self, times: float = 1.0) -> Iterator[None]:
        """Counts what happens within, so many `times`."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall += times * (time.perf_counter() - wall)
        self.processor += times * (time.process_time() - processor)


def in_full(workspace: WorkspaceInFull, request: ScanLayers, points: Sequence[ScanPoint]) -> bool:
    """One full evaluation for each of the points; whether all values are the same."""
    same = True
    for point in points:
        recipe = Recipe(options=request.source.recipe.options).with_layer(point.layer, point.settings)
        result = workspace.full(Preview(replace(request.source, recipe=recipe), request.data, SAMPLES))
        same &= result.drop is not None and (result.metric.value, result.drop.value) == (point.value, point.drop)
    return same


def warm(workspace: Workspace, request: ScanLayers) -> None:
    """Opens the model, calibrates, and makes the original's outputs."""
    workspace.answer(Preview(request.source, request.data, SAMPLES))
    workspace._learnt(request.source, workspace._model(request.source.model, None), lambda _progress: None)


def agreement(exact: Scan, raced: Scan, field: str) -> str:
    """Spearman's correlation of one value of all points."""
    values = [[getattr(point, field) for point in scan.points] for scan in (exact, raced)]
    return f"{spearmanr(*values).statistic:.4f}"


def ceiling(request: ScanLayers, exact: Scan, keep: Path) -> str:
    """Spearman's correlation of two exact scans of two draws of samples."""
    workspace = Workspace()
    warm(workspace, request)
    other = replace(request, racing=False, seed=1, keep=str(keep))
    again = workspace.answer(other)
    drops, distortions = agreement(exact, again, "drop"), agreement(exact, again, "distortion")
    return f"drops {drops}, distortion of outputs {distortions}"


@dataclass(frozen=True)
class Found:
    """What the three ways took and found.

    Attributes:
        full: of the full evaluations.
        scan: of the exact scan.
        race: of the race.
        exact: its points.
        raced: those of the race.
        same: whether exact scan and full evaluations have the same values.
    """

    full: Clock
    scan: Clock
    race: Clock
    exact: Scan
    raced: Scan
    same: bool


def compare(request: ScanLayers, folder: Path, every: int) -> Found:
    """The three ways in turn, layer by layer."""
    workspace, whole, same = Workspace(), WorkspaceInFull(), True
    full, scan, race = Clock(), Clock(), Clock()
    for one in (workspace, whole):
        warm(one, request)
    layers = list(
        dict.fromkeys(c.layer.name for c in candidates(open_model(request.source.model).info, request.layers))
    )
    for number, layer in enumerate(layers):
        alone = replace(request, layers=glob.escape(layer))
        with scan.running():
            exact = workspace.answer(replace(alone, racing=False, keep=str(folder / "exact.json")))
        with race.running():
            raced = workspace.answer(replace(alone, racing=True, keep=str(folder / "raced.json")))
        points = exact.of(layer)
        chosen = points[number % every :: every]
        with full.running(len(points) / len(chosen)):
            same &= in_full(whole, request, chosen)
    return Found(full, scan, race, exact, raced, same)


def show(found: Found) -> None:
    """Prints what was found."""
    count = len(found.exact.points)
    table = Table("", title=f"{count} points, {torch.get_num_threads()} threads")
    for heading in ("seconds", "faster", "processor, s", "faster", "samples"):
        table.add_column(heading, justify="right")
    mean = sum(point.samples for point in found.raced.points) / count
    ways = {"full evaluations": found.full, "scan": found.scan, "racing": found.race}
    for name, clock in ways.items():
        ratios = (f"{found.full.wall / clock.wall:.2f}×", f"{found.full.processor / clock.processor:.2f}×")
        samples = f"{mean:.0f} (mean)" if name == "racing" else str(SAMPLES)
        table.add_row(name, f"{clock.wall:.1f}", ratios[0], f"{clock.processor:.1f}", ratios[1], samples)
    out = Console()
    out.print(table)
    out.print(f"scan and full evaluations give the same values: {'yes' if found.same else 'NO'}")
    ranking, drops = (agreement(found.exact, found.raced, field) for field in ("distortion", "drop"))
    out.print(f"Spearman of racing and exact: {ranking} (distortion of outputs, the ranking), drops {drops}")


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--layers", default="*", help="glob of the layers to scan")
    parser.add_argument("--threads", type=int, help="torch threads; as many as the window's engine otherwise")
    parser.add_argument("--full-every", type=int, default=1, metavar="N", help="evaluate every Nth setting in full")
    parser.add_argument("--ceiling", action="store_true", help="scan on other samples too: how sure are the drops")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 2) - 1))
    with TemporaryDirectory() as name:
        folder = Path(name)
        calibration, data = write_data(arguments.folder, folder)
        model, recipe = str(arguments.folder / "resnet20_cifar10.onnx"), Recipe(options=Options(fit="layer"))
        source = Source(model, recipe, calibration=str(calibration))
        request = ScanLayers(
            source, str(data), SAMPLES, 0, arguments.layers, False, str(folder / "exact.json"), channels=False
        )
        found = compare(request, folder, arguments.full_every)
        show(found)
        if arguments.ceiling:
            limit = ceiling(request, found.exact, folder / "other.json")
            Console().print(f"Spearman of exact scans of two draws of samples: {limit}")


if __name__ == "__main__":
    main()
