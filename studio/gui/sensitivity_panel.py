"""How much each method costs the layer in focus when it alone is compressed: measured by a scan, point by point."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from studio.errors import StudioError
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.evaluation.strength import strength
from studio.gui.jobs_panel import job_text
from studio.gui.labels import ElidedLabel, label
from studio.gui.plots import Plot, bar_length, pen
from studio.gui.selection import Selection
from studio.gui.text import change_of_value, change_title, in_points, points_text, sentence
from studio.gui.theme import Colours, Theme
from studio.recipe.settings import LayerSettings
from studio.session.jobs import Job, JobState
from studio.session.session import Change, Session

#: Methods in the order of their curves, each in words and with the name of its colour.
_METHODS = {
    "quantize": ("bits of weights", "compressed"),
    "activations": ("bits of activations", "original"),
    "prune": ("sparsity", "energy"),
    "rank": ("weights kept by rank", "good"),
    "channels": ("channels removed", "bad"),
}

#: Why the scan of a search cannot be cancelled beside its curves.
_SEARCHED = "A search is cancelled in its own window, or under Jobs."

#: Free places before the first point and behind the last: room for half a text.
_MARGIN = 0.9

#: Free places between the curves of two methods.
_GAP = 0.6

#: How far from the nearest point a setting stands that is milder or stronger than all of them.
_OUTSIDE = 0.4

#: Pixels that the name of a setting takes, such as ``12.5 %``.
_NAME_WIDTH = 44

#: Pixels that ticks with names in two lines take.
_TWO_LINES = 42


@dataclass(frozen=True)
class Curve:
    """The points of one method and their places on the axis, mildest setting first."""

    method: str
    points: tuple[ScanPoint, ...]
    places: tuple[float, ...]

    def place_of(self, settings: LayerSettings) -> float | None:
        """Where `settings` stand between the points, or just outside; None where the method has no such strength."""
        wanted = strength(self.method, settings)
        known = [strength(self.method, point.settings) or 0.0 for point in self.points]
        if wanted is None:
            return None
        outside = (self.places[0] - _OUTSIDE, self.places[-1] + _OUTSIDE)
        return float(np.interp(wanted, known, self.places, *outside))


def curves_of(points: tuple[ScanPoint, ...]) -> list[Curve]:
    """One curve a method, side by side."""
    curves = list[Curve]()
    start = 0.0
    for method in _METHODS:
        chosen = tuple(sorted((p for p in points if p.method == method), key=_strength_of))
        if chosen:
            curves.append(Curve(method, chosen, tuple(start + place for place in range(len(chosen)))))
            start += len(chosen) + _GAP
    return curves


class SensitivityPanel(QWidget):
    """Shows the scan of the session for the layer in focus; a click on a point chooses its setting.

    Attributes:
        start: scans all layers, or goes on with a scan that was stopped.
        cancel: stops the scan; what was measured stays. That of a search ends with the search.
        curves: what is drawn, one a method.
    """

    def __init__(self, session: Session, selection: Selection, theme: Theme) -> None:
        super().__init__()
        self._session, self._selection, self._turns = session, selection, theme.turns
        self._job: Job | None = None
        self.curves: list[Curve] = []
        self._ticks: list[tuple[float, str]] = []
        self.start = QPushButton("Scan all layers")
        self.start.setProperty("role", "primary")
        self.cancel = QPushButton("Cancel")
        self._legend = label("", wrap=True)
        self._state = ElidedLabel(role="detail")
        self._hint = label("", "detail", wrap=True)
        self._plot = Plot(theme, "Change of accuracy by setting of the layer", bottom="", left="change, points")
        self._zero = pg.InfiniteLine(angle=0, pos=0)
        self._plot.item.addItem(self._zero, ignoreBounds=True)
        self._plot.painted(lambda c: self._zero.setPen(pen(c.muted, 1, dashed=True)))
        self._plot.painted(lambda c: self._legend.setText(_legend(c)))
        self._plot.item.getViewBox().sigResized.connect(lambda _box: self._place_ticks())
        self._lines = {method: self._line(method, colour) for method, (_, colour) in _METHODS.items()}
        self._bars = {method: self._bar(colour) for method, (_, colour) in _METHODS.items()}
        self.marks = {method: self._mark() for method in _METHODS}
        self._lay_out()
        self._draw_curves()
        self.start.clicked.connect(self._scan)
        self.cancel.clicked.connect(self._stop)
        selection.changed.connect(self._show)
        session.changed.connect(self._renew)
        session.scans.changed.connect(self._measured)
        session.jobs.added.connect(self._adopt)
        session.jobs.changed.connect(self._follow)
        self._show()

    def showEvent(self, event: QShowEvent) -> None:
        """Catches up with what happened while it was out of sight."""
        super().showEvent(event)
        self._show()

    def choose(self, point: ScanPoint) -> None:
        """Gives the layer a point's setting, as one step; its other methods stay."""
        project = self._session.project
        if project is None or project.settings(point.layer).keep:
            return
        text = f"Set {_METHODS[point.method][0]} of {point.layer} to {point.setting}"
        self._session.edit_layers([point.layer], text, **_edit_of(point, project.settings(point.layer)))
        self._session.finish_edit()

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(label("Sensitivity", "heading"), 0, Qt.AlignmentFlag.AlignTop)
        top.addWidget(self._legend, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.start, 1)
        buttons.addWidget(self.cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self._state)
        layout.addWidget(self._plot.widget, 100)
        layout.addWidget(self._hint)
        layout.addStretch(1)  # keeps the text at the top while there is no curve
        layout.addLayout(buttons)

    def _line(self, method: str, colour: str) -> pg.PlotDataItem:
        line = self._plot.line(symbol="o", symbolSize=9, symbolPen=None)
        line.scatter.opts.update(hoverable=True, hoverSize=13, tip=_tip)
        line.sigPointsClicked.connect(lambda _line, spots: self.choose(spots[0].data()))
        self._plot.painted(lambda c: line.setPen(pen(getattr(c, colour))))
        self._plot.painted(lambda c: line.setSymbolBrush(getattr(c, colour)))
        line.setObjectName(method)
        return line

    def _bar(self, colour: str) -> pg.ErrorBarItem:
        bar = pg.ErrorBarItem(beam=0)
        self._plot.item.addItem(bar)
        self._plot.painted(lambda c: bar.setData(pen=pen(getattr(c, colour), 1.2)))
        return bar

    def _mark(self) -> pg.InfiniteLine:
        mark = pg.InfiniteLine(angle=90)
        mark.setZValue(-1)
        self._plot.painted(lambda c: mark.setPen(pen(c.text, 1.6, dashed=True)))
        self._plot.item.addItem(mark, ignoreBounds=True)
        return mark

    def _scan(self) -> None:
        try:
            self._session.scan()
        except StudioError as error:  # a data file is gone
            self._state.setText(str(error))
        else:
            self._show()

    def _stop(self) -> None:
        if self._job is not None and self._job.kind == "scan":
            self._session.jobs.cancel(self._job)

    def _renew(self, change: Change) -> None:
        if "model" in change.kinds:
            self._job = None
        self._show()

    def _measured(self, layer: str) -> None:
        if layer in ("", self._selection.current):
            self._show()
        else:
            self._hint.setText(self._hint_text(self._session.scans.scan))

    def _adopt(self, job: Job) -> None:
        """Follows a scan, whoever began it; a search begins with one."""
        if job.kind in ("scan", "search"):
            self._job = job
            self._show_job()

    def _follow(self, job: Job) -> None:
        if job is self._job:
            self._show_job()

    def _show(self) -> None:
        """Shows the layer's scan and its settings of now; out of sight it waits until it is seen."""
        if not self.isVisible():
            return
        scan, layer = self._session.scans.scan, self._selection.current
        known = layer is not None and self._session.project is not None and scan is not None
        curves = curves_of(self._points(scan, layer)) if known and scan is not None and layer is not None else []
        if curves != self.curves:  # an edit moves the marks alone, at every move of a slider
            self.curves = curves
            self._turns.soon(self, self._draw_curves)
        self._place_marks()
        self._hint.setText(self._hint_text(scan))
        self._show_job()

    def _points(self, scan: Scan, layer: str) -> tuple[ScanPoint, ...]:
        """The points of a layer, and those of the channels that it loses together with others."""
        project, own = self._session.project, scan.of(layer)
        group = None if project is None else project.info.layer(layer).group
        return own if group in (None, layer) else (*own, *scan.of(group, "channels"))

    def _draw_curves(self) -> None:
        by_method = {curve.method: curve for curve in self.curves}
        for method in _METHODS:
            self._draw(method, by_method.get(method))
        self._plot.widget.setVisible(bool(self.curves))
        self._place_ticks()

    def _place_ticks(self) -> None:
        """Names the settings: all in one line where there is room, else every second one a line lower."""
        points = [(x, p.setting) for curve in self.curves for x, p in zip(curve.places, curve.points, strict=True)]
        view, axis = self._plot.item.getViewBox(), self._plot.item.getAxis("bottom")
        in_two = bool(points) and view.width() < _NAME_WIDTH * len(points)
        ticks = [(x, "\n" * (in_two and number % 2) + name) for number, (x, name) in enumerate(points)]
        if ticks and ticks != self._ticks:
            axis.setTicks([ticks])
            axis.setHeight(_TWO_LINES if in_two else None)
            self._plot.item.setXRange(-_MARGIN, ticks[-1][0] + _MARGIN, padding=0)
        self._ticks = ticks

    def _place_marks(self) -> None:
        by_method = {curve.method: curve for curve in self.curves}
        for method, mark in self.marks.items():
            place = self._present(by_method.get(method))
            mark.setVisible(place is not None)
            mark.setPos(place or 0.0)

    def _draw(self, method: str, curve: Curve | None) -> None:
        line, bars = self._lines[method], self._bars[method]
        for item in (line, bars):
            item.setVisible(curve is not None)
        if curve is None:
            return
        x = np.array(curve.places)
        y, low, high = (np.array(values) for values in zip(*map(changes_of, curve.points), strict=True))
        line.setData(x, y, data=list(curve.points))
        bars.setData(x=x, y=y, top=bar_length(high - y), bottom=bar_length(y - low))
        self._plot.title("left", change_title(curve.points[0].metric))

    def _present(self, curve: Curve | None) -> float | None:
        """Where the layer's setting of now stands on a curve."""
        project, layer = self._session.project, self._selection.current
        if curve is None or project is None or layer is None:
            return None
        return curve.place_of(project.settings(layer))

    def _hint_text(self, scan: Scan | None) -> str:
        layer, project = self._selection.current, self._session.project
        if project is not None and "scan" in project.info.lacks:
            return sentence(project.info.lacks["scan"])
        if scan is None or not scan.points:
            return (
                "A scan compresses every layer alone, at several strengths of each method, and measures what that "
                "costs. The curves appear here, layer by layer, and the table shows which layers mind most."
            )
        reasons = scan.left_out.get(layer or "", {})
        left_out = [f"{_METHODS[method][0]}: {why}" for method, why in reasons.items() if method in _METHODS]
        chosen = ["Click a point to choose its setting; the dashed line is the setting of now."] if self.curves else []
        return "\n".join([*chosen, *left_out]) or "Nothing of this layer has been measured yet."

    def _show_job(self) -> None:
        job, scan = self._job, self._session.scans.scan
        running = job is not None and job.kind == "scan" and (job.is_running or job.can_resume)
        reason = self._why_not(job)
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or "Measure every layer alone, in the background; what is known is not done again")
        self.cancel.setVisible(job is not None and (job.is_running or job.can_resume))
        self.cancel.setEnabled(running)
        self.cancel.setToolTip("Stop; what was measured stays" if running else _SEARCHED)
        if job is not None and job.state is not JobState.DONE and (job.kind == "scan" or job.is_running):
            self._state.setText(job_text(job))
        elif scan is not None and scan.points:
            count = len({point.layer for point in scan.points})
            layers = f"{count} layer{'' if count == 1 else 's'}"
            self._state.setText(f"{points_text(len(scan.points))} of {layers}, each compressed alone")
        else:
            self._state.setText("")

    def _why_not(self, job: Job | None) -> str:
        if self._session.project is None:
            return "Open a model first."
        if "scan" in self._session.project.info.lacks:
            return sentence(self._session.project.info.lacks["scan"])
        what = "search" if job is not None and job.kind == "search" else "scan"
        if job is not None and job.is_running:
            return f"A {what} is running."
        return f"A {what} is paused: resume or cancel it under Jobs." if job is not None and job.can_resume else ""


def point_text(point: ScanPoint) -> str:
    """A point in full, for its tooltip."""
    form, unit = ("+.2f", " points") if in_points(point.metric) else ("+.3g", "")
    value, low, high = (f"{change:{form}}".replace("-", "−") for change in changes_of(point))
    return f"{point.setting}: {value}{unit} ({low} … {high}), {point.samples:,} samples"


def changes_of(point: ScanPoint) -> tuple[float, float, float]:
    """The change of the metric's value, and the lower and upper end of its interval."""
    value, *ends = (change_of_value(point.metric, drop) for drop in (point.drop, point.drop_low, point.drop_high))
    return value, min(ends), max(ends)


def _edit_of(point: ScanPoint, now: LayerSettings) -> dict[str, Any]:
    """What a point sets of a layer: weights' and activations' bits stand together, and each leaves the other."""
    chosen = point.settings.quantize
    if point.method not in ("quantize", "activations") or chosen is None:
        return {point.method: getattr(point.settings, point.method)}
    if now.quantize is None:
        return {"quantize": chosen}
    weights, activations = (chosen, now.quantize) if point.method == "quantize" else (now.quantize, chosen)
    rounded = {field: getattr(activations, field) for field in ("activation_bits", "activation_range")}
    return {"quantize": weights.model_copy(update=rounded)}


def _strength_of(point: ScanPoint) -> float:
    return strength(point.method, point.settings) or 0.0


def _tip(**spot: Any) -> str:
    """What pyqtgraph shows over the spot under the pointer."""
    return point_text(spot["data"])


def _legend(colours: Colours) -> str:
    """The methods in their colours; a line breaks between two of them only."""
    names = ((getattr(colours, colour), text.replace(" ", "&nbsp;")) for text, colour in _METHODS.values())
    return "&nbsp;&nbsp; ".join(f'<span style="color: {colour}">■</span>&nbsp;{name}' for colour, name in names)
