"""A copy is as large as was foretold."""

from pathlib import Path

import pytest

from studio.distillation.copy_settings import CopySettings
from studio.engine.inline import InlineEngine
from studio.engine.requests import MakeCopy, MeasureExportSize, OpenModel, PredictCopy
from studio.errors import TrainingError


def test_a_copys_size_is_foretold_without_writing_it(two_layers: Path, tmp_path: Path):
    engine, settings, out = InlineEngine(), CopySettings(width=0.5), tmp_path / "copy.onnx"
    told = engine.start(PredictCopy(str(two_layers), settings)).result()
    # half of the 16 channels between the layers: 8·8 + 8 and 8·4 + 4
    assert (told.parameters, told.macs) == (108, 96)
    engine.start(MakeCopy(str(two_layers), settings, str(out))).result()
    original, made = (engine.start(OpenModel(str(path))).result() for path in (two_layers, out))
    assert (made.parameters, made.macs) == (told.parameters, told.macs)
    whole = engine.start(MeasureExportSize(str(two_layers))).result()
    assert out.stat().st_size == pytest.approx(whole - 4 * (original.parameters - told.parameters), abs=16)


def test_a_copy_that_would_be_no_smaller_is_refused(two_layers: Path):
    with pytest.raises(TrainingError, match="choose less"):
        InlineEngine().start(PredictCopy(str(two_layers), CopySettings(width=1.0))).result()
