"""Training as the engine does it: with the processes that the environment tells of, and weights in a file."""

from dataclasses import dataclass
from pathlib import Path

from studio.compression.compressed import CompressedModel
from studio.compression.weights import save_weights
from studio.distillation.devices import choose_device
from studio.distillation.settings import DistillOutcome, DistillSettings
from studio.distillation.team import joined
from studio.distillation.train import assist, distill
from studio.engine.door import Publish
from studio.engine.requests import Distill
from studio.engine.threads import torch_threads
from studio.evaluation.data import Dataset
from studio.models.model import Model
from studio.progress import Report


@dataclass(frozen=True, eq=False)
class Lessons:
    """What a student learns from; attributes as the arguments of `studio.distillation.train.distill`."""

    train: Dataset
    held: Dataset | None
    settings: DistillSettings
    teacher: Model | None
    dense: CompressedModel | None


def distilled(
    student: CompressedModel, lessons: Lessons, request: Distill, report: Report, publish: Publish
) -> DistillOutcome:
    """Trains `student` and writes its weights.

    Raises:
        StudioError: as `distill`.
    """
    kept = Path(request.checkpoints) if request.checkpoints else None
    with torch_threads(request.threads), joined(choose_device(lessons.settings.device)) as team:
        trained, recovery = distill(
            student,
            **vars(lessons),
            checkpoints=kept,
            resume=request.resume,
            team=team,
            report=report,
            publish=publish,
        )
    return recovery.saved_as(str(save_weights(trained, Path(request.folder))))


def assisted(student: CompressedModel, lessons: Lessons) -> None:
    """Helps the process that leads until it is done.

    Raises:
        TrainingError: that process has ended.
    """
    with joined(choose_device(lessons.settings.device)) as team:
        assist(student, **vars(lessons), team=team)
