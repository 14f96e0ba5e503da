"""A plot that is drawn in a turn of the event loop of its own, and shown from its last picture until then.

A drawing by pyqtgraph costs a third of a frame. A window that draws three plots and its tables in one go, as Qt does,
keeps the user waiting for all of them; so each plot is drawn into a picture when nothing else waits, and the window's
own painting only copies the pictures.
"""

from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import QPoint
from PySide6.QtGui import QPainter, QPaintEvent, QPixmap, QResizeEvent, QShowEvent
from PySide6.QtWidgets import QGraphicsView, QWidget

from studio.gui.turns import Turns


class Axis(pg.AxisItem):  # type: ignore[misc]  # pyqtgraph has no types
    """A `pyqtgraph.AxisItem` whose grid is quick to draw: Qt takes seven times as long for a translucent line."""

    def drawPicture(self, painter: QPainter, axis: Any, ticks: Any, texts: Any) -> None:
        """See `pyqtgraph.AxisItem.drawPicture`; ticks and grid are filled, a pixel wide."""
        for pen, start, end in ticks:
            width, height = round(end.x() - start.x()) or 1, round(end.y() - start.y()) or 1
            painter.fillRect(round(start.x()), round(start.y()), width, height, pen.color())
        super().drawPicture(painter, axis, (), texts)


class PacedView(pg.PlotWidget):  # type: ignore[misc]
    """A `pyqtgraph.PlotWidget` whose drawings wait for their turn.

    Args:
        turns: those of the window.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._picture = QPixmap()
        self._drawing = False
        super().__init__(axisItems={side: Axis(side) for side in ("left", "bottom")})
        self.setViewportUpdateMode(QGraphicsView.ViewportUpdateMode.NoViewportUpdate)
        self.scene().changed.connect(lambda _regions: self._ask())

    def setBackground(self, background: object) -> None:
        """See `pyqtgraph.GraphicsView.setBackground`."""
        super().setBackground(background)
        self._ask()

    def showEvent(self, event: QShowEvent) -> None:
        """Draws what has changed while nobody saw it."""
        super().showEvent(event)
        self._ask()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Draws the plot in its new size."""
        super().resizeEvent(event)
        self._ask()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Copies the last picture; draws only when asked to by `_draw`."""
        if self._drawing:
            super().paintEvent(event)
            return
        painter = QPainter(self.viewport())
        painter.fillRect(self.viewport().rect(), self.backgroundBrush())
        painter.drawPixmap(0, 0, self._picture)

    def _ask(self) -> None:
        self._turns.soon(self, self._draw)

    def _draw(self) -> None:
        if not self.isVisible():
            return  # drawn when it is shown
        viewport = self.viewport()
        picture = QPixmap(viewport.size() * viewport.devicePixelRatio())
        picture.setDevicePixelRatio(viewport.devicePixelRatio())
        self._drawing = True
        try:
            viewport.render(picture, QPoint(), renderFlags=QWidget.RenderFlag.DrawWindowBackground)
        finally:
            self._drawing = False
        self._picture = picture
        viewport.update()
