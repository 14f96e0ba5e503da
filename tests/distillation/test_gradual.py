"""Sparsity that grows while a model learns."""

from pathlib import Path

import pytest
import torch

from studio.compression.compress import CompressedModel, compress
from studio.compression.modules import CompressedLayer
from studio.compression.stored import MaskedWeight
from studio.compression.trainable import freeze, trainable
from studio.distillation.gradual import GradualPruning, prune_to
from studio.distillation.settings import DistillSettings
from studio.distillation.train import distill
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe
from studio.recipe.settings import PruneSettings

RECIPE = Recipe.model_validate(
    {
        "default": {"prune": {"kind": "unstructured", "ratio": 0.9}},
        "layers": {"head": {"quantize": {"weight_bits": 8}}},
    }
)


@pytest.fixture
def pruned(model: Model) -> CompressedModel:
    return compress(model, RECIPE)


@pytest.fixture
def dense(model: Model) -> CompressedModel:
    return compress(model, RECIPE.before_pruning())


def zeros(compressed: CompressedModel) -> dict[str, int]:
    return {one.name: int((compressed.effective_weight(one.name) == 0).sum()) for one in compressed.model.info.layers}


def test_before_pruning_no_weight_is_gone_and_the_form_is_the_same(
    pruned: CompressedModel, dense: CompressedModel
) -> None:
    mine, theirs = pruned.graph.state_dict(), dense.graph.state_dict()
    assert {name: value.shape for name, value in mine.items()} == {name: v.shape for name, v in theirs.items()}
    assert all(theirs[name].all() for name in theirs if name.endswith("mask"))


def test_the_share_grows_along_a_cube(pruned: CompressedModel, dense: CompressedModel) -> None:
    pruning = GradualPruning(trainable(dense), pruned, 200)
    assert pruning.end == 200
    assert [pruning.share(step) for step in (0, 100, 200, 300)] == pytest.approx([0.0, 1 - 0.5**3, 1.0, 1.0])


def masked(*weights: float) -> MaskedWeight:
    return MaskedWeight(torch.tensor([weights]), torch.ones(1, len(weights), dtype=torch.bool))


def test_of_inputs_alike_the_smallest_weights_go_and_those_that_are_gone_stay() -> None:
    weight = masked(4.0, -1.0, 3.0, 0.5)
    half, alike = PruneSettings(ratio=0.5), torch.eye(4, dtype=torch.float64)[None]
    prune_to(weight, alike, 0.5, half)
    assert weight()[0].tolist() == pytest.approx([4.0, -1.0, 3.0, 0.0])
    weight.weight.data[0, 3] = 9.0  # whatever becomes of it unseen
    prune_to(weight, alike, 1.0, half)
    assert weight()[0].tolist() == pytest.approx([4.0, 0.0, 3.0, 0.0])


def test_a_larger_weight_goes_first_if_its_input_is_faint() -> None:
    weight = masked(3.0, 1.0)
    prune_to(weight, torch.diag(torch.tensor([0.01, 1.0], dtype=torch.float64))[None], 1.0, PruneSettings(ratio=0.5))
    assert weight()[0].tolist() == pytest.approx([0.0, 1.0])


def test_the_weights_left_make_up_for_those_that_go() -> None:
    weight = masked(1.0, 2.0)
    H = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]], dtype=torch.float64)  # one percent is added to its diagonal
    prune_to(weight, H, 1.0, PruneSettings(ratio=0.5))
    assert weight()[0].tolist() == pytest.approx([0.0, 2.0 + 0.9 / 1.01])


def test_a_run_ends_with_exactly_the_zeros_that_the_recipe_wants(
    pruned: CompressedModel, dense: CompressedModel, data: Dataset
) -> None:
    settings = DistillSettings(epochs=6, batch_size=64, learning_rate=0.01, gradual=True)
    at_once, one_shot = distill(pruned, data, None, settings.model_copy(update={"gradual": False}))
    trained, outcome = distill(pruned, data, None, settings, dense=dense)

    assert zeros(trained)["hidden"] == zeros(pruned)["hidden"] == round(0.9 * 48 * 12)
    assert int(trained.graph.get_submodule("head").stored.mask.sum()) == round(0.1 * 48 * 4)
    assert trained.settings == pruned.settings
    assert trained.recipe == pruned.recipe
    assert outcome.before == one_shot.before
    assert outcome.after > one_shot.after
    assert at_once.settings == trained.settings
    layer = trained.graph.get_submodule("head")
    assert isinstance(layer, CompressedLayer)
    assert not layer.effective_weight()[~layer.stored.mask].any()


def test_a_run_that_is_too_short_gives_the_start_back(
    pruned: CompressedModel, dense: CompressedModel, data: Dataset
) -> None:
    settings = DistillSettings(epochs=1, batch_size=4096, gradual=True)
    trained, outcome = distill(pruned, data, None, settings, dense=dense)
    assert outcome.after == outcome.before
    assert zeros(trained) == zeros(pruned)


def test_gradual_pruning_is_resumed_to_the_very_weights(
    pruned: CompressedModel, dense: CompressedModel, data: Dataset, tmp_path: Path
) -> None:
    settings = DistillSettings(epochs=3, batch_size=64, learning_rate=0.01, gradual=True)

    def stop(progress: Progress) -> None:
        if progress.message.startswith("epoch") and progress.done == 20:
            raise Cancelled

    expected, _ = distill(pruned, data, None, settings, dense=dense)
    with pytest.raises(Cancelled):
        distill(pruned, data, None, settings, dense=dense, checkpoints=tmp_path, report=stop)
    resumed, _ = distill(pruned, data, None, settings, dense=dense, checkpoints=tmp_path, resume=True)
    for name, value in expected.graph.state_dict().items():
        assert torch.equal(resumed.graph.state_dict()[name], value), name


def test_it_needs_to_know_where_to_begin(pruned: CompressedModel, data: Dataset) -> None:
    with pytest.raises(ValueError, match="begins with a model that is not pruned"):
        distill(pruned, data, None, DistillSettings(gradual=True))


def test_freezing_keeps_the_masks_of_now(pruned: CompressedModel, dense: CompressedModel, data: Dataset) -> None:
    graph = trainable(dense)
    pruning = GradualPruning(graph, pruned, 10)
    pruning.before(pruning.end, data.inputs(range(64)))
    frozen = freeze(dense, graph)
    for name in ("hidden", "head"):
        stored = frozen.graph.get_submodule(name).stored
        assert int((~stored.mask).sum()) == round(0.9 * stored.mask.numel())
        assert not stored()[~stored.mask].any()
