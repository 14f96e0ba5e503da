"""The live curves of a distillation: how well it does, what it still gets wrong, and how fast it learns."""

from collections.abc import Sequence
from math import isfinite

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QVBoxLayout, QWidget

from studio.distillation.settings import TrainingPoint
from studio.gui.labels import placeholder
from studio.gui.plots import Plot, bar_length, pen
from studio.gui.text import in_points, metric_name
from studio.gui.theme import Theme
from studio.session.jobs import Job

#: Milliseconds between two drawings of a running job: its steps come faster than anybody looks, and three plots cost
#: the better part of a frame.
REDRAW_MS = 250

#: Pixels below which ticks would lie on each other, and how dense they may be.
_LEAST_HEIGHT = 84
_FEW_TICKS = 0.6

_WAITING = "It is getting ready. Curves begin with the first step."
_NEVER = "It ended before its first step."
_UNMEASURED = "Held-out samples are measured as it goes on; none is measured yet."

_PAIRED = "Bars: 95 % interval of the difference from the original on the same samples; of agreement its own."


class DistillCurves(QWidget):
    """Held-out metric with its 95 % interval, training loss and learning rate of one job over the steps."""

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._waiting: Job | None = None
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.timeout.connect(self._show_waiting)
        self._value_plot = Plot(theme, "Held-out accuracy over the steps", bottom="", left="accuracy, %")
        self._value_plot.widget.setToolTip(_PAIRED)
        self._loss_plot = Plot(theme, "Training loss over the steps", bottom="", left="loss")
        self._rate_plot = Plot(theme, "Learning rate over the steps", bottom="step", left="rate")
        self.interval = pg.ErrorBarItem(beam=0)
        self._value_plot.item.addItem(self.interval)
        self.value = self._value_plot.line(symbol="o", symbolSize=6, symbolPen=None)
        self.loss = self._loss_plot.line()
        self.rate = self._rate_plot.line()
        self._value_plot.painted(lambda c: self.value.setPen(pen(c.compressed)))
        self._value_plot.painted(lambda c: self.value.setSymbolBrush(c.compressed))
        self._value_plot.painted(lambda c: self.interval.setData(pen=pen(c.muted, 1.2)))
        self._loss_plot.painted(lambda c: self.loss.setPen(pen(c.energy)))
        self._rate_plot.painted(lambda c: self.rate.setPen(pen(c.muted)))
        self.empty = placeholder(_WAITING, self._value_plot.widget)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        for plot, stretch in ((self._value_plot, 5), (self._loss_plot, 4), (self._rate_plot, 3)):
            plot.widget.setMinimumHeight(_LEAST_HEIGHT)
            plot.item.getAxis("left").setTickDensity(_FEW_TICKS)
            plot.item.getAxis("left").setWidth(62)  # one scale of steps for all three
            layout.addWidget(plot.widget, stretch)

    def show_metric(self, name: str) -> None:
        """Names the axis of the metric that is measured on the way."""
        self._value_plot.title("left", f"{metric_name(name).lower()}{', %' if in_points(name) else ''}")

    def show_job(self, job: Job) -> None:
        """Draws the points so far; soon, where it is running and was drawn just now."""
        if job.is_running and self._pause.isActive():
            self._waiting = job
            return
        self.show_points(job.points)
        if not (job.points or job.is_running or job.can_resume):
            self.empty.setText(_NEVER)
        self._pause.start(REDRAW_MS)

    def _show_waiting(self) -> None:
        if self._waiting is not None:
            self.show_job(self._waiting)

    def show_points(self, points: Sequence[TrainingPoint]) -> None:
        """Draws these points in place of all others."""
        self._waiting = None
        self._clear_empty(points)
        steps = [point.step for point in points]
        self.loss.setData(steps, [point.loss for point in points])
        self.rate.setData(steps, [point.learning_rate for point in points])
        measured = [point for point in points if point.value is not None]
        x = np.array([point.step for point in measured], float)
        y = np.array([point.value for point in measured], float)
        low, high = (np.array([getattr(point, end) for point in measured], float) for end in ("low", "high"))
        self.value.setData(x, y)
        self.interval.setData(x=x, y=y, top=bar_length(high - y), bottom=bar_length(y - low))
        total = points[-1].total_steps if points else 1
        for plot in (self._value_plot, self._loss_plot, self._rate_plot):
            plot.item.setXRange(0, total, padding=0.02)

    def _clear_empty(self, points: Sequence[TrainingPoint]) -> None:
        """Leaves out the axes of what has no point yet, whose ticks would tell of nothing."""
        measured = any(point.value is not None for point in points)
        self.empty.setText(_UNMEASURED if points else _WAITING)
        self.empty.setVisible(not measured)
        self._value_plot.item.setVisible(measured)
        trained = sum(isfinite(point.loss) for point in points) > 1  # one alone gives an axis no range
        for plot in (self._loss_plot, self._rate_plot):
            plot.widget.setVisible(trained)
