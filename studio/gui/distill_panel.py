"""Recovering accuracy: the ladder of remedies, the choices of a distillation, its start, and its live curves."""

from collections.abc import Mapping
from typing import Any

from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from studio.distillation.settings import DistillSettings
from studio.gui.distill_curves import DistillCurves
from studio.gui.distill_form import DistillForm
from studio.gui.fields import FieldSpec, field_specs
from studio.gui.jobs_panel import job_text
from studio.gui.labels import ElidedLabel, label
from studio.gui.ladder_panel import LadderPanel
from studio.gui.student_section import COMPRESSED, COPY, FILE, StudentSection
from studio.gui.text import sentence
from studio.gui.theme import Theme
from studio.recipe.settings import LayerSettings
from studio.session.jobs import Job, JobState
from studio.session.recoveries import SavedRun
from studio.session.runs import TrainedRun
from studio.session.session import Change, Session
from studio.session.variants import Variant

_HOW = (
    "The compressed model learns from the original and keeps its settings. The best weights become a variant; one undo "
    "takes them back."
)

#: Settings of the layers of a student that is no compressed model.
_NOTHING: Mapping[str, LayerSettings] = {}

#: Index of the page with the curves.
PROGRESS = 2


class InterruptedRun(QFrame):
    """Offers to go on with a distillation that a crash or the end of a session has cut short."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "notice")
        self.message = label("", wrap=True)
        self.go_on = QPushButton("Go on")
        self.go_on.setToolTip("Go on from the last checkpoint, with the settings it began with")
        self.discard = QPushButton("Discard")
        self.discard.setToolTip("Forget what it has learnt")
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 6, 6)
        layout.addWidget(self.message, 1)
        layout.addWidget(self.go_on)
        layout.addWidget(self.discard)
        self.hide()

    def show_run(self, run: SavedRun | None) -> None:
        """Offers `run`, or nothing."""
        self.setVisible(run is not None)
        if run is not None:
            epochs = run.settings.epochs
            self.message.setText(f"A distillation of {epochs} epoch{'s' if epochs != 1 else ''} was interrupted.")


def _is_active(job: Job) -> bool:
    """Whether it can still be cancelled."""
    return job.is_running or job.can_resume


def settings_text(settings: DistillSettings) -> str:
    """What a run was asked: what most runs set, and whatever differs from what is usual."""
    usual = DistillSettings()
    specs = [
        spec
        for name, spec in field_specs(DistillSettings).items()
        if not spec.more or getattr(settings, name) != getattr(usual, name)
    ]
    return "  ·  ".join(f"{spec.title} {_value_text(spec, getattr(settings, spec.name))}" for spec in specs)


def _value_text(spec: FieldSpec, value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return "on" if value else "off" if value is False else "none"
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, int | float):
        return f"{value * spec.scale:g} {spec.unit}".strip()
    return str(spec.labels.get(value, value))


class DistillPanel(QWidget):
    """Starts distillations and shows the newest one."""

    def __init__(self, session: Session, theme: Theme) -> None:
        super().__init__()
        self._session = session
        self._job: Job | None = None
        self._elsewhere = False
        self._past: TrainedRun | None = None
        self._interrupted: SavedRun | None = None
        self.form = DistillForm()
        self.student = StudentSection(session)
        self.form.lead_with(self.student)
        self.ladder = LadderPanel(session, self.form.settings, lambda: self._why_not(self._job, COMPRESSED))
        self.curves = DistillCurves(theme)
        self.pages = QTabWidget()
        self._rungs, self._foot = QWidget(), QWidget()
        self.offer = InterruptedRun()
        self.start = QPushButton("Start distilling")
        self.start.setProperty("role", "primary")
        self.pause = QPushButton("Pause")
        self.cancel = QPushButton("Cancel")
        self._state = ElidedLabel(role="detail")
        self.told = label("", "detail", wrap=True)
        self.told.setAccessibleName("Settings of the variant's training")
        self._reason = label("", "reason", wrap=True)
        self._hint = label("The curves of loss and accuracy appear here while it runs.", "detail", wrap=True)
        self.pages.currentChanged.connect(self._show)
        self.start.clicked.connect(self._start)
        self.pause.clicked.connect(self._pause_or_resume)
        self.cancel.clicked.connect(self._cancel)
        self.ladder.distil.connect(self._start_own)
        self.student.changed.connect(self._show)
        self.offer.go_on.clicked.connect(self._go_on)
        self.offer.discard.clicked.connect(self._discard)
        self._lay_out()
        session.changed.connect(self._renew)
        session.jobs.changed.connect(self._follow)
        self._show()

    def _lay_out(self) -> None:
        settings, progress = QWidget(), QWidget()
        ladder = QVBoxLayout(self._rungs)
        ladder.addWidget(self.ladder)
        column = QVBoxLayout(settings)
        column.addWidget(label(_HOW, "detail", wrap=True))
        column.addWidget(self.form, 1)
        self._curves = scrolled = QScrollArea()  # where the window is low, curves scroll instead of lying on each other
        scrolled.setWidget(self.curves)
        scrolled.setWidgetResizable(True)
        scrolled.setFrameShape(QFrame.Shape.NoFrame)
        curves = QVBoxLayout(progress)
        for widget in (self._state, self.told, self._hint):
            curves.addWidget(widget)
        curves.addWidget(scrolled, 1)
        for page in (ladder, column, curves):
            page.setContentsMargins(8, 8, 8, 8)
        self.pages.addTab(self._rungs, "Ladder")
        self.pages.addTab(settings, "Settings")
        self.pages.addTab(progress, "Progress")
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 1)
        buttons.addWidget(self.pause)
        buttons.addWidget(self.cancel)
        foot = QVBoxLayout(self._foot)
        foot.setContentsMargins(8, 0, 8, 8)
        foot.addWidget(self._reason)
        foot.addLayout(buttons)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.offer)
        layout.addWidget(self.pages, 1)
        layout.addWidget(self._foot)

    def showEvent(self, event: QShowEvent) -> None:
        """Catches up with what happened while it was out of sight."""
        super().showEvent(event)
        self._show()

    def show_variant(self, variant: Variant) -> None:
        """Shows how a variant was trained, unless a distillation is under way; the newest one for any other variant."""
        self._past = variant.run
        self._show()

    def _show_newest(self, job: Job | None) -> None:
        self._job, self._past, self._elsewhere = job, None, False
        if job is not None:
            self.pages.setCurrentIndex(PROGRESS)
        self._show()

    def _start(self) -> None:
        self._suggest()
        settings, students, project = self.form.settings(), self._session.students, self._session.project
        if project is not None and self.student.kind == COPY:
            students.teach_copy(project, self.student.copy_settings(settings.seed), settings, self._show_newest)
        elif project is not None and self.student.kind == FILE:
            self._show_newest(students.teach(project, self.student.path, settings))
        else:
            self._start_own()

    def _start_own(self) -> None:
        self._suggest()
        self._show_newest(self._session.distill(self.form.settings()))

    def _pause_or_resume(self) -> None:
        if self._job is not None and self._job.can_resume:
            self._session.jobs.resume(self._job)
        elif self._job is not None:
            self._session.jobs.pause(self._job)

    def _cancel(self) -> None:
        if self._job is not None:
            self._session.jobs.cancel(self._job)

    def _go_on(self) -> None:
        project = self._session.project
        if project is not None and self._interrupted is not None:
            job = self._session.recoveries.resume(project, self._interrupted)
            self._look_for_interrupted()
            self._show_newest(job)

    def _discard(self) -> None:
        if self._interrupted is not None:
            self._session.recoveries.discard(self._interrupted)
            self._look_for_interrupted()

    def _renew(self, change: Change) -> None:
        if "model" in change.kinds:
            self._leave_job()
            self.student.renew()
            self._look_for_interrupted()
        project = self._session.project
        if project is not None and "model" in change.kinds:
            self.form.fit(project.info)
        self._show()

    def _suggest(self) -> None:
        """What was not chosen is as data, model and, where it is the compressed model that learns, the recipe want."""
        project = self._session.project
        if project is not None and project.train is not None:
            chosen = project.chosen if self.student.kind == COMPRESSED else _NOTHING
            self.form.suggest(project.train.samples, project.info, chosen)

    def _leave_job(self) -> None:
        """Forgets what was trained for the last model; what still runs stays in sight, under its name."""
        self._past = None
        self._elsewhere = self._job is not None and _is_active(self._job)
        if not self._elsewhere:
            self._job = None

    def _follow(self, job: Job) -> None:
        if job is self._job:
            self._show()
            if job.state is JobState.FAILED:
                self._look_for_interrupted()

    def _look_for_interrupted(self) -> None:
        project = self._session.project
        self._interrupted = self._session.recoveries.interrupted(project) if project is not None else None
        self.offer.show_run(self._interrupted)

    def _show(self) -> None:
        """Shows what can be done and how far the training is; out of sight it waits until it is seen."""
        if not self.isVisible():
            return
        self._suggest()
        job = self._job
        active = job is not None and _is_active(job)
        reason = self._why_not(job, self.student.kind)
        self.start.setVisible(not active)
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or "Train the student in the background")
        self._reason.setText(reason)
        self._reason.setVisible(bool(reason) and not active)  # what is under way speaks for itself
        self.cancel.setVisible(active)
        self.cancel.setToolTip("Stop; the weights stay as they are")
        self._show_pause(job)
        self._foot.setVisible(active or self.pages.currentWidget() is not self._rungs)  # each rung has its button
        self.ladder.renew()
        self._show_training(job, None if active else self._past)

    def _show_training(self, job: Job | None, past: TrainedRun | None) -> None:
        """The state and the curves of a past run, or else of the newest job."""
        self._hint.setVisible(job is None and past is None)
        known = self._session.preview.result or self._session.preview.previous
        if known is not None and not self._elsewhere:
            self.curves.show_metric(known.metric.name)
        self._curves.setVisible(job is not None or past is not None)
        self.told.setVisible(past is not None)
        if past is not None:
            self._state.setText(f"{past.name}  ·  {past.found.removeprefix('Distilled: ')}")
            self.told.setText(settings_text(past.settings))
            self.curves.show_points(past.points)
        else:
            whose = f"{job.title}  ·  " if job is not None and self._elsewhere else ""
            self._state.setText(f"{whose}{job_text(job)}" if job is not None else "")
            if job is not None:
                self.curves.show_job(job)

    def _show_pause(self, job: Job | None) -> None:
        paused = job is not None and job.can_resume
        possible = job is not None and job.can_pause
        self.pause.setText("Resume" if paused else "Pause")
        self.pause.setVisible(paused or possible)
        later = "Stop after this step; it can go on later, even after the studio was closed"
        self.pause.setToolTip("Go on where it was paused" if paused else later)

    def _why_not(self, job: Job | None, student: int) -> str:
        project = self._session.project
        if project is None:
            return "Open a model first."
        if "train" in project.info.lacks:
            return sentence(project.info.lacks["train"])
        if job is not None and job.is_running:
            return "A distillation is running."
        if job is not None and job.can_resume:
            return "A distillation is paused: resume or cancel it first."
        if project.train is None:
            return "Choose training data first (File › Training data …)."
        if student != COMPRESSED:
            return self.student.why_not()
        return "" if project.changed_layers() else "Compress at least one layer first: there is nothing to recover yet."
