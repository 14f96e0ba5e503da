"""Size and operations after an edit of one layer in a model of 1,000 layers, in the session, without torch.

    python tests/benchmarks/edit.py

Prints milliseconds of the work between a move of a slider and the new numbers: the recipe with the new setting, what
it costs, and how layers are split. The first edit of all meets empty caches, the others move through sparsities or
ranks that were not seen before. Goal: one frame of 16 ms.
"""

import sys
import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from studio.engine.door import Call
from studio.models.layer import METHODS, OK, Layer, ModelInfo, TensorSpec
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.session.asking import Asker
from studio.session.costs import Costs
from studio.session.project import Choice, Project

LAYERS = 1000
EDITS = 60


class NoEngine:
    """Never answers."""

    def start(self, _request: Any, **_: Any) -> Call[Any]:
        """A call that stays open."""
        return Call(Future())

    def close(self) -> None:
        """Nothing runs."""


def model() -> ModelInfo:
    """Linear layers without couplings."""
    spec = (TensorSpec("x", "float32", (None, 256)),)
    methods = dict.fromkeys(METHODS, OK)
    layers = tuple(
        Layer(f"blocks.{number}.linear", "linear", (256, 256), 1, True, 65792, 263168, 65536, methods)
        for number in range(LAYERS)
    )
    return ModelInfo("m.onnx", "onnx", "0", spec, spec, layers, 65792 * LAYERS, 263168 * LAYERS, 65536 * LAYERS)


def edits(costs: Costs, project: Project, everything: bool) -> list[float]:
    """Milliseconds of every edit of one layer, beside all other layers as they are or all of them in 8 bits."""
    name, times = project.info.layers[LAYERS // 2].name, []
    if everything:
        eight = LayerSettings(quantize=QuantizeSettings(weight_bits=8))
        recipe = project.recipe.with_layers({layer.name: eight for layer in project.info.layers})
        project.history.push(Choice(recipe), "8 bit")
        costs.renew(project)
    for step in range(EDITS):
        setting = {"prune": PruneSettings(ratio=step / 100)} if step % 2 else {"rank": RankSettings(rank=1 + step)}
        began = time.perf_counter()
        project.history.push(Choice(project.recipe.with_layer(name, LayerSettings(**setting))), "edit", "drag")
        costs.renew(project)
        times.append(1000 * (time.perf_counter() - began))
    return times


def main() -> None:
    """Prints the table."""
    table = Table("other layers", title=f"One layer of {LAYERS:,} edited, milliseconds")
    for heading in ("first", "median", "p99", "torch loaded"):
        table.add_column(heading, justify="right")
    for everything in (False, True):
        project = Project(model())
        costs = Costs(Asker(NoEngine(), lambda action: action()), lambda error: None)
        times = edits(costs, project, everything)
        figures = (times[0], np.median(times[1:]), np.percentile(times[1:], 99))
        torch = "yes" if "torch" in sys.modules else "no"
        table.add_row("8 bit" if everything else "unchanged", *(f"{figure:.1f}" for figure in figures), torch)
    Console().print(table)


if __name__ == "__main__":
    main()
