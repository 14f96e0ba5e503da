"""The recovery ladder of the open project: what each rung measured, what it took, and which to take next."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from time import monotonic

from psygnal import Signal

from studio.distillation.settings import DistillSettings
from studio.evaluation.ladder import RUNGS, Advice, Footing, Rung, advice, carried_out, standing, why_not
from studio.evaluation.result import Measurement, Result, drop_of
from studio.recipe.recipe import Recipe
from studio.session.jobs import Job, Jobs, JobState
from studio.session.preview import PreviewLane, PreviewState
from studio.session.project import Choice, Project

#: Measurements remembered, the newest of each choice.
_LONGEST = 32

#: A step passes the teacher forward once and the student forward and back, which is twice as dear as forward.
_PASSES = 4


@dataclass(frozen=True)
class Measured:
    """What one choice came to.

    Attributes:
        choice: with the fit that was measured.
        data: path of the data that measured.
        result: on all samples.
        seconds: from the edit to the measurement, fitting included.
        changes: whether it changes the original at all.
    """

    choice: Choice
    data: str | None
    result: Result
    seconds: float
    changes: bool


@dataclass(frozen=True)
class RungState:
    """A rung as it stands for the open project.

    Attributes:
        rung: which.
        barred: why it does not apply; empty where it does.
        holds: whether the present choice stands on it.
        metric: what was measured on it, None before that.
        drop: against the original, paired; None before it was measured.
        brought: points won over the best of the cheaper rungs that were measured; None where that is not known.
        took: seconds that it took, None before it was measured.
        expected: seconds that it is expected to take, None where nothing is known yet.
    """

    rung: Rung
    barred: str
    holds: bool
    metric: Measurement | None
    drop: Measurement | None
    brought: float | None
    took: float | None
    expected: float | None


class Ladder:
    """Follows what the preview measures, and takes rungs as steps of the project's history.

    Args:
        preview: measures what is chosen.
        jobs: their distillations tell how long a step of training takes.
        project: the open project.
        choose: takes a choice for the open project, as one step with a label.
        clock: seconds.

    Attributes:
        changed: emitted when a rung was measured.
    """

    changed = Signal()

    def __init__(
        self,
        preview: PreviewLane,
        jobs: Jobs,
        project: Callable[[], Project | None],
        choose: Callable[[Choice, str], object],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._preview = preview
        self._jobs = jobs
        self._open = project
        self._choose = choose
        self._clock = clock
        self._project: Project | None = None
        self._measured: list[Measured] = []
        self._began: float | None = None
        preview.changed.connect(self._follow)

    def take(self, project: Project, rung: Rung) -> None:
        """Carries the recipe out as `rung` does, as one step; the preview measures it."""
        self._choose(Choice(carried_out(project.recipe, rung), project.weights), f"Take “{rung.title}”")

    def _follow(self) -> None:
        """Takes in what the preview says; its first word on a fit is that it begins."""
        result, status, project = self._preview.result, self._preview.status, self._open()
        if project is not self._project:  # what was measured of another one counts for nothing
            self._project, self._measured, self._began = project, [], None
        if status.state is PreviewState.MEASURING and status.progress is None:
            if result is None or self._began is None:
                self._began = self._clock()
        elif status.state is PreviewState.FAILED:
            self._began = None
        elif status.state is PreviewState.MEASURED and self._began is not None:
            seconds, self._began = self._clock() - self._began, None
            if project is not None and result is not None and result.finished:
                self._note(project, result, seconds)

    def states(self, project: Project, training: DistillSettings) -> tuple[RungState, ...]:
        """Every rung; `training` is what a distillation would be asked."""
        on = footing(project)
        found = {rung.key: self._found(project, on, rung) for rung in RUNGS}
        states = list[RungState]()
        for rung in RUNGS:
            known = found[rung.key]
            drop = drop_of(known.result) if known else None
            before = [state.drop.value for state in states if state.drop is not None]
            states.append(
                RungState(
                    rung,
                    why_not(rung, on),
                    bool(on.changed) and standing(on) is rung,
                    known.result.metric if known else None,
                    drop,
                    min(before) - drop.value if before and drop is not None else None,
                    self._trained_for() if rung.trains and known else known.seconds if known else None,
                    self._expected(project, rung, training),
                )
            )
        return tuple(states)

    def advice(self, project: Project) -> Advice:
        """What to do next; see `studio.evaluation.ladder.advice`."""
        on = footing(project)
        known = {rung.key: found for rung in RUNGS if (found := self._found(project, on, rung)) is not None}
        drops = {key: drop_of(found.result) for key, found in known.items()}
        present = self._of(project, _fitted(project, project.recipe.options.fit))
        return advice(on, drops, drop_of(present.result) if present else None)

    def _note(self, project: Project, result: Result, seconds: float) -> None:
        data = project.test.path if project.test else None
        choice = _fitted(project, result.fit)
        changes = choice.weights is not None or bool(project.changed_layers())
        new = Measured(choice, data, result, seconds, changes)
        others = [old for old in self._measured if (old.choice, old.data) != (new.choice, data)]
        self._measured = [*others, new][-_LONGEST:]
        self.changed.emit()

    def _found(self, project: Project, on: Footing, rung: Rung) -> Measured | None:
        """What was measured on a rung with the present settings of the layers."""
        if not self._measured:
            return None
        if standing(on) is rung:
            return self._of(project, _fitted(project, project.recipe.options.fit))
        if not rung.trains:
            if not on.fits:
                return None  # all of them come to the first rung, which stands
            return self._of(project, Choice(carried_out(project.recipe, rung)))
        trained = (old for old in reversed(self._measured) if old.choice.weights is not None)
        return next((old for old in trained if _same_layers(old.choice.recipe, project.recipe)), None)

    def _of(self, project: Project, choice: Choice) -> Measured | None:
        data = project.test.path if project.test else None
        options = choice.recipe.options
        alike = (old for old in reversed(self._measured) if old.data == data and old.choice.recipe.options == options)
        return next((old for old in alike if old.choice == choice), None)

    def _expected(self, project: Project, rung: Rung, training: DistillSettings) -> float | None:
        """Seconds, from how long fits of the kind took last, or steps of training; None where neither is known."""
        if not rung.trains:
            fits = (old for old in reversed(self._measured) if old.result.fit == rung.fit and old.changes)
            return next((old.seconds for old in fits), None)
        if project.train is None:
            return None
        step = self._step_seconds(training.batch_size)
        steps = training.epochs * ceil(project.train.samples / training.batch_size)
        return None if step is None else steps * step

    def _step_seconds(self, batch: int) -> float | None:
        """Seconds of a training step: of the newest distillation, or else from how long the original's measuring took.

        Measuring the original passes every sample forward twice, as the model and as what it is compared with.
        """
        job = self._newest(lambda job: bool(job.points) and job.points[-1].step > 0)
        if job is not None:
            return job.points[-1].seconds / job.points[-1].step
        plain = next((old for old in self._measured if not old.changes), None)
        if plain is None or not plain.result.metric.samples:
            return None
        return _PASSES / 2 * batch * plain.seconds / plain.result.metric.samples

    def _trained_for(self) -> float | None:
        job = self._newest(lambda job: job.state is JobState.DONE)
        return job.outcome.seconds if job is not None else None

    def _newest(self, wanted: Callable[[Job], bool]) -> Job | None:
        return next((job for job in reversed(self._jobs.all) if job.kind == "distill" and wanted(job)), None)


def footing(project: Project) -> Footing:
    """What the project's ladder stands on."""
    fits, trains = project.calibration is not None, project.train is not None
    return Footing(project.info, project.recipe, project.chosen, fits, trains, project.weights is not None)


def _fitted(project: Project, fit: str) -> Choice:
    """The present choice, measured in a fit."""
    recipe = project.recipe
    can_order = project.calibration is not None and recipe.options.data_aware and bool(project.changed_layers())
    return Choice(recipe.with_options(fit=fit if can_order else "layer"), project.weights)


def _same_layers(one: Recipe, other: Recipe) -> bool:
    return one.with_options(**dict(other.options)) == other
