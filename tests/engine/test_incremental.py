"""The window's preview re-runs only what an edit changes."""

from collections.abc import Callable

import pytest

from studio.engine.requests import Preview, Source
from studio.engine.workspace import Workspace
from studio.evaluation.data import open_data
from studio.evaluation.evaluate import evaluate
from studio.models.open import open_model
from studio.recipe.recipe import Recipe
from studio.recipe.settings import ChannelSettings, LayerSettings, Options, PruneSettings, QuantizeSettings
from studio.resources import Sample

SAMPLES = 200
FOUR_BITS = LayerSettings(quantize=QuantizeSettings(weight_bits=4))
HALF = LayerSettings(prune=PruneSettings(ratio=0.5))
Ask = Callable[[Recipe], Preview]


@pytest.fixture
def ask(digits: Sample) -> Ask:
    def make(recipe: Recipe) -> Preview:
        source = Source(str(digits.model), recipe, calibration=str(digits.train))
        return Preview(source, str(digits.test), samples=SAMPLES)

    return make


def recipes(names: list[str], fit: str) -> list[Recipe]:
    options = Options(fit=fit, calibration_samples=64)
    one = Recipe(options=options).with_layer(names[-1], FOUR_BITS)
    two = one.with_layer(names[1], HALF)
    return [
        Recipe(options=options),
        one,
        two,
        two.with_layer(names[-1], HALF),
        two.with_layer(names[1], LayerSettings(channels=ChannelSettings(ratio=0.25))),
    ]


@pytest.mark.parametrize("fit", ["layer", "sequential"])
def test_a_series_of_edits_is_measured_as_each_of_them_on_its_own(digits: Sample, ask: Ask, fit: str):
    model = open_model(digits.model)
    data, workspace = open_data(digits.test, model.info), Workspace()
    for recipe in recipes([layer.name for layer in model.info.layers], fit):
        result = workspace.answer(ask(recipe))
        fresh = Workspace().answer(ask(recipe))
        assert result == fresh
    original = evaluate(model, data, original=model, samples=SAMPLES)
    assert workspace.answer(ask(Recipe())).metric == original.metric


def test_a_second_setting_of_the_last_layer_runs_few_nodes(digits: Sample, ask: Ask, executed: list[str]):
    workspace, last = Workspace(), open_model(digits.model).info.layers[-1].name
    workspace.answer(ask(Recipe().with_layer(last, FOUR_BITS)))
    whole = len(executed)
    executed.clear()
    workspace.answer(ask(Recipe().with_layer(last, HALF)))
    assert 0 < len(executed) < whole / 2


def test_a_layer_tried_alone_leaves_the_whole_recipe_where_it_was(digits: Sample, ask: Ask, executed: list[str]):
    workspace, names = Workspace(), [layer.name for layer in open_model(digits.model).info.layers]
    both = Recipe().with_layers({names[0]: HALF, names[-1]: HALF})
    workspace.answer(ask(both))
    whole = len(executed)
    workspace.answer(ask(Recipe().with_layer(names[0], HALF)))
    executed.clear()
    workspace.answer(ask(both.with_layer(names[-1], FOUR_BITS)))
    assert 0 < len(executed) < whole / 2


def test_random_input_is_replayed_too(digits: Sample, executed: list[str]):
    workspace, model = Workspace(), open_model(digits.model)
    source = Source(str(digits.model), Recipe().with_layer(model.info.layers[-1].name, FOUR_BITS))
    request = Preview(source, None, samples=SAMPLES)
    first = workspace.answer(request)
    whole = len(executed)
    executed.clear()
    assert workspace.answer(request) == first
    assert len(executed) < whole / 2
