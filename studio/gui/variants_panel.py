"""Variants side by side: a table and a chart of accuracy against size; choosing one goes to it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QSplitter,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from studio.evaluation.result import Result
from studio.gui.labels import label
from studio.gui.plots import Plot, bar_length, pen
from studio.gui.text import bytes_text, change_of_value, drop_text, measurement_text, metric_name, milliseconds_text
from studio.gui.theme import Theme
from studio.session.latencies import Latencies
from studio.session.variants import Variant, Variants

Index = QModelIndex | QPersistentModelIndex

_ROOT = QModelIndex()
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
_LEFT = int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
SELECT_FIRST = "Select a variant in the table first."
_TITLES = ("Variant", "Made from", "Size", "Measured", "Latency")
_NAMES = ("Variant", "Made from")

#: Width of the panel in pixels from which on two names have room beside the figures.
_WIDE = 820

#: What the bars of the chart are.
_PAIRED = "Bars: 95 % interval of the change from the original, on the same samples"


class VariantModel(QAbstractTableModel):
    """The variants as table rows."""

    def __init__(self, variants: Variants, latencies: Latencies) -> None:
        super().__init__()
        self._variants = variants
        self._latencies = latencies
        self._rows: list[Variant] = list(variants.all)
        variants.changed.connect(self._load)
        latencies.changed.connect(self._timed)

    def variant(self, row: int) -> Variant:
        """The variant in a row."""
        return self._rows[row]

    def rowCount(self, parent: Index = _ROOT) -> int:
        """Number of variants."""
        return 0 if parent.isValid() else len(self._rows)

    def columnCount(self, parent: Index = _ROOT) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(_TITLES)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Titles of the columns."""
        if orientation is not Qt.Orientation.Horizontal or not 0 <= section < len(_TITLES):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return _TITLES[section]
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return _RIGHT if section >= 2 else _LEFT
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text of a cell."""
        if not index.isValid():
            return None
        if role == Qt.ItemDataRole.TextAlignmentRole and index.column() >= 2:
            return _RIGHT
        return self._text(self._rows[index.row()], index.column()) if role == Qt.ItemDataRole.DisplayRole else None

    def _text(self, variant: Variant, column: int) -> str:
        if column == 0:
            return variant.name
        if column == 1:
            names = {other.id: other.name for other in self._rows}
            return names.get(variant.parent, "") if variant.parent is not None else ""
        if column == 2:
            return bytes_text(variant.bytes) if variant.bytes else "not known"
        if column == 3:
            return measurement_text(variant.result.metric) if variant.result is not None else "not measured"
        latency = self._latencies.of(variant.choice)
        return milliseconds_text(latency.now.ms) if latency is not None else "–"

    def _timed(self) -> None:
        if self._rows:
            last = len(_TITLES) - 1
            self.dataChanged.emit(self.index(0, last), self.index(len(self._rows) - 1, last))

    def _load(self) -> None:
        self.beginResetModel()
        self._rows = list(self._variants.all)
        self.endResetModel()


class VariantsPanel(QWidget):
    """Shows `Variants`.

    Signals:
        chosen: the user wants to go to this `Variant`.
        selected: this `Variant` is selected.
        curves_wanted: the user wants to see how the selected variant was trained.
    """

    chosen = Signal(object)
    selected = Signal(object)
    curves_wanted = Signal()

    def __init__(self, variants: Variants, latencies: Latencies, theme: Theme, keep: Callable[[], object]) -> None:
        super().__init__()
        self._variants = variants
        self.model = VariantModel(variants, latencies)
        self.table = QTableView()
        self.table.setModel(self.model)
        self.table.setAccessibleName("Variants")
        self.keep = QPushButton("Keep this state")
        self.keep.setToolTip("Keep the present settings as a variant to compare with (Ctrl+K)")
        self.keep.clicked.connect(keep)
        self.go = QPushButton("Go to variant")
        self.go.clicked.connect(self._choose)
        self.curves = QPushButton("Its training")
        self.curves.clicked.connect(self.curves_wanted)
        self._plot = Plot(theme, "Accuracy of the variants against their size", bottom="size, kB", left="")
        self.points = pg.ScatterPlotItem(size=11, hoverable=True, tip=self._tip)
        self.bars = pg.ErrorBarItem(beam=0)
        self._ring = pg.ScatterPlotItem(size=19, brush=None)
        for item in (self.bars, self.points, self._ring):
            self._plot.item.addItem(item)
        self._plot.widget.setToolTip(_PAIRED)
        self._plot.painted(lambda c: self.bars.setData(pen=pen(c.muted, 1.2)))
        self._plot.painted(lambda c: self._ring.setPen(pen(c.text, 1.8)))
        self._plot.painted(lambda c: self.points.setBrush(c.compressed))
        self._plot.painted(lambda c: self.points.setPen(c.base))
        self.points.sigClicked.connect(lambda _item, points: self.table.selectRow(points[0].data()))
        self._set_up_table()
        self._lay_out()
        self.model.modelReset.connect(self._show)
        self.table.selectionModel().selectionChanged.connect(self._select)
        self._show()

    def _set_up_table(self) -> None:
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.table.setShowGrid(False)
        self.table.setTabKeyNavigation(False)
        self.table.verticalHeader().hide()
        self.table.verticalHeader().setDefaultSectionSize(26)
        self.table.horizontalHeader().setHighlightSections(False)
        header = self.table.horizontalHeader()
        for column, title in enumerate(_TITLES):  # figures whole, names share what is left
            named = title in _NAMES
            mode = QHeaderView.ResizeMode.Stretch if named else QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(column, mode)
        self.table.activated.connect(self._choose)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Leaves out what a variant was made from where the names would have no room beside it."""
        super().resizeEvent(event)
        self.table.setColumnHidden(_TITLES.index("Made from"), self.width() < _WIDE)

    def _lay_out(self) -> None:
        left = QWidget()
        column = QVBoxLayout(left)
        column.setContentsMargins(8, 8, 8, 8)
        column.addWidget(self.table, 1)
        buttons = QHBoxLayout()
        buttons.addWidget(self.keep)
        buttons.addWidget(self.go)
        buttons.addWidget(self.curves)
        buttons.addStretch(1)
        column.addLayout(buttons)
        self._hint = label("", "detail", wrap=True)
        self._hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        right = QWidget()
        chart = QVBoxLayout(right)
        chart.setContentsMargins(0, 8, 8, 0)
        chart.addWidget(self._hint)
        chart.addWidget(self._plot.widget, 1)
        splitter = QSplitter()
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(left)
        splitter.addWidget(right)
        splitter.setSizes([420, 320])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)

    def _show(self) -> None:
        measured = [(row, v) for row, v in enumerate(self._variants.all) if v.result is not None]
        self.points.setData(
            [v.bytes / 1000 for _, v in measured],
            [v.result.metric.value for _, v in measured if v.result is not None],
            data=[row for row, _ in measured],
        )
        x, y = self.points.getData()
        low, high = np.array([_ends(v, v.result) for _, v in measured if v.result is not None]).reshape(-1, 2).T
        self.bars.setData(x=x, y=y, top=bar_length(high - y), bottom=bar_length(y - low))
        self._plot.item.setXRange(0, 1.08 * max((v.bytes / 1000 for _, v in measured), default=1.0), padding=0)
        self._plot.widget.setVisible(bool(measured))
        self._hint.setVisible(not measured)
        self._hint.setText("Measured variants appear here, accuracy against size.")
        if measured and measured[0][1].result is not None:
            self._plot.title("left", metric_name(measured[0][1].result.metric.name).split(" with ")[0])
        self._show_go()

    def _tip(self, x: float, y: float, data: int) -> str:
        variant = self.model.variant(data)
        drop = variant.result.drop if variant.result is not None and variant.parent is not None else None
        change = "" if drop is None else f", {drop_text(drop)} against the original"
        return f"{variant.name}: {x:.1f} kB, {y:.2f}{change}"

    def _select(self) -> None:
        self._show_go()
        variant = self._selected()
        if variant is not None:
            self.selected.emit(variant)

    def _show_go(self) -> None:
        variant = self._selected()
        ringed = variant if variant is not None and variant.result is not None else None
        places = [] if ringed is None or ringed.result is None else [(ringed.bytes / 1000, ringed.result.metric.value)]
        self._ring.setData(pos=places)
        self.go.setEnabled(variant is not None)
        self.go.setToolTip(
            "Go to the selected variant, as a step that undo takes back" if variant is not None else SELECT_FIRST
        )
        self.curves.setEnabled(variant is not None and variant.run is not None)
        if variant is None:
            self.curves.setToolTip(SELECT_FIRST)
        else:
            known = "Show the curves and settings it was trained with"
            self.curves.setToolTip(known if variant.run is not None else "It is no variant that distillation made.")

    def _selected(self) -> Variant | None:
        rows = self.table.selectionModel().selectedRows()
        return self.model.variant(rows[0].row()) if rows else None

    def _choose(self) -> None:
        variant = self._selected()
        if variant is not None:
            self.chosen.emit(variant)


def _ends(variant: Variant, result: Result) -> tuple[float, float]:
    """The ends of a value's bar: how far its change from the original may be off; its own where that is not known."""
    metric, drop = result.metric, result.drop
    if variant.parent is None:  # the original does not differ from itself
        return metric.value, metric.value
    if drop is None:
        return metric.low, metric.high
    low, high = sorted(metric.value + change_of_value(metric.name, end - drop.value) for end in (drop.low, drop.high))
    return low, high
