"""Rounded activations whose ranges follow, or learn."""

import pytest
import torch

from studio.analysis.calibration import calibrate
from studio.compression.activations import RoundedActivation
from studio.compression.compress import CompressedModel, compress
from studio.compression.trainable import trainable
from studio.distillation.ranges import RangeRenewal
from studio.distillation.settings import DistillSettings
from studio.distillation.train import distill
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.recipe.recipe import Recipe


@pytest.fixture
def rounded(model: Model, data: Dataset) -> CompressedModel:
    settings = {"quantize": {"weight_bits": 3, "activation_bits": 8, "activation_range": "minmax"}}
    return compress(
        model, Recipe.model_validate({"default": settings}), calibration=calibrate(model, [data.inputs(range(200))])
    )


def scales(graph: torch.fx.GraphModule) -> dict[str, float]:
    return {name: float(m.scale) for name, m in graph.named_modules() if isinstance(m, RoundedActivation)}


def test_renewed_ranges_span_what_arrives_now(rounded: CompressedModel, data: Dataset) -> None:
    graph = trainable(rounded)
    before = scales(graph)
    inputs = data.inputs(range(300))

    RangeRenewal(graph, rounded).renew(tuple(3 * part for part in inputs))

    name = next(iter(before))
    low, high = 3 * float(inputs[0].min()), 3 * float(inputs[0].max())
    assert scales(graph)[name] == pytest.approx((high - low) / 255, rel=1e-5)
    assert all(after > 1.5 * before[name] for name, after in scales(graph).items())
    assert not any(module._forward_pre_hooks for module in graph.modules())


def test_a_model_without_rounded_activations_has_no_ranges(model: Model, data: Dataset) -> None:
    plain = compress(model, Recipe.model_validate({"default": {"quantize": {"weight_bits": 4}}}))
    graph = trainable(plain)
    RangeRenewal(graph, plain).renew(data.inputs(range(5)))
    assert scales(graph) == {}


@pytest.mark.parametrize("choice", [{"renew_ranges": True}, {"learn_steps": True}])
def test_quantization_aware_training_recovers_with_either(
    rounded: CompressedModel, data: Dataset, choice: dict[str, bool]
) -> None:
    trained, outcome = distill(rounded, data, None, DistillSettings(epochs=4, batch_size=64, **choice))

    assert outcome.after > outcome.before
    assert scales(trained.graph).keys() == scales(rounded.graph).keys()
    assert scales(trained.graph) != scales(rounded.graph)
    assert all(len(row.unique()) <= 8 for row in trained.effective_weight("hidden"))
