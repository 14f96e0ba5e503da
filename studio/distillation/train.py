"""Recovering accuracy: the compressed model learns to answer as the original does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import fx

from studio.compression.compressed import CompressedModel
from studio.compression.trainable import trainable
from studio.distillation.augment import Augmentation
from studio.distillation.changes import Changes
from studio.distillation.checkpoint import Keeper, load_checkpoint
from studio.distillation.devices import choose_device
from studio.distillation.features import FeatureLoss, pairs_of
from studio.distillation.lessons import Lessons
from studio.distillation.run import Run, unpublished
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.distillation.student import Student
from studio.distillation.teacher import Teacher
from studio.errors import TrainingError
from studio.evaluation.data import Dataset, hold_out
from studio.progress import Report, silent

#: Share of the training samples that is held out when no other samples are given to measure on.
HELD_SHARE = 0.1

#: Settings that may change between two sittings of one run.
_FREE = {"device", "checkpoint_seconds"}


@dataclass(frozen=True)
class Recovery:
    """What a distillation came to, see `DistillOutcome`; here the weights are still in memory."""

    metric: str
    teacher: float
    before: float
    after: float
    epochs: int
    seconds: float
    warning: str = ""

    def saved_as(self, weights: str) -> DistillOutcome:
        """The outcome once the weights are in a file."""
        return DistillOutcome(weights=weights, **vars(self))


def distill(
    compressed: CompressedModel,
    train: Dataset,
    held: Dataset | None,
    settings: DistillSettings,
    *,
    dense: CompressedModel | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    report: Report = silent,
    publish: Callable[[TrainingPoint], None] = unpublished,
) -> tuple[CompressedModel, Recovery]:
    """Trains a compressed model towards its original, masks, factors and quantizers in force at every step.

    The weights that do best on held-out samples win, those before training included, so that the result is never
    worse than the start on them. A loss that is no longer finite, or far beyond that of a student that knows nothing,
    ends the run early with the best weights so far.

    On the CPU a run that was stopped and resumed ends with bit for bit the weights of one that was not.

    Args:
        compressed: what to train; stays as it is.
        train: samples to train on; labels are used where there are any and β < 1.
        held: samples to measure on; None holds a tenth of `train` back.
        settings: how to train.
        dense: where gradual pruning begins, the model compressed by `Recipe.before_pruning`; needed only for that.
        checkpoints: folder of the run's checkpoint, written at intervals and when the run is cancelled; whoever gave
            it removes it in the end. None keeps none.
        resume: goes on from the checkpoint in that folder.
        report: receives progress at every step; raising `Cancelled` from it ends the run.
        publish: receives the points of the curves, on resuming those of before first.

    Returns:
        The trained model, and how it did.

    Raises:
        TrainingError: the device is not there, no layer is left to train, or the checkpoint is missing, damaged or of
            another run.
        DataError: there are too few samples, or their labels do not fit the model.
    """
    device = choose_device(settings.device)
    if held is None:
        train, held = hold_out(train, HELD_SHARE, settings.seed)
    run = _made(
        compressed,
        _start(compressed, dense, settings),
        train,
        held,
        settings,
        device,
        keeper=Keeper(checkpoints, settings.checkpoint_seconds),
        report=report,
        publish=publish,
    )
    if resume and checkpoints is not None:
        run.resume(load_checkpoint(checkpoints))
    trained, state, value = run.result()
    return trained, Recovery(
        metric=held.metric,
        teacher=state.before.teacher,
        before=state.before.whole,
        after=value,
        epochs=run.epochs_done,
        seconds=state.seconds,
        warning=state.ended,
    )


def _made(
    compressed: CompressedModel,
    start: CompressedModel,
    train: Dataset,
    held: Dataset,
    settings: DistillSettings,
    device: torch.device,
    *,
    keeper: Keeper,
    report: Report,
    publish: Callable[[TrainingPoint], None],
) -> Run:
    """A run with all that it is made of."""
    pairs = pairs_of(settings.features, [layer.name for layer in compressed.model.info.layers])
    recalls = Augmentation(settings).is_idle
    teacher = Teacher(compressed.model.graph, train, device, [pair.teacher for pair in pairs], recalls=recalls)
    lessons = Lessons(train, teacher, settings)
    student = Student(_graph(start, settings), FeatureLoss(pairs, compressed), settings, device)
    return Run(
        compressed,
        start,
        student,
        Changes(student.graph, start, settings, lessons.per_epoch),
        teacher,
        lessons,
        held,
        settings,
        identity=_identity(compressed, train, held, settings) if keeper.folder is not None else {},
        keeper=keeper,
        report=report,
        publish=publish,
    )


def _start(compressed: CompressedModel, dense: CompressedModel | None, settings: DistillSettings) -> CompressedModel:
    """Where training begins; what is pruned gradually is not yet, though its settings say so.

    Raises:
        ValueError: gradual pruning has nothing to begin with.
    """
    if not settings.gradual:
        return compressed
    if dense is None:
        raise ValueError("gradual pruning begins with a model that is not pruned")
    return replace(dense, recipe=compressed.recipe, settings=compressed.settings)


def _graph(compressed: CompressedModel, settings: DistillSettings) -> fx.GraphModule:
    """What is trained.

    Raises:
        TrainingError: there is nothing.
    """
    graph = trainable(compressed, learn_steps=settings.learn_steps)
    if not any(parameter.requires_grad for parameter in graph.parameters()):
        raise TrainingError("every layer is kept as it is; nothing is left to train.")
    return graph


def _identity(compressed: CompressedModel, train: Dataset, held: Dataset, settings: DistillSettings) -> dict[str, str]:
    """What the course of a run depends on, by names for people."""
    chosen = {name: str(value) for name, value in settings.model_dump(exclude=_FREE).items()}
    return {
        "the model": compressed.model.info.fingerprint,
        "the recipe": compressed.recipe.model_dump_json(),
        "the training data": train.fingerprint,
        "the held-out data": held.fingerprint,
        **chosen,
    }
