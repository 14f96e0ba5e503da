"""What the settings do to a run."""

import numpy as np
import pytest
import torch

from studio.compression.compress import CompressedModel, compress
from studio.distillation.augment import Augmentation, shifted
from studio.distillation.average import Average
from studio.distillation.optimizer import make_optimizer
from studio.distillation.run import looks_per_epoch
from studio.distillation.schedule import learning_rate
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.train import distill
from studio.errors import TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.recipe.recipe import Recipe


@pytest.fixture
def sparse(model: Model) -> CompressedModel:
    recipe = {"studio": 1, "default": {"prune": {"kind": "unstructured", "ratio": 0.7}}}
    return compress(model, Recipe.model_validate(recipe))


def run(compressed: CompressedModel, data: Dataset, **settings: object) -> tuple[CompressedModel, list[TrainingPoint]]:
    points: list[TrainingPoint] = []
    chosen = DistillSettings.model_validate({"epochs": 2, "batch_size": 64, **settings})
    trained, _ = distill(compressed, data, None, chosen, publish=points.append)
    return trained, points


@pytest.mark.parametrize(
    "settings",
    [
        {"optimizer": "sgd", "learning_rate": 0.02},
        {"optimizer": "sgd", "learning_rate": 0.02, "momentum": 0.0, "weight_decay": 1e-4},
        {"schedule": "one_cycle", "warm_up": 0.3},
        {"clip_value": 0.01, "clip_norm": None},
        {"average": 0.9},
        {"logit_weight": 0.5},
        {"beta": 0.0},
    ],
)
def test_the_loss_falls_with_every_choice(sparse: CompressedModel, data: Dataset, settings: dict[str, object]) -> None:
    _, points = run(sparse, data, **{"learning_rate": 0.003, **settings})
    assert points[-1].loss < 0.7 * points[0].loss
    assert max(point.value for point in points if point.value is not None) > points[0].value


def test_a_step_in_parts_is_the_same_step(sparse: CompressedModel, data: Dataset) -> None:
    whole, _ = run(sparse, data, epochs=1, learning_rate=1e-3)
    parts, _ = run(sparse, data, epochs=1, learning_rate=1e-3, accumulate=3)
    for name, value in whole.graph.state_dict().items():
        torch.testing.assert_close(parts.graph.state_dict()[name], value, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("trained", "watched", "looks"), [(18_000, 2000, 4), (4000, 1000, 2), (1416, 448, 1), (50, 2000, 1)]
)
def test_it_is_measured_as_often_as_is_worth_what_it_takes(trained: int, watched: int, looks: int) -> None:
    assert looks_per_epoch(trained, watched) == looks


def test_a_run_without_anything_better_ends_early_and_says_so(model: Model, data: Dataset) -> None:
    untouched = compress(
        model, Recipe.model_validate({"studio": 1, "layers": {"head": {"quantize": {"weight_bits": 8}}}})
    )
    settings = DistillSettings(epochs=50, batch_size=64, learning_rate=0.05, beta=0.0, patience=1)
    _, outcome = distill(untouched, data, None, settings)
    assert outcome.warning.startswith("Stopped early at step ")
    assert outcome.epochs < 50


def test_a_run_that_diverges_ends_with_what_was_best(sparse: CompressedModel, data: Dataset) -> None:
    wild = DistillSettings(epochs=3, batch_size=64, learning_rate=100.0, clip_norm=None)
    trained, outcome = distill(sparse, data, None, wild)
    assert "the loss went up to" in outcome.warning
    assert outcome.after >= outcome.before
    assert all(value.isfinite().all() for value in trained.graph.state_dict().values())


def test_one_cycle_rises_from_a_25th_of_the_peak_and_falls_to_nothing() -> None:
    settings = DistillSettings(learning_rate=1.0, schedule="one_cycle", warm_up=0.5)
    rates = [learning_rate(step, 100, settings) for step in range(100)]
    assert rates[24] == pytest.approx(1 / 25 + 24 / 25 / 2)
    assert rates[49] == pytest.approx(1.0)
    assert rates[75] == pytest.approx(0.5)
    assert rates[:50] == sorted(rates[:50])
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] < 0.01


def test_the_average_forgets_the_beginning_soon_and_then_moves_slowly() -> None:
    graph = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(1, 1, bias=False)))
    weight = graph.get_parameter("0.weight")
    weight.data.fill_(0.0)
    average = Average(graph, 0.5)
    weight.data.fill_(1.0)
    average.follow(graph, 1)
    assert average.graph.get_parameter("0.weight").item() == pytest.approx(1 - 2 / 11)
    average.follow(graph, 1000)
    assert average.graph.get_parameter("0.weight").item() == pytest.approx(1 - 1 / 11)


def test_optimizers_are_those_of_the_settings() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    sgd = make_optimizer([weight], DistillSettings(optimizer="sgd", momentum=0.8, weight_decay=0.1))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.defaults["nesterov"], sgd.defaults["weight_decay"]) == (0.8, True, 0.1)
    assert isinstance(make_optimizer([weight], DistillSettings()), torch.optim.AdamW)


def test_shifting_cuts_an_image_out_of_itself_with_zeros_around() -> None:
    image = torch.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    assert torch.equal(shifted(image, np.array([[1], [1]]), 1), image)
    assert shifted(image, np.array([[0], [2]]), 1)[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]


def test_images_are_changed_one_by_one_and_alike_in_every_run() -> None:
    images = torch.randn(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    change = Augmentation(DistillSettings(flip=True, seed=3))
    (changed,) = change((images,), 5)
    mirrored = [torch.equal(after, before.flip(2)) for after, before in zip(changed, images, strict=True)]
    kept = [torch.equal(after, before) for after, before in zip(changed, images, strict=True)]
    assert 16 < sum(mirrored) < 48
    assert [a != b for a, b in zip(mirrored, kept, strict=True)] == [True] * 64
    assert torch.equal(change((images,), 5)[0], changed)
    assert not torch.equal(change((images,), 6)[0], changed)
    (moved,) = Augmentation(DistillSettings(crop=2))((images,), 0)
    assert moved.shape == images.shape


def test_only_images_can_be_changed(sparse: CompressedModel, data: Dataset) -> None:
    with pytest.raises(TrainingError, match="only images can be mirrored"):
        run(sparse, data, flip=True)
