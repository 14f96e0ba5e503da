import pytest

from studio.engine.requests import Preview, Source, ViewWeights
from studio.engine.workspace import Workspace
from studio.recipe.recipe import Recipe


def _recipe(**quantize):
    return Recipe.model_validate({"default": {"quantize": quantize}, "options": {"fit": "layer"}})


def test_weights_are_seen_without_data_though_their_layers_activations_are_rounded(digits):
    workspace = Workspace()
    source = Source(str(digits.model), _recipe(weight_bits=4, activation_bits=8))
    seen = workspace.answer(ViewWeights(source, "stem"))
    plain = workspace.answer(ViewWeights(Source(str(digits.model), _recipe(weight_bits=4)), "stem"))
    assert seen.compressed is not None
    assert (seen.compressed == plain.compressed).all()


def test_the_error_that_is_expected_of_the_outputs_comes_near_the_one_that_is_measured(digits):
    workspace = Workspace()
    for layer, bits in (("stage2.1.conv1", 3), ("classifier", 3)):
        recipe = Recipe.model_validate(
            {"layers": {layer: {"quantize": {"weight_bits": bits}}}, "options": {"calibration_samples": 64}}
        )
        source = Source(str(digits.model), recipe, calibration=str(digits.train))
        seen = workspace.answer(ViewWeights(source, layer))
        measured = workspace.answer(Preview(source, str(digits.test), samples=128))
        assert seen.model_error / 10 ** (-measured.sqnr_db / 20) == pytest.approx(1, abs=0.5)
