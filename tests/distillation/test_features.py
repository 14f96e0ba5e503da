"""Feature matching, worked out by hand and through whole runs."""

import pytest
import torch

from studio.compression.compress import CompressedModel, compress
from studio.distillation.features import Adapter, FeatureLoss, Pair, pairs_of, tapped
from studio.distillation.settings import DistillSettings
from studio.distillation.train import distill
from studio.errors import TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.recipe.recipe import Recipe


@pytest.fixture
def narrow(model: Model) -> CompressedModel:
    layers = {"hidden": {"channels": {"ratio": 0.5}}}
    return compress(model, Recipe.model_validate({"studio": 1, "layers": layers}))


def test_the_loss_is_the_squared_difference_as_a_share_of_the_teacher_s_power(model: Model) -> None:
    loss = FeatureLoss((Pair("hidden", "hidden"),), compress(model, Recipe()), model)

    found = loss({"hidden": torch.tensor([[1.0, 1.0]])}, {"hidden": torch.tensor([[3.0, 1.0]])})

    assert found.item() == pytest.approx(((2.0**2 + 0) / 2) / ((9 + 1) / 2))


def test_layers_are_named_alone_or_in_pairs() -> None:
    assert pairs_of(("a", "a = b"), ["a", "b"], ["a", "b"]) == (Pair("a", "a"), Pair("a", "b"))
    with pytest.raises(TrainingError, match=r"no layer 'hiden'. Did you mean 'hidden'\?"):
        pairs_of(("hiden",), ["hidden", "head"], ["hidden", "head"])


def test_tapping_gives_what_a_layer_yields_and_leaves_no_hook(model: Model) -> None:
    samples = torch.randn(3, 12, generator=torch.Generator().manual_seed(0))
    hidden = model.graph.get_submodule("hidden")

    with tapped(model.graph, ["hidden"]) as seen:
        model.graph(samples)

    torch.testing.assert_close(seen["hidden"], hidden(samples))
    assert not hidden._forward_hooks


@pytest.mark.parametrize(("axis", "shape"), [(-1, (5, 2)), (1, (5, 2, 3, 4))])
def test_an_adapter_begins_by_passing_on_the_channels_that_are_left(axis: int, shape: tuple[int, ...]) -> None:
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))

    widened = Adapter(torch.eye(4)[:, [1, 3]], axis)(features)

    assert widened.shape == (shape[0], 4, *shape[2:])
    torch.testing.assert_close(widened[:, [1, 3]], features)
    assert not widened[:, [0, 2]].any()


def test_features_of_a_narrower_layer_come_nearer_through_an_adapter(narrow: CompressedModel, data: Dataset) -> None:
    pairs = (Pair("hidden", "hidden"),)
    samples = data.inputs(range(500))
    wanted = narrow.model.graph.get_submodule("hidden")(*samples)
    settings = DistillSettings(epochs=3, batch_size=64, features=("hidden",), feature_weight=5.0)

    trained, outcome = distill(narrow, data, None, settings)

    assert outcome.after > outcome.before
    start = FeatureLoss(pairs, narrow, narrow.model)
    with tapped(narrow.graph, ["hidden"]) as seen:
        narrow.graph(*samples)
    assert start(seen, {"hidden": wanted}).item() > 0.1
    assert start.adapters[0].weight.shape == (48, 24)
    assert trained.cuts == narrow.cuts


def test_layers_of_different_widths_are_paired_through_an_adapter(model: Model, data: Dataset) -> None:
    start = FeatureLoss((Pair("hidden", "head"),), compress(model, Recipe()), model)
    assert start.adapters[0].weight.shape == (4, 48)


def test_features_of_different_sizes_are_refused(model: Model) -> None:
    loss = FeatureLoss((Pair("hidden", "hidden"),), compress(model, Recipe()), model)
    with pytest.raises(TrainingError, match="hidden and hidden differ in size"):
        loss({"hidden": torch.zeros(1, 5)}, {"hidden": torch.zeros(1, 6)})
