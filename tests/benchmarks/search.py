"""A search for a small file beside treating all layers alike, judged on test images that neither has seen.

    python -m tests.benchmarks.search ../shared/data
    python -m tests.benchmarks.search ../shared/data --target size=0.2

The scan and all choices are made with training images: 512 that calibrate, others that measure. Two layers are locked.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table

from studio.engine.requests import Preview, Search, Source
from studio.engine.workspace import Workspace
from studio.recipe.recipe import Recipe
from studio.search.outcome import FrontierPoint
from studio.search.target import parse_target
from tests.benchmarks.scan import write_data


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--target", default="size=0.125")
    parser.add_argument("--lock", nargs="*", default=["conv1", "linear"], help="layers that stay as they are")
    parser.add_argument("--no-channels", action="store_true", help="leave every layer as wide as it is")
    parser.add_argument("--threads", type=int, help="torch threads; as many as the window's engine otherwise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 2) - 1))
    model, workspace = str(arguments.folder / "resnet20_cifar10.onnx"), Workspace()
    with TemporaryDirectory() as name:
        calibration, data = write_data(arguments.folder, Path(name))
        source = Source(model, Recipe().with_locks(arguments.lock), calibration=str(calibration))
        began, used = time.perf_counter(), time.process_time()
        keep, channels = str(Path(name) / "scan.json"), not arguments.no_channels
        request = Search(source, str(data), parse_target(arguments.target), keep=keep, channels=channels)
        found = workspace.answer(request)
        seconds, used = time.perf_counter() - began, time.process_time() - used
        headings = ("recipe", "bytes", "MACs", "drop, training images", "drop, test images")
        table = Table(*headings, title=arguments.target)
        drops = list[float]()
        for point in filter(None, (found.best, found.uniform)):
            test = str(arguments.folder / "cifar10_test.data.yaml")
            judged = workspace.answer(Preview(replace(source, recipe=point.recipe), test)).drop
            assert judged is not None
            drops.append(judged.value)
            table.add_row(
                _name(point), f"{point.bytes:,}", f"{point.macs:,}", f"{point.rank[0]:.2f}", f"{judged.value:.2f}"
            )
    out = Console()
    out.print(table)
    out.print(f"{seconds:.0f} s with the scan and the calibration ({used:.0f} s of the processor)")
    if len(drops) == 2:
        out.print(f"of the drop with all layers alike remain {100 * drops[0] / drops[1]:.0f} %")


def _name(point: FrontierPoint) -> str:
    return f"all layers alike: {point.label}" if point.kind == "uniform" else "search"


if __name__ == "__main__":
    main()
