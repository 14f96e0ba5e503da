"""One distillation from its first step, or from a checkpoint, to its end."""

import math
import time
from collections.abc import Callable, Mapping

from torch import Tensor

from studio.compression.compressed import CompressedModel
from studio.compression.trainable import freeze
from studio.distillation.changes import Changes
from studio.distillation.checkpoint import Checkpoint, Keeper, check_identity
from studio.distillation.held_out import HeldOut
from studio.distillation.lessons import Lessons
from studio.distillation.memory import MEMORY_ERRORS, give_back, is_out_of_memory
from studio.distillation.schedule import learning_rate
from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.distillation.state import Before, RunState
from studio.distillation.student import Student
from studio.distillation.teacher import Teacher
from studio.errors import MemoryShortError
from studio.evaluation.data import Dataset
from studio.evaluation.result import Measurement
from studio.progress import Cancelled, Progress, Report

#: Measurements in every epoch at most, the last at its end.
LOOKS_PER_EPOCH = 4

#: Samples that are measured for each one that is learnt from, at most, unless that leaves an epoch none: learning takes
#: as much as measuring three or four times, so that measuring takes a sixth of a run.
_MEASURED = 0.6

#: Optimizer steps from one point of the loss curve to the next.
POINT_EVERY = 10

#: A run has diverged when its loss is so many times that of a student that knows nothing, or that of its own start.
DIVERGED = 10


def unpublished(_point: TrainingPoint) -> None:
    """Receives points that nobody draws."""


def looks_per_epoch(trained: int, watched: int) -> int:
    """Measurements in every epoch: as often as is worth what they take.

    Args:
        trained: samples of an epoch.
        watched: samples of a measurement.
    """
    return max(1, min(LOOKS_PER_EPOCH, int(_MEASURED * trained / watched)))


class Run:
    """A student, its teacher, and where they are.

    Between any two calls of `report` and `publish`, either of which may raise `Cancelled`, `_state` and the tensors
    belong together; a checkpoint can be taken there.
    """

    def __init__(
        self,
        compressed: CompressedModel,
        start: CompressedModel,
        student: Student,
        changes: Changes,
        teacher: Teacher,
        lessons: Lessons,
        held: Dataset,
        settings: DistillSettings,
        *,
        keeper: Keeper,
        identity: Mapping[str, str],
        report: Report,
        publish: Callable[[TrainingPoint], None],
    ) -> None:
        self._compressed = compressed
        self._start = start
        self._student = student
        self._changes = changes
        self._teacher = teacher
        self._lessons = lessons
        self._settings = settings
        self._keeper = keeper
        self._identity = identity
        self._report = report
        self._publish = publish
        self._total = lessons.total
        self._held = HeldOut(
            held,
            teacher.predict,
            settings.seed,
            lambda: self._tell("measuring"),
            at_once=teacher.at_once,
            remembers=teacher.remembers,
        )
        looks = looks_per_epoch(lessons.samples, self._held.watched)
        self._look_every = max(1, lessons.per_epoch // looks)
        self._state: RunState | None = None
        self._best: dict[str, Tensor] = {}
        self._started = time.monotonic()

    @property
    def state(self) -> RunState:
        """Where the run stands.

        Raises:
            RuntimeError: it has not begun.
        """
        if self._state is None:
            raise RuntimeError("the run has not begun")
        return self._state

    @property
    def remark(self) -> str:
        """Why the run ended early, and that memory was short, if so."""
        parts, limit = self._student.parts, self._settings.memory_limit
        why = "Memory was short" if limit is None else f"Within {limit} MB"
        told = f"{why}: the samples of a step passed in {parts} parts." if parts > self._settings.accumulate else ""
        return " ".join(filter(None, (self.state.ended, told)))

    @property
    def epochs_done(self) -> int:
        """Passes over the data, a part of one counted as one."""
        return math.ceil(self.state.step / self._lessons.per_epoch)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Goes on from where `checkpoint` was taken.

        Raises:
            TrainingError: it is of another run.
        """
        check_identity(checkpoint, self._identity)
        self._student.go_on(checkpoint.tensors, checkpoint.state.step)
        self._student.parts = max(self._student.parts, checkpoint.state.parts)
        self._best = dict(checkpoint.best)
        self._state = checkpoint.state
        self._started -= checkpoint.state.seconds
        for point in checkpoint.state.points:
            self._publish(point)

    def result(self) -> tuple[CompressedModel, RunState, float]:
        """Trains to the end.

        Returns:
            The best model, the last state, and the model's metric on all held-out samples.

        Raises:
            MemoryShortError: memory is short.
        """
        try:
            result = self._trained()
            self._student.dismiss()
        except Cancelled:
            self._student.dismiss()
            if self._state is not None:
                self._save()
            raise
        except MEMORY_ERRORS as error:
            if not is_out_of_memory(error):
                raise
            raise MemoryShortError(
                f"Memory was short: let the samples of a step pass in {2 * self._student.parts} parts (accumulate), or "
                "set a limit (memory_limit)."
            ) from error
        return result

    def _trained(self) -> tuple[CompressedModel, RunState, float]:
        """See `result`."""
        self._teacher.prepare(lambda progress: self._tell(progress.message))
        if self._state is None:
            self._begin()
        self._spare()
        self._go_on()
        return self._chosen()

    def _spare(self) -> None:
        """Keeps within the limit what measuring or asking the teacher has left."""
        if self._settings.memory_limit is not None:
            give_back()

    def _begin(self) -> None:
        watched, whole = self._held.whole(self._compressed.graph)
        before = Before(
            teacher=100.0 if whole.original is None else whole.original.value,  # it agrees with itself
            watched=watched.metric.value,
            whole=whole.metric.value,
        )
        first, ignorant = self._student.first_losses(self._lessons.first())
        ceiling = DIVERGED * max(first, ignorant)
        self._state = RunState(before=before, best=watched.metric.value, ceiling=ceiling, losses=[first])
        self._point(watched.metric)

    def _go_on(self) -> None:
        """Step after step until the end, looking on the way."""
        while True:
            self._look_if_due()
            if self.state.ended or self.state.step == self._total:
                return
            self._advance()
            if self._keeper.is_due:
                self._save()

    def _advance(self) -> None:
        """One step."""
        state = self.state
        lesson = self._lessons.at(state.step)
        self._changes.before(state.step, lesson.inputs)
        loss = self._student.step(lesson, self._rate(state.step))
        if not math.isfinite(loss):
            state.ended = f"Stopped at step {state.step + 1}: the loss is not finite; try a lower learning rate."
            return
        state.step += 1
        state.losses.append(loss)
        state.parts = self._student.parts
        state.seconds = time.monotonic() - self._started
        if state.step % POINT_EVERY == 0 and not self._look_is_due():
            self._point(None)
        self._tell(f"epoch {self.epochs_done} of {self._settings.epochs}")

    def _look_is_due(self) -> bool:
        if self.state.looked == self.state.step:
            return False
        every = self._look_every
        in_epoch = self.state.step % self._lessons.per_epoch
        # the last part of an epoch ends with it, whatever remainder the division leaves
        return in_epoch == 0 or (in_epoch % every == 0 and self._lessons.per_epoch - in_epoch >= every)

    def _look_if_due(self) -> None:
        """Measures the student, and keeps it when it is the best so far."""
        if not self._look_is_due():
            return
        state = self.state
        measured = self._held.look(self._student.shown)
        if state.step < self._changes.settled_at:
            state.best_step = state.step  # what is not yet as the recipe wants it does not count
        elif self._held.as_good(measured.value, state.best):
            self._best = self._student.snapshot()
            state.best, state.best_step = measured.value, state.step
        elif self._is_hopeless():
            patience = f"{self._settings.patience} epoch{'s' if self._settings.patience != 1 else ''}"
            state.ended = f"Stopped early at step {state.step}: nothing better for {patience}."
        self._spare()
        state.looked = state.step
        state.seconds = time.monotonic() - self._started
        self._point(measured)

    def _is_hopeless(self) -> bool:
        """Whether nothing better has come for as long as the settings wait."""
        patience = self._settings.patience
        waited = self.state.step - self.state.best_step
        return patience is not None and waited >= patience * self._lessons.per_epoch

    def _point(self, measured: Measurement | None) -> None:
        """Adds a point to the curves, and sees to it that a run that has diverged ends."""
        state = self.state
        loss = sum(state.losses) / len(state.losses) if state.losses else math.nan
        if loss > state.ceiling:
            state.ended = f"Stopped at step {state.step}: the loss went up to {loss:.3g}; try a lower learning rate."
        point = TrainingPoint(
            step=state.step,
            total_steps=self._total,
            epoch=state.step / self._lessons.per_epoch,
            loss=loss,
            learning_rate=self._rate(max(0, state.step - 1)),
            value=None if measured is None else measured.value,
            seconds=state.seconds,
            low=None if measured is None else measured.low,
            high=None if measured is None else measured.high,
            parts=self._student.parts,
        )
        state.losses.clear()
        state.points.append(point)
        self._publish(point)

    def _chosen(self) -> tuple[CompressedModel, RunState, float]:
        """The best weights, or those of the start where all held-out samples together find them no better."""
        state = self.state
        if self._best:
            trained = freeze(self._start, self._student.restored(self._best))
            _, after = self._held.whole(trained.graph)
            if self._held.as_good(after.metric.value, state.before.whole):  # the watched samples are not all
                return trained, state, after.metric.value
        return self._compressed, state, state.before.whole

    def _rate(self, step: int) -> float:
        return learning_rate(step, self._total, self._settings)

    def _tell(self, message: str) -> None:
        self._report(Progress(self._state.step if self._state else 0, self._total, message))

    def _save(self) -> None:
        self._keeper.save(Checkpoint(self._identity, self.state, dict(self._student.tensors()), self._best))
