"""Distillations of a session: begun, kept on disk as long as they are not done, and offered again after a crash."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from psygnal import Signal
from pydantic import ValidationError

from studio.distillation.folder import forget, has_checkpoint, is_resumable, note_begun
from studio.distillation.settings import DistillOutcome, DistillSettings
from studio.engine.requests import Distill, Source
from studio.errors import EngineStoppedError, MemoryShortError, StudioError
from studio.files import keep_text, make_folder
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Settings
from studio.session.jobs import Job, Jobs, JobState
from studio.session.project import Project
from studio.session.runs import TrainedRun

log = logging.getLogger(__name__)

#: Name of the file that tells what the checkpoint beside it belongs to.
_FILE = "run.json"

Finished = Callable[[Project, TrainedRun], None]


class SavedRun(Settings):
    """A distillation as it is kept: all that its request names."""

    model: str
    skeleton: str | None = None
    recipe: Recipe
    weights: str | None = None
    calibration: str | None = None
    train: str
    evaluation: str | None = None
    settings: DistillSettings
    folder: str
    teacher: str | None = None
    teacher_skeleton: str | None = None

    @property
    def taught_by(self) -> tuple[str, str | None]:
        """The open model that it belongs to: the teacher, which is the model's own original unless another is named."""
        return (self.teacher, self.teacher_skeleton) if self.teacher else (self.model, self.skeleton)


class Recoveries:
    """Starts distillations and keeps what they need to be resumed.

    Args:
        folder: of the session; runs are kept in ``training`` and trained weights in ``weights`` below it.
        jobs: where they run.
        threads: torch threads of a run; None for all cores.
        finished: receives the project that a run began with, and the run once it is done.

    Attributes:
        taught: emitted with the project, the run as it was saved and as it ended, once a student of its own has learnt.
    """

    taught = Signal(Project, SavedRun, TrainedRun)

    def __init__(self, folder: Path, jobs: Jobs, threads: int | None, finished: Finished) -> None:
        self._folder = folder
        self._jobs = jobs
        self._threads = threads
        self._finished = finished
        self._kept: dict[int, Path] = {}
        jobs.changed.connect(self._follow)

    def new_folder(self) -> Path:
        """A folder for a run, which is removed when the run is over."""
        return self._folder / "training" / uuid4().hex

    def start(
        self, project: Project, settings: DistillSettings, student: str | None = None, folder: Path | None = None
    ) -> Job:
        """Trains the present choice of `project`, or another model, towards its original.

        Args:
            project: what is open.
            settings: how to train.
            student: path of the other model.
            folder: of `new_folder`, where something is in it already.

        Raises:
            StudioError: there is no training data, the model cannot be trained, or the run cannot be kept.
        """
        project.info.require("train")
        if project.train is None:
            raise StudioError("Choose training data first: distillation needs samples to learn from.")
        source = project.source() if student is None else Source(student, Recipe())
        saved = SavedRun(
            model=source.model,
            skeleton=source.skeleton,
            recipe=source.recipe,
            weights=source.weights,
            calibration=source.calibration,
            train=project.train.path,
            evaluation=project.test.path if project.test else None,
            settings=settings,
            folder=str(folder or self.new_folder()),
        )
        if student is not None:
            info = project.info
            saved = saved.model_copy(update={"teacher": info.path, "teacher_skeleton": info.skeleton})
        return self._run(project, saved, resume=False)

    def interrupted(self, project: Project) -> SavedRun | None:
        """The newest run of the project's model that can go on and that no job of this session takes care of."""
        files = sorted(self._folder.glob(f"training/*/{_FILE}"), key=lambda file: file.stat().st_mtime, reverse=True)
        free = [file for file in files if file.parent not in self._kept.values() and is_resumable(file.parent)]
        runs = filter(None, map(_read, free))
        return next((run for run in runs if run.taught_by == (project.info.path, project.info.skeleton)), None)

    def resume(self, project: Project, saved: SavedRun) -> Job:
        """Goes on with a run that was interrupted.

        Raises:
            StudioError: it cannot be kept.
        """
        return self._run(project, saved, resume=True)

    def discard(self, saved: SavedRun) -> None:
        """Forgets a run that was interrupted."""
        forget(Path(saved.folder))

    def _run(self, project: Project, saved: SavedRun, *, resume: bool) -> Job:
        weights, kept = self._folder / "weights", Path(saved.folder)
        make_folder(weights)
        note_begun(kept)
        keep_text(kept / _FILE, saved.model_dump_json(exclude_unset=True))
        request = Distill(
            Source(saved.model, saved.recipe, saved.weights, saved.calibration, saved.skeleton),
            saved.train,
            saved.evaluation,
            saved.settings,
            str(weights),
            self._threads,
            str(kept),
            resume,
            saved.teacher,
            saved.teacher_skeleton,
        )

        def done(outcome: DistillOutcome) -> None:
            job, asked = self._last_of(kept)
            points, taught = tuple(job.points), saved.teacher is not None
            run = TrainedRun(
                recipe=saved.recipe, settings=asked.settings, outcome=outcome, points=points, written=taught
            )
            if taught:
                self.taught.emit(project, saved, run)
            else:
                self._finished(project, run)

        title = f"Distil {Path(saved.model).name}"
        job = self._jobs.start("distill", title, request, done, replace(request, resume=True))
        self._kept[job.id] = kept
        self._follow(job)  # it may be over already
        return job

    def _last_of(self, kept: Path) -> tuple[Job, Distill]:
        """The job that a folder was kept for last, with what it was asked: a retry asks for smaller parts."""
        asked = ((job, job.resumption) for job in reversed(self._jobs.all))
        return next((job, it) for job, it in asked if isinstance(it, Distill) and it.checkpoints == str(kept))

    def _follow(self, job: Job) -> None:
        """Forgets what is kept of a run that is over; a run that failed can go on from its last checkpoint.

        One that failed before the first would fail again, unless only its worker died.
        """
        kept = self._kept.get(job.id)
        if kept is None or job.is_running or job.can_resume:
            return
        if isinstance(job.failure, MemoryShortError) and job.retry is None:
            job.retry = _in_smaller_parts(job, resume=has_checkpoint(kept))
        if job.can_retry:
            return
        del self._kept[job.id]
        can_go_on = has_checkpoint(kept) or isinstance(job.failure, EngineStoppedError)
        if job.state is not JobState.FAILED or not can_go_on:
            forget(kept)


def _in_smaller_parts(job: Job, *, resume: bool) -> Distill | None:
    """The request of a job with the samples of a step in twice as many parts, None where they are single samples."""
    request = job.resumption
    if not isinstance(request, Distill):
        return None
    settings = request.settings
    parts = max(settings.accumulate, *(point.parts for point in job.points[-1:]), 1)
    if parts >= settings.batch_size:
        return None
    smaller = settings.model_copy(update={"accumulate": min(2 * parts, settings.batch_size)})
    job.resumption = replace(request, settings=smaller)
    return replace(request, settings=smaller, resume=resume)


def _read(file: Path) -> SavedRun | None:
    try:
        return SavedRun.model_validate_json(file.read_text(encoding="utf-8"))
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        log.warning("%s cannot be resumed: %s", file, error)
        return None
