"""The frontier of a search: accuracy against what is spent, what is expected and what was measured never alike."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from studio.gui.labels import label, placeholder
from studio.gui.plots import Plot, bar_length, brush, log_ticks, pen
from studio.gui.text import bytes_text, change_of_value, change_title, drop_text, in_points
from studio.gui.theme import Colours, Theme
from studio.search.outcome import FrontierPoint

#: Least height of the plot in points of the metric, so that noise does not look like a slope.
_LEAST_HEIGHT = 1.0

#: Room beside the first and the last point, in powers of ten.
_MARGIN = 0.06

#: The same of a metric that has no percents, of which it is not known how large its values are.
_LEAST_RISE = 1e-6

#: Changes this many times as deep as the deepest that was measured are out of the picture: they would flatten it. Of
#: recipes for all layers alike the best one counts.
_DEEPEST = 1.3

#: The same before anything was measured, in points.
_DEEPEST_EXPECTED = 6.0


#: By kind of target, what points are drawn along: its title, and the number; the size for all others.
_ALONG: Mapping[str, tuple[str, Callable[[FrontierPoint], float]]] = {
    "size": ("size, kB", lambda point: point.bytes / 1000),
    "macs": ("operations, % of the original's", lambda point: 100 * point.spent),
    "nonzeros": ("weights that are not zero, %", lambda point: 100 * point.spent),
}

#: What a share of the budget is a share of, where that is not the size.
_OF = {"macs": "of the operations", "nonzeros": "of the weights"}

_EMPTY = "The frontier is drawn here: first as the scan lets one expect it, then as measured."


class FrontierPlot:
    """Hollow, dashed: as expected; filled with an error bar: measured; squares: all layers alike.

    Args:
        theme: colours.
        chosen: receives the point that is clicked.

    Attributes:
        legend: what the marks mean.
        empty: stands there as long as there is no point.
    """

    def __init__(self, theme: Theme, chosen: Callable[[FrontierPoint], object]) -> None:
        self._metric, self._kind = "top1", "size"
        self._plot = Plot(theme, "Accuracy against size", bottom="size, kB", left="change, points")
        self.widget = self._plot.widget
        self.widget.setMinimumHeight(240)
        self.empty = placeholder(_EMPTY, self.widget)
        self.legend = label("")
        self._plot.painted(lambda c: self.legend.setText(legend_text(c)))
        zero = pg.InfiniteLine(angle=0, pos=0)
        self._plot.item.addItem(zero, ignoreBounds=True)
        self._plot.painted(lambda c: zero.setPen(pen(c.muted, 1, dashed=True)))
        self.expected = pg.PlotDataItem(symbol="o", symbolSize=8, symbolBrush=None)
        self._plot.painted(lambda c: self.expected.setPen(pen(c.muted, 1.2, dashed=True)))
        self._plot.painted(lambda c: self.expected.setSymbolPen(pen(c.muted, 1.2)))
        self._bars = pg.ErrorBarItem(beam=0)
        self._plot.painted(lambda c: self._bars.setData(pen=pen(c.muted, 1.2)))
        self.measured = self._scatter("o", "compressed", 11)
        self.uniform = self._scatter("s", "energy", 11)
        self._ring = pg.ScatterPlotItem(size=19, brush=None)
        self._plot.painted(lambda c: self._ring.setPen(pen(c.text, 1.8)))
        for item in (self.expected, self._bars, self.measured, self.uniform, self._ring):
            self._plot.item.addItem(item)
        self.expected.sigPointsClicked.connect(lambda _item, spots: chosen(spots[0].data()))
        for scatter in (self.measured, self.uniform):
            scatter.sigClicked.connect(lambda _item, spots: chosen(spots[0].data()))

    def show(self, points: Sequence[FrontierPoint], current: FrontierPoint | None, kind: str = "size") -> None:
        """Draws the points of a search for this kind of target, a ring about the chosen one."""
        self._kind = kind
        self._plot.title("bottom", _along(kind)[0])
        self.empty.setVisible(not points)
        self._plot.item.setVisible(bool(points))
        metric = metric_of(points)
        found, alike = ([p for p in points if p.is_measured and p.kind == kind] for kind in ("search", "uniform"))
        deep = [drop_of(point) for point in (*found, *sorted(alike, key=drop_of)[:1])] or [_DEEPEST_EXPECTED]
        deepest = _DEEPEST * max(_LEAST_HEIGHT if in_points(metric) else _LEAST_RISE, *deep)
        shown = [point for point in points if drop_of(point) < deepest]
        self._plot.title("left", change_title(metric))
        self._metric = metric
        expected = [point for point in shown if not point.is_measured and point.kind == "search"]
        measured = [point for point in shown if point.is_measured]
        self.expected.setData(*self._places(expected), data=expected)
        for scatter, kind in ((self.measured, "search"), (self.uniform, "uniform")):
            chosen = [point for point in measured if point.kind == kind]
            scatter.setData(*self._places(chosen), data=chosen)
        self._show_bars(measured)
        self._ring.setData(*self._places([current] if current in shown and current is not None else []))
        self._show_range(shown, change_of_value(metric, deepest))

    def _show_bars(self, measured: Sequence[FrontierPoint]) -> None:
        drops = [point.drop for point in measured if point.drop is not None]
        x, y = self._places(measured)
        ends = [sorted(change_of_value(drop.name, end) for end in (drop.low, drop.high)) for drop in drops]
        low, high = np.array(ends).reshape(-1, 2).T
        self._bars.setData(x=x, y=y, top=bar_length(high - y), bottom=bar_length(y - low))

    def _show_range(self, shown: Sequence[FrontierPoint], worst: float) -> None:
        x, _ = self._places(shown)
        self._plot.item.setYRange(*sorted((worst, -0.3 * worst)), padding=0)
        if len(x):
            low, high = float(x.min()) - _MARGIN, float(x.max()) + _MARGIN
            self._plot.item.setXRange(low, high, padding=0)
            self._plot.item.getAxis("bottom").setTicks(log_ticks(low, high))

    def _places(self, points: Sequence[FrontierPoint]) -> tuple[np.ndarray, np.ndarray]:
        changes = np.array([change_of_value(self._metric, drop_of(point)) for point in points])
        return np.log10([_along(self._kind)[1](point) for point in points]), changes

    def _tip(self, x: float, y: float, data: FrontierPoint) -> str:  # noqa: ARG002 (pyqtgraph names them)
        return point_text(data, self._metric, self._kind)

    def _scatter(self, symbol: str, colour: str, size: int) -> pg.ScatterPlotItem:
        scatter = pg.ScatterPlotItem(symbol=symbol, size=size, hoverable=True, tip=self._tip)
        self._plot.painted(lambda c: scatter.setBrush(brush(getattr(c, colour), 255)))
        self._plot.painted(lambda c: scatter.setPen(pen(c.base, 1)))
        return scatter


def drop_of(point: FrontierPoint) -> float:
    """The drop, measured or else expected; infinity where it is not known."""
    if point.drop is not None:
        return point.drop.value
    return np.inf if point.expected is None else point.expected


def metric_of(points: Sequence[FrontierPoint]) -> str:
    """The name of the metric that was measured; accuracy as long as none was."""
    return next((point.drop.name for point in points if point.drop is not None), "top1")


def _along(kind: str) -> tuple[str, Callable[[FrontierPoint], float]]:
    return _ALONG.get(kind, _ALONG["size"])


def point_text(point: FrontierPoint, metric: str = "top1", kind: str = "size") -> str:
    """A point in words: its size, what a target of this `kind` counts, its change of `metric`, how these are known."""
    change = "change not known" if point.expected is None else f"expected about {_rounded(metric, point.expected)}"
    if point.drop is not None:
        change = f"measured {drop_text(point.drop)}"
    alike = (f"all layers alike: {point.label}",) if point.kind == "uniform" else ()
    share = (f"{100 * point.spent:.3g} % {_OF[kind]}",) if kind in _OF else ()
    return "   ".join((bytes_text(point.bytes), *share, *_time(point), change.replace("-", "−"), *alike))


def _time(point: FrontierPoint) -> tuple[str, ...]:
    """Its milliseconds, and whether they were measured."""
    if point.ms is not None:
        return (f"measured {point.ms:.3g} ms",)
    return () if point.foreseen_ms is None else (f"foreseen {point.foreseen_ms:.3g} ms",)


def _rounded(metric: str, drop: float) -> str:
    """A change to a tenth, which is all that can be foreseen: ``"-0.4"``, ``"0.0"`` where it rounds to that."""
    change = change_of_value(metric, drop)
    if not in_points(metric):
        return f"{change:+.2g}" if change else "0"
    return "0.0" if abs(change) < 0.05 else f"{change:+.1f}"


def legend_text(colours: Colours) -> str:
    """What the marks mean."""
    parts = (
        ("●", colours.compressed, "measured"),
        ("■", colours.energy, "measured, all layers alike"),
        ("○", colours.muted, "expected from the scan"),
        ("◯", colours.text, "chosen in the list"),
    )
    return "&nbsp;&nbsp; ".join(f'<span style="color: {colour}">{mark}</span> {name}' for mark, colour, name in parts)


#: Marks a point in a list of texts as its own.
POINT_ROLE = int(Qt.ItemDataRole.UserRole)
