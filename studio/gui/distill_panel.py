"""Recovering accuracy: the choices of a distillation, its start, and its live curves."""

from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSplitter, QVBoxLayout, QWidget

from studio.gui.distill_form import DistillForm
from studio.gui.jobs_panel import job_text
from studio.gui.labels import ElidedLabel, label
from studio.gui.plots import Plot, pen
from studio.gui.theme import Theme
from studio.session.jobs import Job
from studio.session.session import Session

_HOW = (
    "The compressed model learns from the original. Zeros, ranks and bits stay as chosen; "
    "the best weights become a variant, and one undo takes them back."
)


class DistillCurves(QWidget):
    """Training loss and held-out metric of one job over the steps."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._loss_plot = Plot(theme, "Training loss over the steps", bottom="step", left="loss")
        self._value_plot = Plot(theme, "Held-out accuracy over the steps", bottom="step", left="accuracy, %")
        self.loss = self._loss_plot.item.plot()
        self.value = self._value_plot.item.plot(symbol="o", symbolSize=6, symbolPen=None)
        self._loss_plot.painted(lambda c: self.loss.setPen(pen(c.energy)))
        self._value_plot.painted(lambda c: self.value.setPen(pen(c.compressed)))
        self._value_plot.painted(lambda c: self.value.setSymbolBrush(c.compressed))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._value_plot.widget)
        layout.addWidget(self._loss_plot.widget)

    def show_job(self, job: Job) -> None:
        """Draws the points so far."""
        self.loss.setData([point.step for point in job.points], [point.loss for point in job.points])
        measured = [(point.step, point.value) for point in job.points if point.value is not None]
        self.value.setData([step for step, _ in measured], [value for _, value in measured])
        total = job.points[-1].total_steps if job.points else 1
        for plot in (self._loss_plot, self._value_plot):
            plot.item.setXRange(0, total, padding=0.02)


class DistillPanel(QWidget):
    """Starts distillations and shows the newest one."""

    def __init__(self, session: Session, theme: Theme) -> None:
        super().__init__()
        self._session = session
        self._job: Job | None = None
        self.form = DistillForm()
        self.curves = DistillCurves(theme)
        self.start = QPushButton("Start distilling")
        self.start.setProperty("role", "primary")
        self.cancel = QPushButton("Cancel")
        self._state = ElidedLabel(role="detail")
        self._reason = label("", "reason", wrap=True)
        self._hint = label("The curves of loss and accuracy appear here while it runs.", "detail", wrap=True)
        self.start.clicked.connect(self._start)
        self.cancel.clicked.connect(self._cancel)
        self._lay_out()
        session.changed.connect(self._show)
        session.jobs.changed.connect(self._follow)
        self._show()

    def _lay_out(self) -> None:
        left, right = QWidget(), QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(label(_HOW, "detail", wrap=True))
        column.addWidget(self.form, 1)
        column.addWidget(self._reason)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 1)
        buttons.addWidget(self.cancel)
        column.addLayout(buttons)
        curves = QVBoxLayout(right)
        curves.setContentsMargins(8, 8, 8, 8)
        for widget in (self._state, self._hint, self.curves):
            curves.addWidget(widget)
        curves.setStretch(2, 1)
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(left)
        splitter.addWidget(right)
        splitter.setSizes([300, 340])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)

    def _start(self) -> None:
        self._job = self._session.distill(self.form.settings())
        self._show()

    def _cancel(self) -> None:
        if self._job is not None:
            self._session.jobs.cancel(self._job)

    def _follow(self, job: Job) -> None:
        if job is self._job:
            self._show()

    def _show(self) -> None:
        job = self._job
        running = job is not None and job.is_running
        reason = self._why_not(running)
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or "Train the compressed model in the background")
        self._reason.setText(reason)
        self._reason.setVisible(bool(reason))
        self.cancel.setEnabled(running)
        self.cancel.setToolTip("Stop; the weights stay as they are" if running else "Nothing is being distilled.")
        self._hint.setVisible(job is None)
        self.curves.setVisible(job is not None)
        self._state.setText(job_text(job) if job is not None else "")
        if job is not None:
            self.curves.show_job(job)

    def _why_not(self, running: bool) -> str:
        project = self._session.project
        if project is None:
            return "Open a model first."
        if running:
            return "A distillation is running."
        if project.train is None:
            return "Choose training data first (File › Training data …)."
        return "" if project.changed_layers() else "Compress at least one layer first: there is nothing to recover yet."
