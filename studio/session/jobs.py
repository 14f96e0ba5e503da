"""Long work beside the preview: each job has an engine worker of its own, supervised on that engine's threads."""

from collections.abc import Callable
from enum import StrEnum
from itertools import count
from time import monotonic
from typing import Any

from psygnal import Signal

from studio.distillation.settings import TrainingPoint
from studio.engine.door import Call, Engine, Lane
from studio.engine.requests import Request
from studio.progress import Progress
from studio.session.asking import Asker, Dispatch

#: Share of a job after which the time left can be told.
_TELLING = 0.02


class JobState(StrEnum):
    """Where a job stands."""

    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Job:
    """One long request.

    Attributes:
        id: unique within the session.
        kind: ``distill``, ``export``, ``scan`` or ``search``.
        title: what it does, for a person.
        state: where it stands.
        progress: the last progress, None before the first.
        points: the training curve so far; empty for other kinds.
        outcome: the request's answer once it is done.
        error: why it failed, one line.
        failure: the error itself.
        resumption: the request that goes on with the job once it was paused, None where that cannot be.
        retry: the request that takes up a job that failed for want of memory, with less of it; None for others.
    """

    def __init__(
        self,
        number: int,
        kind: str,
        title: str,
        done: Callable[[Any], None],
        resumption: Request[Any] | None = None,
        published: Callable[[Any], None] | None = None,
    ) -> None:
        self.id = number
        self.kind = kind
        self.title = title
        self.state = JobState.RUNNING
        self.progress: Progress | None = None
        self.points: list[TrainingPoint] = []
        self.outcome: Any = None
        self.error: str | None = None
        self.failure: BaseException | None = None
        self.resumption = resumption
        self.retry: Request[Any] | None = None
        self._done = done
        self._published = published
        self._first: tuple[float, float] | None = None
        self._call: Call[Any] | None = None
        self._engine: Engine | None = None

    @property
    def seconds_left(self) -> float | None:
        """How long it still takes if it goes on as since it began or was resumed; None before that can be told."""
        if self.points:
            return self.points[-1].seconds_left
        now = self.progress.fraction if self.progress is not None else None
        if self._first is None or now is None or now - self._first[1] < _TELLING:
            return None
        return (monotonic() - self._first[0]) * (1 - now) / (now - self._first[1])

    def follow(self, progress: Progress) -> None:
        """Takes in how far it is."""
        self.progress = progress
        if self._first is None and progress.fraction is not None:
            self._first = monotonic(), progress.fraction

    @property
    def is_running(self) -> bool:
        """Whether there is still something to wait for or cancel."""
        return self.state in (JobState.RUNNING, JobState.PAUSING)

    @property
    def can_pause(self) -> bool:
        """Whether it can be stopped now and go on later."""
        return self.state is JobState.RUNNING and self.resumption is not None

    @property
    def can_resume(self) -> bool:
        """Whether it was paused."""
        return self.state is JobState.PAUSED

    @property
    def can_retry(self) -> bool:
        """Whether it failed and may do with less memory."""
        return self.state is JobState.FAILED and self.retry is not None


class Jobs:
    """Every job of the session, the running ones and those that ended.

    Attributes:
        all: oldest first.
        added: emitted with a new `Job`.
        changed: emitted with a `Job` whose state, progress or points changed.
    """

    added = Signal(Job)
    changed = Signal(Job)

    def __init__(
        self, engines: Callable[[], Engine], dispatch: Dispatch, explain: Callable[[BaseException], str]
    ) -> None:
        self._engines = engines
        self._dispatch = dispatch
        self._explain = explain
        self._numbers = count(1)
        self.all: list[Job] = []

    def start(
        self,
        kind: str,
        title: str,
        request: Request[Any],
        done: Callable[[Any], None],
        resumption: Request[Any] | None = None,
        published: Callable[[Any], None] | None = None,
    ) -> Job:
        """Begins `request` on a worker of its own.

        Args:
            kind: see `Job`.
            title: what it does, for a person.
            request: what the worker is asked.
            done: receives its answer before the job counts as done.
            resumption: the request that goes on with it once it was paused.
            published: receives the values that are published on the way.
        """
        job = Job(next(self._numbers), kind, title, done, resumption, published)
        self.all.append(job)
        self.added.emit(job)
        self._ask(job, request)
        return job

    @property
    def are_training(self) -> bool:
        """Whether a distillation runs."""
        return any(job.kind == "distill" and job.is_running for job in self.all)

    def pause(self, job: Job) -> None:
        """Stops a job where it can go on later; its worker ends once it has saved what it has."""
        if not job.can_pause or job._call is None:
            return
        job.state = JobState.PAUSING
        self.changed.emit(job)
        call = job._call
        call.cancel()
        call.future.add_done_callback(lambda _: self._dispatch(lambda: self._paused(job)))

    def resume(self, job: Job) -> None:
        """Goes on with a paused job on a new worker."""
        if job.can_resume and job.resumption is not None:
            job.state = JobState.RUNNING
            self._ask(job, job.resumption)
            self.changed.emit(job)

    def retry(self, job: Job) -> None:
        """Takes up a job that failed for want of memory, on a new worker with less of it."""
        if job.can_retry and job.retry is not None:
            request, job.retry, job.error, job.failure = job.retry, None, None, None
            job.state = JobState.RUNNING
            self._ask(job, request)
            self.changed.emit(job)

    def cancel(self, job: Job) -> None:
        """Ends a job at once; what it has not finished is lost, nothing else is."""
        if job.is_running or job.can_resume:
            if job._call is not None:
                job._call.cancel()
            self._end(job, JobState.CANCELLED)

    def close(self) -> None:
        """Ends every worker; what was kept of their jobs stays."""
        for job in self.all:
            if job.is_running and job._call is not None:
                job._call.cancel()
            self._release(job)

    def _ask(self, job: Job, request: Request[Any]) -> None:
        def answered(outcome: object) -> None:
            job.outcome = outcome
            try:
                job._done(outcome)
            except Exception as error:  # whatever it is, the job is over, and says so
                failed(error)
            else:
                self._end(job, JobState.DONE)

        def failed(error: BaseException) -> None:
            job.error, job.failure = self._explain(error), error
            self._end(job, JobState.FAILED)

        job._first = None
        job._engine = self._engines()
        job._call = Asker(job._engine, self._dispatch).ask(
            request,
            answered,
            failed,
            lane=Lane.JOB,
            progress=lambda progress: self._progress(job, progress),
            published=lambda point: self._point(job, point),
        )

    def _paused(self, job: Job) -> None:
        """The worker has stopped; it may have been done already, or cancelled meanwhile."""
        if job.state is JobState.PAUSING:
            self._end(job, JobState.PAUSED)

    def _progress(self, job: Job, progress: Progress) -> None:
        job.follow(progress)
        self.changed.emit(job)

    def _point(self, job: Job, point: object) -> None:
        if job._published is not None:
            job._published(point)
        if isinstance(point, TrainingPoint):
            # a job that goes on tells its points again
            job.points = [known for known in job.points if known.step < point.step] + [point]
            self.changed.emit(job)

    def _end(self, job: Job, state: JobState) -> None:
        job.state = state
        self._release(job)
        self.changed.emit(job)

    def _release(self, job: Job) -> None:
        if job._engine is not None:
            job._engine.close()
            job._engine = None
