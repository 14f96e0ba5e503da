"""All spectra of a model: the studio's way beside `torch.linalg.svdvals`, in one run.

    python tests/benchmarks/spectra.py ../shared/data

Prints one table: seconds of each, their ratio, and the largest error as a share of the largest singular value, held
against a decomposition in float64. The cache on disk takes no part. Both run in turns, in as many threads as torch
does; with ``--cpu`` in one thread, and seconds are those of the processor, which others on the machine disturb less.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from studio.analysis.side_by_side import side_by_side
from studio.analysis.spectrum import singular_values
from studio.analysis.views import Array
from studio.models.model import weight_matrix
from studio.models.open import open_model

REPEATS = 5


def resnet(folder: Path) -> list[Tensor]:
    """The layers of ResNet-20, none where there is no benchmark data."""
    path = folder / "resnet20_cifar10.onnx"
    if not path.exists():
        return []
    model = open_model(path)
    return [weight_matrix(model.module(layer.name)).detach() for layer in model.info.layers]


def transformer(width: int = 256, blocks: int = 8, words: int = 12_000) -> list[Tensor]:
    """Weights of a transformer of about 10 million parameters, random: only their shapes count here."""
    shapes = [(words, width), *[(width, width)] * 4 * blocks, *[(4 * width, width), (width, 4 * width)] * blocks]
    random = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=random) / width**0.5 for shape in shapes]


def huge(rows: int = 4096, columns: int = 11_008) -> list[Tensor]:
    """The largest matrix of a language model of 7 billion parameters, random."""
    return [torch.randn(rows, columns, generator=torch.Generator().manual_seed(0))]


def theirs(matrices: Sequence[Tensor]) -> list[Array]:
    """One matrix after the other: each takes all threads."""
    return [torch.linalg.svdvals(matrix).numpy() for matrix in matrices]


def ours(matrices: Sequence[Tensor]) -> list[Array]:
    """As the engine does it, the large matrices first."""
    return list(side_by_side(matrices, singular_values))


def seconds(matrices: Sequence[Tensor], repeats: int, clock: Callable[[], float]) -> tuple[float, float]:
    """The best of some runs over all layers, theirs and ours in turns."""
    times: dict[Callable[[Sequence[Tensor]], object], list[float]] = {theirs: [], ours: []}
    for _ in range(repeats):
        for decompose, found in times.items():
            began = clock()
            decompose(matrices)
            found.append(clock() - began)
    return min(times[theirs]), min(times[ours])


def largest_error(matrices: Sequence[Tensor], exact: Sequence[Array]) -> float:
    """Over all values of all layers, as a share of the layer's largest."""
    return max(float(np.abs(a - b).max() / b[0]) for a, b in zip(ours(matrices), exact, strict=True))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--cpu", action="store_true", help="one thread, seconds of the processor")
    parser.add_argument("--huge", action="store_true", help="also 4,096 × 11,008: takes minutes, and a gigabyte")
    options = parser.parse_args()
    if options.cpu:
        torch.set_num_threads(1)
    clock = time.process_time if options.cpu else time.perf_counter
    models = {"ResNet-20": resnet(options.folder), "transformer": transformer()}
    if options.huge:
        models["4096×11008"] = huge()
    table = Table("model", title=f"Spectra of all layers, {torch.get_num_threads()} threads")
    for heading in ("layers", "weights", "svdvals, s", "studio, s", "ratio", "largest error / σ₁"):
        table.add_column(heading, justify="right")
    for name, matrices in models.items():
        if not matrices:
            table.add_row(name, "skipped: there is no benchmark data")
            continue
        ordered = sorted(matrices, key=torch.numel, reverse=True)
        took, takes = seconds(ordered, 1 if len(ordered) == 1 else REPEATS, clock)
        exact = [torch.linalg.svdvals(matrix.double()).numpy() for matrix in ordered]
        row = (f"{took:.4f}", f"{takes:.4f}", f"{took / takes:.1f}×", f"{largest_error(ordered, exact):.1e}")
        table.add_row(name, str(len(matrices)), f"{sum(m.numel() for m in matrices):,}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
