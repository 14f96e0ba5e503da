"""What each layer takes under several settings."""

from pathlib import Path

import pytest

from studio.engine.requests import MeasureLatency, Source, TimeSettings
from studio.engine.workspace import Workspace
from studio.export.latency import LatencySettings
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings

QUICK = LatencySettings(seconds=0.05)


def test_a_table_of_times_has_every_layer_under_every_setting(two_layers: Path):
    workspace, source = Workspace(), Source(str(two_layers), Recipe())
    four = {"4 bit": LayerSettings(quantize=QuantizeSettings(weight_bits=4))}
    table = workspace.answer(TimeSettings(source, four, QUICK))
    assert table.layers.keys() == {"first", "second"}
    assert all(taken.keys() == {"original", "4 bit"} for taken in table.layers.values())
    assert min(milliseconds for taken in table.layers.values() for milliseconds in taken.values()) > 0
    alone = workspace.answer(MeasureLatency(source, QUICK))
    assert alone.original_layers.keys() == table.layers.keys()
    assert alone.faster.value == pytest.approx(1)
