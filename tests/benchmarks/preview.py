"""Editing one layer: measuring again only what depends on it beside measuring everything again, in one run.

    python tests/benchmarks/preview.py ../shared/data
    python tests/benchmarks/preview.py ../shared/data --layers 6

Every layer in turn gets 4-bit weights while all others stay the original's. The clock starts at the edit and stops at
a measured value, as the window would get it: compressing the layer, reading the samples and scoring are in it. Before,
the unchanged model is measured once, as the window does on opening it. An engine without replays answers the same
requests in turns; whole results are compared, in which the outputs' SQNR tells a difference of a single bit.
"""

import argparse
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from studio.compression.compressed import CompressedModel
from studio.engine.outputs import Outputs
from studio.engine.requests import Preview, Source
from studio.engine.workspace import Workspace
from studio.evaluation.predict import Forgetful, torch_predict
from studio.evaluation.result import Result
from studio.models.open import open_model
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings

SETTINGS = LayerSettings(quantize=QuantizeSettings(weight_bits=4))
SAMPLES = 1024


class Block(nn.Module):
    """Attention and feed-forward, each behind a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """``[batch, words, width]`` to the same."""
        y = self.norm(x)
        q, k, v = (layer(y).unflatten(-1, (4, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        x = x + self.o(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.second_norm(x))))


class Transformer(nn.Module):
    """About 10 million random parameters; speed does not hang on their values."""

    def __init__(self, width: int = 256, blocks: int = 8, words: int = 12_000, classes: int = 10) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.blocks = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.head = nn.Linear(width, classes)

    def forward(self, ids: Tensor) -> Tensor:
        """``[batch, words]`` to ``[batch, classes]``."""
        return self.head(self.blocks(self.words(ids)).mean(1))


def write_transformer(folder: Path, length: int = 16) -> tuple[Path, Path]:
    """Writes a transformer for sentences of `length` words, and random ones to measure it on."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    x, y = random.integers(0, 12_000, (2 * SAMPLES, length)), random.integers(0, 10, 2 * SAMPLES)
    np.savez(folder / "words.npz", x=x, y=y)
    data, model = folder / "words.data.yaml", folder / "transformer.pt2"
    data.write_text("kind: tokens\nsource: words.npz\ninput: x\nlabel: y\n")
    program = torch.export.export(
        Transformer().eval(), (torch.from_numpy(x[:2]),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, model)
    return model, data


class InFull(Outputs):
    """Runs everything for every batch."""

    def of(self, compressed: CompressedModel, _data: str | None) -> Forgetful:
        """All of the graph."""
        return Forgetful(torch_predict(compressed.graph))


class WorkspaceInFull(Workspace):
    """The engine without replays."""

    def __init__(self) -> None:
        super().__init__()
        self._outputs = InFull()


@dataclass(frozen=True)
class Timed:
    """Seconds from the edit to the first block's value and to that of all samples, with the result."""

    first: float
    whole: float
    result: Result


def timed(workspace: Workspace, request: Preview) -> Timed:
    """Asks for a preview."""
    blocks: list[float] = []
    began = time.perf_counter()
    result = workspace.answer(request, publish=lambda _block: blocks.append(time.perf_counter() - began))
    return Timed(blocks[0], blocks[-1], result)


def edits(model: Path, data: Path, count: int | None) -> Iterator[Preview]:
    """The unchanged model, then every layer alone in running order (or so many of them, evenly spread)."""
    layers = [layer.name for layer in open_model(model).info.layers if layer.allows("quantize")]
    places = np.linspace(0, len(layers) - 1, min(count or len(layers), len(layers))).round().astype(int)
    for recipe in (Recipe(), *(Recipe().with_layer(layers[place], SETTINGS) for place in places)):
        yield Preview(Source(str(model), recipe), str(data), samples=SAMPLES)


def row(model: Path, data: Path, count: int | None) -> list[str]:
    """Measures one model."""
    replayed, full = Workspace(), WorkspaceInFull()
    pairs = [(timed(replayed, request), timed(full, request)) for request in edits(model, data, count)][1:]
    ours, theirs = zip(*pairs, strict=True)
    last = len(pairs) * 2 // 3

    def ratio(start: int) -> str:
        return f"{sum(t.whole for t in theirs[start:]) / sum(o.whole for o in ours[start:]):.2f}×"

    return [
        str(len(pairs)),
        f"{1000 * median(t.first for t in ours):.0f} ({1000 * median(t.first for t in theirs):.0f})",
        f"{1000 * median(t.whole for t in ours):.0f} ({1000 * median(t.whole for t in theirs):.0f})",
        ratio(0),
        ratio(last),
        "yes" if all(o.result == t.result for o, t in pairs) else "NO",
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("../shared/data"), help="the benchmark data")
    parser.add_argument("--layers", type=int, help="edit only so many layers of each model")
    parser.add_argument("--threads", type=int, help="torch threads; as many as the window's engine otherwise")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 2) - 1))
    table = Table("model", title=f"One layer edited, {torch.get_num_threads()} threads: replay (in full), ms, medians")
    for heading in ("layers", "128 samples", f"{SAMPLES:,} samples", "all layers", "last third", "same values"):
        table.add_column(heading, justify="right")
    out = Console()
    network = arguments.folder / "resnet20_cifar10.onnx"
    if network.exists():
        table.add_row("ResNet-20", *row(network, arguments.folder / "cifar10_test.data.yaml", arguments.layers))
    else:
        out.print(f"ResNet-20 skipped: there is no benchmark data in {arguments.folder}")
    with TemporaryDirectory() as folder:
        table.add_row("transformer", *row(*write_transformer(Path(folder)), arguments.layers))
    out.print(table)


if __name__ == "__main__":
    main()
