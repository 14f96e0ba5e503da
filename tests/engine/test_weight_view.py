from studio.engine.requests import Source, ViewWeights
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
