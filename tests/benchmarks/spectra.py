"""All spectra of a model: the studio's way beside `torch.linalg.svdvals`, in one run.

    python tests/benchmarks/spectra.py ../shared/data

Prints one table: seconds of each, their ratio, and the largest error as a share of the largest singular value, held
against a decomposition in float64. The cache on disk takes no part. Both run in as many threads as torch does.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from studio.analysis.spectrum import singular_values
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


def seconds(decompose: Callable[[Tensor], object], matrices: list[Tensor]) -> float:
    """The best of some runs over all layers."""
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        for matrix in matrices:
            decompose(matrix)
        times.append(time.perf_counter() - began)
    return min(times)


def largest_error(matrices: list[Tensor]) -> float:
    """Over all values of all layers, as a share of the layer's largest."""
    errors = []
    for matrix in matrices:
        exact = torch.linalg.svdvals(matrix.double()).numpy()
        errors.append(np.abs(singular_values(matrix) - exact).max() / exact[0])
    return float(max(errors))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    models = {"ResNet-20": resnet(parser.parse_args().folder), "transformer": transformer()}
    table = Table("model", title=f"Spectra of all layers, {torch.get_num_threads()} threads")
    for heading in ("layers", "weights", "svdvals, s", "studio, s", "ratio", "largest error / σ₁"):
        table.add_column(heading, justify="right")
    for name, matrices in models.items():
        if not matrices:
            table.add_row(name, "skipped: there is no benchmark data")
            continue
        theirs, ours = seconds(torch.linalg.svdvals, matrices), seconds(singular_values, matrices)
        row = (f"{theirs:.4f}", f"{ours:.4f}", f"{theirs / ours:.1f}×", f"{largest_error(matrices):.1e}")
        table.add_row(name, str(len(matrices)), f"{sum(m.numel() for m in matrices):,}", *row)
    Console().print(table)


if __name__ == "__main__":
    main()
