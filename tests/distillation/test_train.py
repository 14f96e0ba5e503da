"""Whole distillations of a small network."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from studio.compression.compress import CompressedModel, compress
from studio.distillation.copies import smaller_copy
from studio.distillation.copy_settings import CopySettings
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.train import distill
from studio.errors import TrainingError
from studio.evaluation.data import Dataset, hold_out
from studio.evaluation.evaluate import evaluate
from studio.evaluation.inputs import Input
from studio.models.layer import TensorSpec
from studio.models.layers import layer_table
from studio.models.model import Model
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe

SPARSE = {"prune": {"kind": "unstructured", "ratio": 0.7}}


def compressed_by(model: Model, **entries: object) -> CompressedModel:
    return compress(model, Recipe.model_validate({"studio": 1, **entries}))


@pytest.fixture
def sparse(model: Model) -> CompressedModel:
    return compressed_by(model, default=SPARSE)


def weights_of(compressed: CompressedModel) -> dict[str, torch.Tensor]:
    return {layer.name: compressed.effective_weight(layer.name).clone() for layer in compressed.model.info.layers}


def test_a_sparse_network_recovers_and_its_zeros_stay(sparse: CompressedModel, data: Dataset) -> None:
    train, held = hold_out(data, 0.25, seed=0)
    zeros = {name: weight == 0 for name, weight in weights_of(sparse).items()}

    trained, outcome = distill(sparse, train, held, DistillSettings(epochs=12, batch_size=64, learning_rate=0.01))

    assert outcome.teacher == 100.0
    assert outcome.before == evaluate(sparse, held).metric.value
    assert outcome.after == evaluate(trained, held).metric.value
    assert outcome.after >= outcome.before + 30
    assert outcome.warning == ""
    for name, weight in weights_of(trained).items():
        assert torch.equal(weight == 0, zeros[name])


def test_neither_the_student_nor_the_teacher_handed_in_is_changed(
    model: Model, sparse: CompressedModel, data: Dataset
) -> None:
    before = {name: value.clone() for name, value in model.graph.state_dict().items()}
    student = weights_of(sparse)

    distill(sparse, data, None, DistillSettings(epochs=1))

    assert all(torch.equal(value, before[name]) for name, value in model.graph.state_dict().items())
    assert all(torch.equal(weight, student[name]) for name, weight in weights_of(sparse).items())


def test_integers_stay_integers_and_factors_keep_their_rank(model: Model, data: Dataset) -> None:
    small = compressed_by(
        model,
        layers={
            "hidden": {"rank": {"rank": 3}},
            "head": {"quantize": {"weight_bits": 4, "granularity": "channel"}},
        },
    )

    trained, outcome = distill(small, data, None, DistillSettings(epochs=3, batch_size=64))

    assert outcome.after > outcome.before
    assert torch.linalg.matrix_rank(trained.effective_weight("hidden"), rtol=1e-4) == 3
    assert all(len(row.unique()) <= 16 for row in trained.effective_weight("head"))


def test_a_kept_layer_stays_as_it_is_while_the_others_learn(model: Model, data: Dataset) -> None:
    partly = compressed_by(model, default=SPARSE, layers={"head": {"keep": True}})

    trained, outcome = distill(partly, data, None, DistillSettings(epochs=2))

    assert outcome.after > outcome.before
    assert torch.equal(trained.effective_weight("head"), model.graph.get_submodule("head").weight)


def test_keeping_every_layer_leaves_nothing_to_train(model: Model, data: Dataset) -> None:
    with pytest.raises(TrainingError, match="nothing is left to train"):
        distill(compressed_by(model, default={"keep": True}), data, None, DistillSettings())


def test_points_tell_of_the_whole_run(sparse: CompressedModel, data: Dataset) -> None:
    points: list[TrainingPoint] = []

    _, outcome = distill(sparse, data, None, DistillSettings(epochs=2, batch_size=50), publish=points.append)

    first, last = points[0], points[-1]
    assert (first.step, first.epoch, first.value) == (0, 0.0, outcome.before)
    assert (last.step, last.total_steps, last.epoch) == (72, 72, 2.0)
    assert {36, 72} <= {point.step for point in points if point.value is not None}
    assert [point.step for point in points] == sorted({point.step for point in points})
    assert max(b.step - a.step for a, b in pairwise(points)) <= 10
    assert all(math.isfinite(point.loss) for point in points)
    assert last.loss < first.loss
    assert outcome.after == max(point.value for point in points if point.value is not None)


def test_progress_counts_the_steps_and_names_the_epoch(sparse: CompressedModel, data: Dataset) -> None:
    reported: list[Progress] = []

    distill(sparse, data, None, DistillSettings(epochs=2, batch_size=100), report=reported.append)

    steps = [progress for progress in reported if progress.message.startswith("epoch")]
    assert [progress.done for progress in steps] == list(range(1, 37))
    assert {progress.total for progress in reported} == {36}
    assert steps[0].message == "epoch 1 of 2"
    assert steps[-1].message == "epoch 2 of 2"
    assert [progress.done for progress in reported] == sorted(progress.done for progress in reported)


@pytest.mark.parametrize("at", [0, 1, 20])
def test_cancelling_ends_the_run_at_once(sparse: CompressedModel, data: Dataset, at: int) -> None:
    reported: list[Progress] = []

    def stop(progress: Progress) -> None:
        reported.append(progress)
        if progress.done >= at:
            raise Cancelled

    with pytest.raises(Cancelled):
        distill(sparse, data, None, DistillSettings(epochs=5), report=stop)

    assert reported[-1].done == at


def test_the_same_seed_gives_the_same_weights(sparse: CompressedModel, data: Dataset) -> None:
    first, _ = distill(sparse, data, None, DistillSettings(epochs=1, seed=3))
    again, _ = distill(sparse, data, None, DistillSettings(epochs=1, seed=3))

    assert all(torch.equal(weight, weights_of(again)[name]) for name, weight in weights_of(first).items())


def test_training_that_only_does_harm_gives_the_start_back(model: Model, data: Dataset) -> None:
    light = compressed_by(model, default={"prune": {"kind": "unstructured", "ratio": 0.1}})
    wild = DistillSettings(epochs=1, learning_rate=1000.0, clip_norm=None)

    trained, outcome = distill(light, data, None, wild)

    assert outcome.after == outcome.before > 90
    assert all(torch.equal(weight, weights_of(light)[name]) for name, weight in weights_of(trained).items())


def test_a_loss_that_is_not_finite_ends_the_run_with_the_best_weights_so_far(
    sparse: CompressedModel, data: Dataset
) -> None:
    rows = data.inputs(range(len(data)))[0].numpy().copy()
    rows[1234] = 1e38  # one sample overflows
    labels = data.labels(range(len(data)))
    assert labels is not None
    plain = Input(rows, (0, 1), 1.0, torch.tensor(0.0), torch.tensor(1.0))
    broken = Dataset("broken", [plain], labels.numpy(), classes=4)

    trained, outcome = distill(sparse, broken, data, DistillSettings(epochs=3, batch_size=25))

    assert outcome.warning.startswith("Stopped at step ")
    assert outcome.after >= outcome.before
    assert all(weight.isfinite().all() for weight in weights_of(trained).values())


def test_without_labels_the_teacher_is_followed_and_agreement_measured(model: Model, data: Dataset) -> None:
    plain = Input(data.inputs(range(len(data)))[0].numpy(), (0, 1), 1.0, torch.tensor(0.0), torch.tensor(1.0))
    unlabelled = Dataset("unlabelled", [plain])

    _, outcome = distill(compressed_by(model, default=SPARSE), unlabelled, None, DistillSettings(epochs=4))

    assert (outcome.metric, outcome.teacher) == ("agreement", 100.0)
    assert outcome.after > outcome.before


def test_the_outcome_names_the_file_the_weights_are_saved_to(sparse: CompressedModel, data: Dataset) -> None:
    _, recovery = distill(sparse, data, None, DistillSettings(epochs=1))

    outcome = recovery.saved_as("abc.safetensors")

    assert (outcome.weights, outcome.before, outcome.after) == ("abc.safetensors", recovery.before, recovery.after)


def test_another_model_learns_from_a_teacher_that_stays_as_it_is(model: Model, data: Dataset) -> None:
    graph = smaller_copy(model, CopySettings(width=0.5)).graph
    info = replace(model.info, fingerprint="small", layers=layer_table(graph, model.example()))
    student = compress(Model(graph, info), Recipe())
    before = {name: value.clone() for name, value in model.graph.state_dict().items()}

    settings = DistillSettings(epochs=4, batch_size=64, learning_rate=0.02, beta=1.0, features=("hidden",))
    trained, outcome = distill(student, data, None, settings, teacher=model)

    assert outcome.teacher == 100.0
    assert outcome.after >= outcome.before + 30
    assert trained.graph.get_submodule("hidden").weight.shape == (24, 12)
    assert all(torch.equal(value, before[name]) for name, value in model.graph.state_dict().items())


def test_a_teacher_with_other_outputs_is_refused(model: Model, sparse: CompressedModel, data: Dataset) -> None:
    other = replace(model, info=replace(model.info, outputs=(TensorSpec("scores", "float32", (None, 7)),)))

    with pytest.raises(TrainingError, match="y of the student is float32 any×4, scores of the teacher float32 any×7"):
        distill(sparse, data, None, DistillSettings(), teacher=other)
