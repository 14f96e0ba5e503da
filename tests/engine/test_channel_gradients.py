"""Gradients are learnt for recipes that ask for them, and for no others."""

import pytest

from studio.engine import channel_gradients
from studio.engine.requests import Preview, Source
from studio.engine.workspace import Workspace
from studio.errors import CompressionError
from studio.recipe.recipe import Recipe
from studio.resources import Sample


def chosen(importance: str) -> Recipe:
    channels = {"ratio": 0.25, "importance": importance}
    return Recipe.model_validate(
        {"layers": {"stage2.0.conv1": {"channels": channels}}, "options": {"fit": "layer", "calibration_samples": 64}}
    )


def test_a_pass_backwards_is_made_once_and_only_when_it_is_asked_for(
    digits: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    learnt = []
    learn = channel_gradients.remembered_gradients
    monkeypatch.setattr(
        channel_gradients, "remembered_gradients", lambda *args: learnt.append(len(args[1])) or learn(*args)
    )
    engine = Workspace()
    for importance in ("magnitude", "taylor", "taylor"):
        source = Source(str(digits.model), chosen(importance), calibration=str(digits.train))
        result = engine.answer(Preview(source, str(digits.test), samples=100))
    assert learnt == [1]
    assert result.metric.value > 90


def test_without_data_one_line_says_what_to_do(digits: Sample) -> None:
    source = Source(str(digits.model), chosen("taylor"))
    with pytest.raises(CompressionError, match="choose training data"):
        Workspace().answer(Preview(source, None, samples=10))
