"""Training as the engine does it: with the processes that the environment tells of, and weights in a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from studio.compression.compressed import CompressedModel
from studio.compression.weights import save_weights
from studio.distillation.devices import choose_device
from studio.distillation.folder import has_checkpoint, is_resumable
from studio.distillation.settings import DistillOutcome, DistillSettings
from studio.distillation.team import Team, joined
from studio.distillation.train import assist, distill
from studio.engine.channel_steps import ChannelSteps, step_recipes
from studio.engine.door import Publish
from studio.engine.requests import Distill, Source
from studio.engine.threads import torch_threads
from studio.errors import TrainingError
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.progress import Report
from studio.recipe.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a student learns from; attributes as the arguments of `studio.distillation.train.distill`."""

    train: Dataset
    held: Dataset | None
    settings: DistillSettings
    teacher: Model | None
    dense: CompressedModel | None


def distilled(
    student: CompressedModel,
    lessons: Lessons,
    request: Distill,
    narrow: Callable[[Source], CompressedModel],
    report: Report,
    publish: Publish,
) -> DistillOutcome:
    """Trains `student` and writes its weights.

    Args:
        student: what the first recipe of `recipes_of` makes.
        lessons: what it learns from.
        request: what is asked.
        narrow: carries out a later one of those recipes on trained weights.
        report: receives progress.
        publish: receives the points of the curves.

    Raises:
        StudioError: as `distill`.
    """
    kept = Path(request.checkpoints) if request.checkpoints else None
    resume = request.resume and not (kept and _is_at_its_first_step(kept))
    recipes = recipes_of(request, student.model)
    with torch_threads(request.threads), joined(choose_device(lessons.settings.device)) as team:
        if len(recipes) > 1:
            _check_steps(lessons.settings, team)
            with nullcontext(kept) if kept else _forgotten() as place:
                trained, recovery = ChannelSteps(
                    lambda recipe, weights: (
                        narrow(replace(request.source, recipe=recipe, weights=weights)) if weights else student
                    ),
                    lessons.train,
                    lessons.held,
                    lessons.settings,
                    lessons.teacher,
                    place,
                    keeps=kept is not None,
                    report=report,
                    publish=publish,
                ).run(recipes, resume)
            return recovery.saved_as(str(save_weights(trained, Path(request.folder))))
        trained, recovery = distill(
            student,
            **vars(lessons),
            checkpoints=kept,
            resume=resume,
            team=team,
            report=report,
            publish=publish,
        )
    return recovery.saved_as(str(save_weights(trained, Path(request.folder))))


def _is_at_its_first_step(kept: Path) -> bool:
    """Whether a run was begun and stopped before there was anything to keep."""
    return is_resumable(kept) and not has_checkpoint(kept)


@contextmanager
def _forgotten() -> Iterator[Path]:
    """A folder that goes with the block."""
    with TemporaryDirectory() as folder:
        yield Path(folder)


def recipes_of(request: Distill, model: Model) -> list[Recipe]:
    """The recipe of a request, or those of its steps one after the other."""
    return step_recipes(request.source.recipe, model.info.layers, request.settings.channel_steps)


def _check_steps(settings: DistillSettings, team: Team) -> None:
    """Refuses what does not go with channels in steps.

    Raises:
        TrainingError: something is asked for that does not.
    """
    if settings.gradual:
        raise TrainingError("channel_steps: channels in steps and gradual pruning do not go together; choose one.")
    if team.size > 1:
        raise TrainingError("channel_steps: channels in steps are trained by one process alone (--processes 1).")


def assisted(student: CompressedModel, lessons: Lessons) -> None:
    """Helps the process that leads until it is done.

    Raises:
        TrainingError: that process has ended.
    """
    with joined(choose_device(lessons.settings.device)) as team:
        assist(student, **vars(lessons), team=team)
