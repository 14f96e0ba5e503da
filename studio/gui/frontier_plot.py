"""The frontier of a search: accuracy against size, what is expected and what was measured never looking alike."""

from collections.abc import Callable, Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt

from studio.gui.labels import label
from studio.gui.plots import Plot, brush, log_ticks, pen
from studio.gui.text import bytes_text, drop_text
from studio.gui.theme import Colours, Theme
from studio.search.outcome import FrontierPoint

#: Least height of the plot in points of the metric, so that noise does not look like a slope.
_LEAST_HEIGHT = 1.0

#: Room beside the first and the last point, in powers of ten.
_MARGIN = 0.06

#: Changes this many times as deep as the deepest that was measured are out of the picture: they would flatten it.
_DEEPEST = 1.3

#: The same before anything was measured, in points.
_DEEPEST_EXPECTED = 6.0


class FrontierPlot:
    """Hollow, dashed: as expected; filled with an error bar: measured; squares: all layers alike.

    Args:
        theme: colours.
        chosen: receives the point that is clicked.

    Attributes:
        legend: what the marks mean.
    """

    def __init__(self, theme: Theme, chosen: Callable[[FrontierPoint], object]) -> None:
        self._plot = Plot(theme, "Accuracy against size", bottom="size, kB", left="change, points")
        self.widget = self._plot.widget
        self.widget.setMinimumHeight(240)
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

    def show(self, points: Sequence[FrontierPoint], current: FrontierPoint | None) -> None:
        """Draws the points, a ring about the chosen one."""
        deep = [change_of(point) for point in points if point.is_measured] or [-_DEEPEST_EXPECTED]
        floor = _DEEPEST * min(-_LEAST_HEIGHT, *deep)
        shown = [point for point in points if change_of(point) > floor]
        expected = [point for point in shown if not point.is_measured and point.kind == "search"]
        measured = [point for point in shown if point.is_measured]
        self.expected.setData(*_places(expected), data=expected)
        for scatter, kind in ((self.measured, "search"), (self.uniform, "uniform")):
            chosen = [point for point in measured if point.kind == kind]
            scatter.setData(*_places(chosen), data=chosen)
        self._show_bars(measured)
        self._ring.setData(*_places([current] if current in shown and current is not None else []))
        self._show_range(shown, floor)

    def _show_bars(self, measured: Sequence[FrontierPoint]) -> None:
        drops = [point.drop for point in measured if point.drop is not None]
        x, y = _places(measured)
        high, low = ([drop.value - drop.low for drop in drops], [drop.high - drop.value for drop in drops])
        self._bars.setData(x=x, y=y, top=np.nan_to_num(np.array(high)), bottom=np.nan_to_num(np.array(low)))

    def _show_range(self, shown: Sequence[FrontierPoint], floor: float) -> None:
        x, _ = _places(shown)
        self._plot.item.setYRange(floor, -0.3 * floor, padding=0)
        if len(x):
            low, high = float(x.min()) - _MARGIN, float(x.max()) + _MARGIN
            self._plot.item.setXRange(low, high, padding=0)
            self._plot.item.getAxis("bottom").setTicks(log_ticks(low, high))

    def _scatter(self, symbol: str, colour: str, size: int) -> pg.ScatterPlotItem:
        scatter = pg.ScatterPlotItem(symbol=symbol, size=size, hoverable=True, tip=_tip)
        self._plot.painted(lambda c: scatter.setBrush(brush(getattr(c, colour), 255)))
        self._plot.painted(lambda c: scatter.setPen(pen(c.base, 1)))
        return scatter


def change_of(point: FrontierPoint) -> float:
    """The change of the metric, measured or else expected; minus infinity where it is not known."""
    if point.drop is not None:
        return -point.drop.value
    return -np.inf if point.expected is None else -point.expected


def point_text(point: FrontierPoint) -> str:
    """A point in words: its size, its change and how that is known."""
    change = "change not known" if point.expected is None else f"expected about {_rounded(-point.expected)}"
    if point.drop is not None:
        change = f"measured {drop_text(point.drop)}"
    alike = (f"all layers alike: {point.label}",) if point.kind == "uniform" else ()
    return "   ".join((bytes_text(point.bytes), change.replace("-", "−"), *alike))


def _rounded(change: float) -> str:
    """A change to a tenth, which is all that can be foreseen: ``"-0.4"``, ``"0.0"`` where it rounds to that."""
    return "0.0" if abs(change) < 0.05 else f"{change:+.1f}"


def legend_text(colours: Colours) -> str:
    """What the marks mean."""
    parts = (
        ("●", colours.compressed, "measured"),
        ("■", colours.energy, "measured, all layers alike"),
        ("○", colours.muted, "expected from the scan"),
    )
    return "&nbsp;&nbsp; ".join(f'<span style="color: {colour}">{mark}</span> {name}' for mark, colour, name in parts)


def _places(points: Sequence[FrontierPoint]) -> tuple[np.ndarray, np.ndarray]:
    return np.log10([point.bytes / 1000 for point in points]), np.array([change_of(point) for point in points])


def _tip(x: float, y: float, data: FrontierPoint) -> str:  # noqa: ARG001 (pyqtgraph names them)
    return point_text(data)


#: Marks a point in a list of texts as its own.
POINT_ROLE = int(Qt.ItemDataRole.UserRole)
