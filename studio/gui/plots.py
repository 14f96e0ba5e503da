"""What every plot of the window shares: quiet axes, the theme's colours, no hidden menus.

Items are made once by their panel and fed by `setData`; nothing here draws data.
"""

from collections.abc import Callable, Iterable
from math import ceil, floor, log10
from typing import Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QColor

from studio.gui.paced_view import PacedView
from studio.gui.theme import Colours, Theme


class Plot(QObject):
    """A pyqtgraph widget that follows the theme.

    Attributes:
        widget: what goes into a layout.
        item: the plot item, to which curves are added.
    """

    def __init__(self, theme: Theme, name: str, *, bottom: str, left: str) -> None:
        widget = PacedView(theme.turns)
        super().__init__(widget)  # dies with its widget, and its connection to the theme with it
        self._theme = theme
        self._painters: list[Callable[[Colours], None]] = []
        self._titles = {"bottom": bottom, "left": left}
        self.widget = widget
        self.widget.setAccessibleName(name)
        self.widget.setFrameShape(pg.QtWidgets.QFrame.Shape.NoFrame)
        self.widget.setMinimumSize(160, 110)
        self.item = self.widget.getPlotItem()
        self.item.setMenuEnabled(False)
        self.item.hideButtons()
        self.item.setMouseEnabled(x=False, y=False)
        self.item.showGrid(x=False, y=True, alpha=0.12)
        theme.changed.connect(self.repaint)
        self.repaint()

    def painted(self, paint: Callable[[Colours], None]) -> None:
        """Has `paint` set the colours of an item, now and whenever the theme changes."""
        self._painters.append(paint)
        paint(self._theme.colours)

    def line(self, **options: Any) -> pg.PlotDataItem:
        """A curve; without pyqtgraph's limits of its range, which it looks for again whenever the axes change."""
        return self.item.plot(dynamicRangeLimit=None, **options)

    def title(self, axis: str, text: str) -> None:
        """Names an axis; the same again costs nothing, for it is said at every edit."""
        if self._titles.get(axis) != text:
            self._titles[axis] = text
            self._paint_axis(axis, text)

    def repaint(self) -> None:
        """Takes the theme's colours."""
        self.widget.setBackground(self._theme.colours.base)
        for axis, text in self._titles.items():
            self._paint_axis(axis, text)
        for paint in self._painters:
            paint(self._theme.colours)

    def _paint_axis(self, name: str, text: str) -> None:
        colours = self._theme.colours
        axis = self.item.getAxis(name)
        axis.setPen(pg.mkPen(colours.border))
        axis.setTextPen(pg.mkPen(colours.muted))
        axis.setSIPrefixEnableRanges(())  # else switching prefixes off leaves that of the range of now in place
        axis.enableAutoSIPrefix(False)
        axis.setLabel(text, color=colours.muted)
        axis.showLabel(bool(text))


def pen(colour: str, width: float = 1.6, *, dashed: bool = False) -> Any:
    """A line of one colour; cosmetic, so it keeps its width when the plot is scaled."""
    return pg.mkPen(colour, width=width, style=Qt.PenStyle.DashLine if dashed else Qt.PenStyle.SolidLine)


def brush(colour: str, alpha: int) -> Any:
    """A translucent fill."""
    filled = QColor(colour)
    filled.setAlpha(alpha)
    return pg.mkBrush(filled)


def bar_length(reach: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far an error bar reaches; an interval without bounds, as of a single text, has none to draw."""
    return np.where(np.isfinite(reach), reach, 0.0)


def log_ticks(low: float, high: float) -> list[list[tuple[float, str]]]:
    """Ticks at 1, 2 and 5 times a power of ten between two exponents; powers alone where those would be too many.

    Where fewer than two of them lie between, round numbers at even distances: one tick alone tells no scale.
    """
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    powers = range(int(np.floor(low)), int(np.ceil(high)) + 1, max(1, round((high - low) / 6)))
    values = [step * 10.0**power for power in powers for step in steps]
    shown = [value for value in values if low <= log10(value) <= high]
    return [[(log10(value), f"{value:.6g}") for value in (shown if len(shown) > 1 else _even(10**low, 10**high))]]


def _even(low: float, high: float) -> list[float]:
    """At least two round numbers between two numbers, at the widest even distance that has so many."""
    power = ceil(log10(high - low))
    for step in (part * 10.0**exponent for exponent in (power, power - 1, power - 2) for part in (5, 2, 1)):
        values = [step * count for count in range(ceil(low / step), floor(high / step) + 1)]
        if len(values) > 1:
            break
    return values


def log_counts(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """``log10(1 + n)``: a logarithmic height in which an empty bin is zero."""
    return np.log10(1.0 + counts)


def log_count_ticks(highest: float) -> list[list[tuple[float, str]]]:
    """Ticks at 0, 1, 10, 100 … for heights drawn with `log_counts`."""
    decades: Iterable[int] = range(int(log10(max(highest, 1))) + 1)
    return [[(0.0, "0"), *((log10(1 + 10**power), f"{10**power:,}") for power in decades)]]
