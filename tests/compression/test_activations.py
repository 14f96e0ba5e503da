import numpy as np
import pytest
import torch

from studio.analysis.calibration import calibrate
from studio.compression.activations import RoundedActivation
from studio.compression.compress import compress
from studio.compression.ranges import Levels
from studio.compression.trainable import freeze, trainable
from studio.compression.weights import save_weights
from studio.errors import CompressionError
from studio.recipe.recipe import Recipe

ALL = Recipe.model_validate({"default": {"quantize": {"activation_bits": 8, "activation_range": "minmax"}}})


def _levels(graph):
    return {
        name: (float(m.scale), int(m.zero_point))
        for name, m in graph.named_modules()
        if name.startswith("activ") and hasattr(m, "scale")
    }


@pytest.fixture
def compressed(model, samples):
    return compress(model, ALL, calibration=calibrate(model, [(samples,)]))


def test_levels_are_those_of_numpy_with_rounding_half_to_even():
    x = torch.tensor([-1.0, -0.25, 0.0, 0.249, 0.25, 0.75, 9.0])
    rounded = RoundedActivation(Levels(0.5, 1))(x)
    expected = (np.clip(np.rint(x.numpy() / 0.5) + 1, 0, 255) - 1) * 0.5
    assert rounded.tolist() == expected.tolist() == [-0.5, 0.0, 0.0, 0.0, 0.0, 1.0, 9.0]


def test_gradients_pass_where_nothing_is_clipped():
    x = torch.tensor([-1.0, 0.3, 200.0], requires_grad=True)
    RoundedActivation(Levels(0.5, 1))(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 0.0]


def test_the_input_spans_its_smallest_to_its_largest_value(compressed, samples):
    low, high = min(float(samples.min()), 0.0), max(float(samples.max()), 0.0)
    assert _levels(compressed.graph)["activation_levels.x"][0] == pytest.approx((high - low) / 255)


def test_the_rounded_model_stays_near_the_weights_only_one(model, compressed, samples):
    plain = Recipe.model_validate({"default": {"quantize": {}}})
    exact = compress(model, plain, calibration=calibrate(model, [(samples,)])).graph(samples)
    error = (compressed.graph(samples) - exact).abs().max() / exact.abs().max()
    assert 0 < error < 0.05


def test_biases_are_whole_multiples_of_the_products_step(compressed):
    stem = compressed.graph.get_submodule("stem")
    step = _levels(compressed.graph)["activation_levels.x"][0] * stem.stored.scale.flatten().double()
    steps = stem.bias.double() / step
    assert torch.allclose(steps, steps.round(), atol=1e-2)


def test_rounding_without_data_says_what_it_takes(model):
    with pytest.raises(CompressionError, match="stem: the ranges of rounded activations are learnt from data: choose"):
        compress(model, ALL)


def test_another_range_is_learnt_anew_over_trained_weights(model, compressed, samples, tmp_path):
    calibration = calibrate(model, [(samples,)])
    other = Recipe.model_validate({"default": {"quantize": {"activation_bits": 8, "activation_range": "mse"}}})
    again = compress(model, other, weights=save_weights(compressed, tmp_path), calibration=calibration)
    assert _levels(again.graph) != _levels(compressed.graph)


def test_the_original_stays_without_levels(model, compressed):
    assert len(_levels(compressed.graph)) > 0
    assert _levels(model.graph) == {}


def test_trained_weights_come_back_with_the_levels_they_were_trained_with(model, compressed, samples, tmp_path):
    student = trainable(compressed)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.01)
    frozen = freeze(compressed, student)
    again = compress(model, ALL, weights=save_weights(frozen, tmp_path))
    assert _levels(again.graph) == _levels(frozen.graph)
    assert torch.equal(again.graph(samples), frozen.graph(samples))
