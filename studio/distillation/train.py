"""Recovering accuracy: the compressed model learns to answer as the original does."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import fx

from studio.compression.compressed import CompressedModel
from studio.compression.trainable import trainable
from studio.distillation.augment import Augmentation
from studio.distillation.changes import Changes
from studio.distillation.checkpoint import Keeper, load_checkpoint
from studio.distillation.devices import Arithmetic, choose_device
from studio.distillation.features import FeatureLoss, pairs_of
from studio.distillation.lessons import Lessons
from studio.distillation.memory import MEGABYTE
from studio.distillation.run import Run, unpublished
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.distillation.student import Student
from studio.distillation.teacher import Teacher, check_pair
from studio.distillation.team import Team
from studio.errors import TrainingError
from studio.evaluation.data import Dataset, hold_out
from studio.evaluation.reference import MEMORY_LIMIT
from studio.models.model import Model
from studio.progress import Report, silent

#: Share of the training samples that is held out when no other samples are given to measure on.
HELD_SHARE = 0.1

#: Megabytes of a limit that kernels and autograd keep for themselves once they run: 10 to 14 were seen.
_KERNELS = 12

#: Share of a limit on memory that the teacher's answers may take, to the samples of training and to those held out.
_ANSWERS = 0.1

#: Settings that may change between two sittings of one run.
FREE = {"device", "checkpoint_seconds", "accumulate", "memory_limit"}


@dataclass(frozen=True)
class Recovery:
    """What a distillation came to, see `DistillOutcome`; here the weights are still in memory."""

    metric: str
    teacher: float
    before: float
    after: float
    epochs: int
    seconds: float
    device: str
    precision: str
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
    teacher: Model | None = None,
    dense: CompressedModel | None = None,
    checkpoints: Path | None = None,
    resume: bool = False,
    team: Team | None = None,
    report: Report = silent,
    publish: Callable[[TrainingPoint], None] = unpublished,
) -> tuple[CompressedModel, Recovery]:
    """Trains a compressed model towards its original or another teacher.

    Masks, factors and quantizers are in force at every step.

    The weights that do best on held-out samples win, those before training included, so that the result is never
    worse than the start on them. A loss that is no longer finite, or far beyond that of a student that knows nothing,
    ends the run early with the best weights so far.

    The samples of a step pass in as many parts as memory asks for; the step stays that of the whole batch. On the CPU a
    run that was stopped and resumed ends with bit for bit the weights of one that was not.

    Args:
        compressed: what to train; stays as it is.
        train: samples to train on; labels are used where there are any and β < 1.
        held: samples to measure on; None holds a tenth of `train` back.
        settings: how to train.
        teacher: whose answers are learnt, a model with the same inputs and outputs; None for the original.
        dense: where gradual pruning begins, the model compressed by `Recipe.before_pruning`; needed only for that.
        checkpoints: folder of the run's checkpoint, written at intervals and when the run is cancelled; whoever gave
            it removes it in the end. None keeps none.
        resume: goes on from the checkpoint in that folder.
        team: processes that help with every step, each with a batch of its own (`assist`); None for none.
        report: receives progress at every step; raising `Cancelled` from it ends the run.
        publish: receives the points of the curves, on resuming those of before first.

    Returns:
        The trained model, and how it did.

    Raises:
        MemoryShortError: memory is short, even so.
        TrainingError: the device is not there, the memory's limit too low, no layer is left to train, the teacher has
            other inputs or outputs, or the checkpoint is missing, damaged or of another run.
        DataError: there are too few samples, or their labels do not fit the model.
    """
    arithmetic = _arithmetic(compressed, settings)
    if held is None:
        train, held = hold_out(train, HELD_SHARE, settings.seed)
    teacher = teacher or compressed.model
    check_pair(teacher.info, compressed.model.info)
    run = _made(
        compressed,
        teacher,
        _start(compressed, dense, settings),
        train,
        held,
        settings,
        arithmetic,
        team or Team(),
        keeper=Keeper(checkpoints, settings.checkpoint_seconds),
        report=report,
        publish=publish,
    )
    if resume and checkpoints is not None:
        run.resume(load_checkpoint(checkpoints))
    return _recovered(run, held.metric, arithmetic)


def assist(
    compressed: CompressedModel,
    train: Dataset,
    held: Dataset | None,
    settings: DistillSettings,
    team: Team,
    *,
    teacher: Model | None = None,
    dense: CompressedModel | None = None,
) -> None:
    """Helps another process with its `distill`, which has been given the same arguments, until that is done.

    Raises:
        TrainingError: as `distill`, and when that process has ended.
    """
    arithmetic = _arithmetic(compressed, settings)
    if held is None:
        train, _ = hold_out(train, HELD_SHARE, settings.seed)
    start, original = _start(compressed, dense, settings), teacher or compressed.model
    _, lessons, student = _classroom(compressed, original, start, train, settings, arithmetic, team)
    student.assist(lessons)


def _arithmetic(compressed: CompressedModel, settings: DistillSettings) -> Arithmetic:
    """Where and how the run computes.

    Raises:
        TrainingError: this machine cannot compute as the settings ask.
    """
    return Arithmetic(choose_device(settings.device), settings.precision, compressed.model.info.layers)


def _classroom(
    compressed: CompressedModel,
    original: Model,
    start: CompressedModel,
    train: Dataset,
    settings: DistillSettings,
    arithmetic: Arithmetic,
    team: Team,
) -> tuple[Teacher, Lessons, Student]:
    """Those who teach and learn, and what.

    Raises:
        TrainingError: the limit is too low for even one sample at a time.
    """
    mine, theirs = ([layer.name for layer in one.info.layers] for one in (compressed.model, original))
    pairs = pairs_of(settings.features, mine, theirs)
    recalls = Augmentation(settings).is_idle
    limit = None if settings.memory_limit is None else settings.memory_limit * MEGABYTE
    remembers = MEMORY_LIMIT if limit is None else min(MEMORY_LIMIT, int(_ANSWERS * limit))
    taught = [pair.teacher for pair in pairs]
    teacher = Teacher(original.graph, train, arithmetic, taught, recalls=recalls, remembers=remembers)
    features = FeatureLoss(pairs, compressed, original)
    student = Student(_graph(start, settings), features, settings, arithmetic, team)
    lessons = Lessons(train, teacher, settings, team)
    if limit is not None:
        taken = student.footprint(lessons.few)
        taken = replace(taken, fixed=taken.fixed + teacher.bytes + _KERNELS * MEGABYTE)
        student.parts = max(student.parts, taken.parts(settings.batch_size, limit, 1 - 2 * _ANSWERS))
    if student.parts > 1:
        teacher.at_once = min(teacher.at_once, -(-settings.batch_size // student.parts))
    return teacher, lessons, student


def _recovered(run: Run, metric: str, arithmetic: Arithmetic) -> tuple[CompressedModel, Recovery]:
    """Trains to the end, and tells how it went."""
    trained, state, value = run.result()
    return trained, Recovery(
        metric=metric,
        teacher=state.before.teacher,
        before=state.before.whole,
        after=value,
        epochs=run.epochs_done,
        seconds=state.seconds,
        device=arithmetic.device.type,
        precision=arithmetic.precision,
        warning=run.remark,
    )


def _made(
    compressed: CompressedModel,
    original: Model,
    start: CompressedModel,
    train: Dataset,
    held: Dataset,
    settings: DistillSettings,
    arithmetic: Arithmetic,
    team: Team,
    *,
    keeper: Keeper,
    report: Report,
    publish: Callable[[TrainingPoint], None],
) -> Run:
    """A run with all that it is made of."""
    teacher, lessons, student = _classroom(compressed, original, start, train, settings, arithmetic, team)
    return Run(
        compressed,
        start,
        student,
        Changes(student.graph, start, settings, lessons.per_epoch),
        teacher,
        lessons,
        held,
        settings,
        identity=_identity(compressed, original, train, held, settings, team.size) if keeper.folder is not None else {},
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


def _identity(
    compressed: CompressedModel,
    teacher: Model,
    train: Dataset,
    held: Dataset,
    settings: DistillSettings,
    processes: int,
) -> dict[str, str]:
    """What the course of a run depends on, by names for people."""
    chosen = {name: str(value) for name, value in settings.model_dump(exclude=FREE).items()}
    return {
        "the model": compressed.model.info.fingerprint,
        "the teacher": teacher.info.fingerprint,
        "the recipe": compressed.recipe.model_dump_json(),
        "the training data": train.fingerprint,
        "the held-out data": held.fingerprint,
        **chosen,
        "batch_size": str(settings.batch_size * processes),
    }
