"""A layer's weights, original against compressed: a histogram over the same bins, and lines of figures."""

from collections.abc import Sequence

import numpy as np
import pyqtgraph as pg
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QVBoxLayout, QWidget

from studio.analysis.views import Array, WeightView
from studio.gui.labels import ElidedLabel, label
from studio.gui.plots import Plot, brush, log_count_ticks, log_counts, pen
from studio.gui.text import percent_text
from studio.gui.theme import Colours, Theme

#: Height in pixels from which there is room for two lines of figures.
_ROOMY = 190


class WeightsPanel(QWidget):
    """Shows one `WeightView`.

    Attributes:
        change: how far a changed layer is from the original; not there where it is as it was.
        statistics: what the weights are like; in a low window it is told behind the change, which whole is a tooltip.
    """

    def __init__(self, theme: Theme) -> None:
        super().__init__()
        self._view: WeightView | None = None
        self._logarithmic = QCheckBox("Log &counts")
        self._logarithmic.setToolTip("Draw the counts on a logarithmic scale, so that rare large weights show")
        self._logarithmic.toggled.connect(self._draw)
        self.change = ElidedLabel(role="detail")
        self.change.setAccessibleName("How far the layer is from the original")
        self.statistics = ElidedLabel(role="detail")
        self.statistics.setAccessibleName("Statistics of the layer's weights")
        self._plot = Plot(theme, "Histogram of the layer's weights", bottom="", left="count")
        self._legend = label("")
        self.original = self._plot.line(stepMode="center", fillLevel=0)
        self.compressed = self._plot.line(stepMode="center")
        self._plot.painted(lambda c: self.original.setBrush(brush(c.original, 90)))
        self._plot.painted(lambda c: self.original.setPen(pen(c.original, 1)))
        self._plot.painted(lambda c: self.compressed.setPen(pen(c.compressed)))
        self._plot.painted(lambda c: self._legend.setText(_legend(c)))
        self._lay_out()

    def show_view(self, view: WeightView | None) -> None:
        """Shows `view`; None empties the panel until the answer is there."""
        self._view = view
        self._tell()
        self._draw()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leaves the histogram its height: in a low window the figures share one line."""
        super().resizeEvent(event)
        self._tell()

    def _tell(self) -> None:
        if self._view is None:
            self.statistics.setText("Loading the weights …")
            return
        (change, short), (whole, narrow) = change_text(self._view), statistics_text(self._view)
        shared = bool(change) and self.height() < _ROOMY
        self.change.setText(f"{change}  ·  {whole}" if shared else change, short)
        self.change.setVisible(bool(change))
        self.statistics.setText(whole, narrow)
        self.statistics.setVisible(not shared)

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(label("Weights", "heading"))
        top.addWidget(self._legend, 1)
        top.addWidget(self._logarithmic)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self.change)
        layout.addWidget(self.statistics)
        layout.addWidget(self._plot.widget, 1)

    def _draw(self) -> None:
        view = self._view
        self.original.setVisible(view is not None)
        self.compressed.setVisible(view is not None and view.compressed is not None)
        if view is None:
            return
        self.original.setData(view.edges, self._heights(view.original), stepMode="center")
        if view.compressed is not None:
            self.compressed.setData(view.edges, self._heights(view.compressed), stepMode="center")
        self._scale(view)

    def _heights(self, counts: Array) -> Array:
        return log_counts(counts) if self._logarithmic.isChecked() else counts

    def _scale(self, view: WeightView) -> None:
        """Fits the axes: a quantized layer may put more weights into one bin than the original has anywhere."""
        tallest = float(max(np.max(view.original), 0 if view.compressed is None else np.max(view.compressed), 1))
        logarithmic = self._logarithmic.isChecked()
        axis: pg.AxisItem = self._plot.item.getAxis("left")
        axis.setTicks(log_count_ticks(tallest) if logarithmic else None)
        top = float(log_counts(np.asarray(tallest))) if logarithmic else tallest
        self._plot.item.setYRange(0, top * 1.02, padding=0)
        self._plot.item.setXRange(float(view.edges[0]), float(view.edges[-1]), padding=0.01)


def _legend(colours: Colours) -> str:
    """Both curves in their colours; above the plot, where it hides no bar."""
    names = ((colours.original, "original"), (colours.compressed, "compressed"))
    return "&nbsp;&nbsp; ".join(f'<span style="color: {colour}">■</span> {name}' for colour, name in names)


def change_text(view: WeightView) -> tuple[str, str]:
    """How far a changed layer is from the original, and the same for narrow places; empty for any other."""
    known, short = list[str](), list[str]()
    if view.sqnr_db is not None:
        known.append("SQNR ∞" if np.isinf(view.sqnr_db) else f"SQNR {view.sqnr_db:.1f} dB")
        short.append(known[0])
    if view.output_error is not None:
        known.append(f"output error {percent_text(view.output_error)}")
        short.append(f"error {percent_text(view.output_error)}")
    if view.model_error is not None:
        known.append(f"model ≈ {percent_text(view.model_error)} (expected)")
        short.append(f"model ≈ {percent_text(view.model_error)}")
    return _line(known), _line(short)


def statistics_text(view: WeightView) -> tuple[str, str]:
    """Zeros, range, spread and mean of the weights, and what of it stands in narrow places."""
    zeros = [f"{percent_text(view.zeros)} zeros"] if view.zeros > 0 else []
    short = [*zeros, f"range {view.low:.2g} … {view.high:.2g}", f"σ {view.std:.2g}"]
    return _line([*short, f"mean {view.mean:.2g}"]), _line(short)


def _line(parts: Sequence[str]) -> str:
    return "  ·  ".join(parts).replace("-", "−")
