"""A layer's singular values with the line that cuts them: drag it to choose the rank."""

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from studio.analysis.views import Array, Spectrum
from studio.gui.labels import ElidedLabel, label
from studio.gui.paced_view import Axis
from studio.gui.plots import Plot, log_ticks, pen
from studio.gui.text import percent_text
from studio.gui.theme import Theme

#: Singular values below this share of the largest are drawn at it: the logarithm of zero has no place on an axis.
FLOOR = 1e-6


class SpectrumPanel(QWidget):
    """Shows one `Spectrum`, the retained energy and the rank.

    Signals:
        rank_dragged: the line was moved to this rank; the full rank means no cut.
        rank_released: the drag is over.

    Attributes:
        all_values: asks for the values that were not computed one by one; hidden where there are none.
    """

    rank_dragged = Signal(int)
    rank_released = Signal()

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._spectrum: Spectrum | None = None
        self._rank: int | None = None
        self._saving = ""
        self._placed: tuple[int | None, str] | None = None
        self._reason = ""
        self._summary = ElidedLabel(role="detail")
        self._summary.setAccessibleName("What the chosen rank keeps and saves")
        self._plot = Plot(theme, "Singular values of the layer", bottom="rank", left="value")
        self._plot.item.setLogMode(x=False, y=True)
        self.values = self._plot.line(symbol="o", symbolSize=4, symbolPen=None)
        self.energy = pg.PlotDataItem(dynamicRangeLimit=None)
        self.least_energy = pg.PlotDataItem(dynamicRangeLimit=None)
        self._energy_view = self._right_axis("energy, %")
        self._energy_view.addItem(self.energy)
        self._energy_view.addItem(self.least_energy)
        self.break_even = pg.InfiniteLine(angle=90, label="break-even", labelOpts={"position": 0.12})
        self.last_found = pg.InfiniteLine(angle=90, label="", labelOpts={"position": 0.3})
        self.rank_line = pg.InfiniteLine(angle=90, movable=True, label="", labelOpts={"position": 0.92})
        self.rank_line.setZValue(10)
        self.rank_line.sigDragged.connect(self._dragged)
        self.rank_line.sigPositionChangeFinished.connect(self._released)
        for line in (self.last_found, self.break_even, self.rank_line):
            self._plot.item.addItem(line, ignoreBounds=True)
        self.all_values = QPushButton("All values")
        self.all_values.setToolTip(
            "Computes the singular values beyond the leading ones, which takes long.\n"
            "Their energy in sum is exact; the dashed line is the least that so many ranks keep."
        )
        self._paint()
        self._lay_out()
        self.show_spectrum(None)

    def show_spectrum(self, spectrum: Spectrum | None, unavailable: str = "") -> None:
        """Shows `spectrum`.

        Args:
            spectrum: None empties the panel until the answer is there.
            unavailable: why the rank of this layer cannot be chosen; empty when it can.
        """
        if spectrum is not None and spectrum is self._spectrum and unavailable == self._reason:
            return  # drawn already: edits of other methods come here at every move of a slider
        self._spectrum, self._reason = spectrum, unavailable
        partial = spectrum is not None and spectrum.rest > 0
        self._summary.setText("Computing the singular values …" if spectrum is None else "")
        for item in (self.values, self.energy, self.break_even, self.rank_line):
            item.setVisible(spectrum is not None)
        for shown in (self.least_energy, self.last_found, self.all_values):
            shown.setVisible(partial)
        self.all_values.setEnabled(True)
        if spectrum is not None:
            self._draw(spectrum)

    def show_rank(self, rank: int | None, saving: str) -> None:
        """Places the line.

        Args:
            rank: the chosen rank, None when the layer keeps its full rank.
            saving: what the rank saves, such as ``"−12.3 kB"``.
        """
        self._rank, self._saving = rank, saving
        if self._spectrum is not None and (rank, saving) != self._placed:
            self._place(self._spectrum)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(label("Singular values", "heading"))
        top.addWidget(self._summary, 1)
        top.addWidget(self.all_values)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self._plot.widget, 1)

    def _paint(self) -> None:
        plot = self._plot
        plot.painted(lambda c: self.values.setPen(pen(c.compressed)))
        plot.painted(lambda c: self.values.setSymbolBrush(c.compressed))
        plot.painted(lambda c: self.energy.setPen(pen(c.energy)))
        plot.painted(lambda c: self.least_energy.setPen(pen(c.energy, dashed=True)))
        plot.painted(lambda c: self.last_found.setPen(pen(c.muted, 1.2)))
        plot.painted(lambda c: self.last_found.label.setColor(c.muted))
        plot.painted(lambda c: self.break_even.setPen(pen(c.muted, 1.2, dashed=True)))
        plot.painted(lambda c: self.break_even.label.setColor(c.muted))
        plot.painted(lambda c: self.rank_line.setPen(pen(c.text, 2.4)))
        plot.painted(lambda c: self.rank_line.setHoverPen(pen(c.accent, 4)))
        plot.painted(lambda c: self.rank_line.label.setColor(c.text))
        plot.painted(lambda c: plot.item.getAxis("right").setTextPen(c.energy))
        plot.painted(lambda c: plot.item.getAxis("right").setLabel("energy, %", color=c.energy))

    def _right_axis(self, text: str) -> pg.ViewBox:
        """A second view over the same ranks with a linear axis of its own."""
        item, view = self._plot.item, pg.ViewBox(enableMenu=False)
        view.setMouseEnabled(x=False, y=False)
        item.setAxisItems({"right": Axis("right")})
        item.scene().addItem(view)
        item.getAxis("right").linkToView(view)
        item.getAxis("right").setLogMode(False)
        item.getAxis("right").enableAutoSIPrefix(False)
        item.getAxis("right").setLabel(text)
        view.setXLink(item.getViewBox())
        view.setYRange(0, 100, padding=0.07)
        view.setZValue(-1)
        item.getViewBox().sigResized.connect(lambda box: view.setGeometry(box.sceneBoundingRect()))
        return view

    def _draw(self, spectrum: Spectrum) -> None:
        values = spectrum.singular_values
        found, full = len(values), spectrum.full_rank
        ranks = np.arange(1, full + 1, dtype=float)
        shown = np.maximum(values, FLOOR * max(float(values[0]), 1e-30))
        energy = 100 * spectrum.energy
        self.values.setData(ranks[:found], shown)
        self.energy.setData(ranks[:found], energy[:found])
        self.least_energy.setData(ranks[found - 1 :], energy[found - 1 :])
        self.last_found.setPos(found)
        self.last_found.label.setText(f"{found:,} computed; beyond: at least")
        self._plot.item.setXRange(0.5, full + 0.5, padding=0.01)
        low, high = _log_range(shown)
        self._plot.item.setYRange(low, high, padding=0.06)
        self._plot.item.getAxis("left").setTicks(log_ticks(low, high))
        self.break_even.setPos(spectrum.break_even_rank)
        self.break_even.label.setText(f"break-even {spectrum.break_even_rank:.1f}")
        self.rank_line.setMovable(not self._reason)
        self.rank_line.setBounds((1, full))
        self._place(spectrum)

    def _place(self, spectrum: Spectrum) -> None:
        self._placed = (self._rank, self._saving)
        full = spectrum.full_rank
        rank = full if self._rank is None else min(self._rank, full)
        if not self.rank_line.moving:
            self.rank_line.setValue(rank)
        self.rank_line.label.setText("" if self._reason else f"rank {rank}")
        _lean_inwards(self.rank_line, rank > full / 2)
        _lean_inwards(self.last_found, len(spectrum.singular_values) > full / 2)
        _lean_inwards(self.break_even, spectrum.break_even_rank > full / 2)
        self._summary.setText(self._reason or rank_text(spectrum, self._rank, self._saving))

    def _dragged(self) -> None:
        rank = round(self.rank_line.value())
        if self._spectrum is not None and rank != self._shown_rank():
            self._rank = rank
            self.rank_dragged.emit(rank)

    def _released(self) -> None:
        self.rank_line.setValue(self._shown_rank())
        self.rank_released.emit()

    def _shown_rank(self) -> int:
        full = self._spectrum.full_rank if self._spectrum is not None else 1
        return full if self._rank is None else self._rank


def rank_text(spectrum: Spectrum, rank: int | None, saving: str) -> str:
    """What `rank` keeps and saves, with a warning above break-even."""
    if rank is None:
        return "full rank  ·  drag the line to cut it"
    rank = min(rank, spectrum.full_rank)
    least = "at least " if len(spectrum.singular_values) < rank < spectrum.full_rank else ""
    kept = percent_text(float(spectrum.energy[rank - 1]))
    text = f"rank {rank} of {spectrum.full_rank}  ·  {least}{kept} energy  ·  {saving}"
    above = rank > spectrum.break_even_rank
    return f"{text}  ·  above break-even" if above else text


def _log_range(values: Array) -> tuple[float, float]:
    """Lowest and highest exponent, at least one decade apart."""
    low, high = float(np.log10(values[-1] or 1e-30)), float(np.log10(values[0] or 1e-30))
    return min(low, high - 1), high


def _lean_inwards(line: pg.InfiniteLine, left: bool) -> None:
    """Puts a line's label on the side where the plot has room for it."""
    anchors = [(1, 0.5), (1, 0.5)] if left else [(0, 0.5), (0, 0.5)]
    if line.label.anchors != anchors:
        line.label.anchors = anchors
        line.label.setAnchor(anchors[0])
