"""The table of layers with its filters; the rows selected in it are the window's selection."""

from PySide6.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPersistentModelIndex,
    QRect,
    QSortFilterProxyModel,
    Qt,
)
from PySide6.QtGui import QColor, QPainter, QShowEvent
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QStyle,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from studio.gui.labels import label
from studio.gui.layer_model import HEAT_ROLE, KIND_ROLE, SHARE_ROLE, SORT_ROLE, LayerModel
from studio.gui.selection import Selection
from studio.gui.text import kind_text
from studio.gui.theme import Theme

_WIDTHS = {
    "Layer": 124,
    "Share": 60,
    "Settings": 104,
    "Size": 64,
    "Change": 60,
    "Alone": 60,
    "Time": 66,
    "Time, %": 62,
    "Shape": 112,
    "Kind": 70,
    "Parameters": 90,
}

#: Narrower, a layer's size would be cut.
_LEAST = 322


class LayerFilter(QSortFilterProxyModel):
    """Sorts by raw value; keeps rows whose name holds the text and whose kind is the chosen one."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""
        self._kind: str | None = None
        self.setSortRole(SORT_ROLE)

    def set_text(self, text: str) -> None:
        """Keeps layers whose name holds `text`, whatever the case."""
        self.beginFilterChange()
        self._text = text.strip().casefold()
        self.endFilterChange()

    def set_kind(self, kind: str | None) -> None:
        """Keeps layers of one kind; None keeps all."""
        self.beginFilterChange()
        self._kind = kind
        self.endFilterChange()

    def filterAcceptsRow(self, source_row: int, source_parent: QModelIndex | QPersistentModelIndex) -> bool:
        """Whether a row stays."""
        index = self.sourceModel().index(source_row, 0, source_parent)
        kind_fits = self._kind is None or index.data(KIND_ROLE) == self._kind
        return kind_fits and self._text in str(index.data()).casefold()


class _CellDelegate(QStyledItemDelegate):
    """Draws a cell with something behind or under its text, in the theme's colours."""

    def __init__(self, theme: Theme, parent: QWidget) -> None:
        super().__init__(parent)
        self._theme = theme


class ShareDelegate(_CellDelegate):
    """Draws a share as a bar under its number; the longest bar is the largest share of all."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draws ground, bar and number."""
        share = index.data(SHARE_ROLE)
        super().paint(painter, option, index)
        if share is None:
            return
        rect: QRect = option.rect
        track = rect.adjusted(6, rect.height() - 5, -6, -2)
        selected = bool(option.state & QStyle.StateFlag.State_Selected)
        ground = QColor(self._theme.colours.base if selected else self._theme.colours.raised)
        painter.fillRect(track, ground)
        track.setWidth(max(1, round(track.width() * float(share))))
        painter.fillRect(track, QColor(self._theme.colours.accent))


class HeatDelegate(_CellDelegate):
    """Draws a number on a ground that is the warmer the more the layer minds."""

    def paint(
        self, painter: QPainter, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Draws ground and number."""
        heat = index.data(HEAT_ROLE)
        if heat is not None:
            ground = QColor(self._theme.colours.bad)
            ground.setAlphaF(0.45 * float(heat))
            painter.fillRect(option.rect, ground)
        super().paint(painter, option, index)


class LayerView(QTableView):
    """A table that Qt scrolls by moving its pixels.

    It does so only where the ground is filled by the viewport itself; with the ground of a style sheet it paints
    every cell anew. Whatever polishes the style takes that back.
    """

    def showEvent(self, event: QShowEvent) -> None:
        """Fills its ground, once polished."""
        super().showEvent(event)
        self.viewport().setAutoFillBackground(True)

    def changeEvent(self, event: QEvent) -> None:
        """Fills its ground again in a new theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self.viewport().setAutoFillBackground(True)


class LayerTable(QWidget):
    """Search box, kind filter and the table."""

    def __init__(self, model: LayerModel, selection: Selection, theme: Theme) -> None:
        super().__init__()
        self._model = model
        self._selection = selection
        self._is_following = False
        self.filter = LayerFilter()
        self.filter.setSourceModel(model)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Filter by name")
        self.search.setProperty("role", "search")
        self.search.setAccessibleName("Filter layers by name")
        self.search.setToolTip("Show only layers whose name holds this text (Ctrl+F)")
        self.search.setClearButtonEnabled(True)
        self.kind = QComboBox()
        self.kind.setAccessibleName("Filter layers by kind")
        self.kind.setToolTip("Show only layers of one kind")
        self.view = LayerView()
        self.view.setItemDelegateForColumn(model.column("Share"), ShareDelegate(theme, self.view))
        self.view.setItemDelegateForColumn(model.column("Alone"), HeatDelegate(theme, self.view))
        self._shown = label("", "detail")
        self._set_up_view()
        self._lay_out()
        self.search.textChanged.connect(self.filter.set_text)
        self.kind.currentIndexChanged.connect(lambda _: self.filter.set_kind(self.kind.currentData()))
        self.view.selectionModel().selectionChanged.connect(self._tell)
        self.view.selectionModel().currentChanged.connect(self._tell)
        selection.changed.connect(self._follow)
        model.modelReset.connect(self._load)
        model.dataChanged.connect(self._show_drops)
        for signal in (self.filter.rowsInserted, self.filter.rowsRemoved, self.filter.modelReset):
            signal.connect(self._count)
        self.setMinimumWidth(_LEAST)
        self._load()

    def _set_up_view(self) -> None:
        view = self.view
        view.setModel(self.filter)
        view.setAccessibleName("Layers of the model")
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setSortingEnabled(True)
        view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTabKeyNavigation(False)
        view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        view.setHorizontalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(28)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        header.setSectionsMovable(True)
        header.setSectionResizeMode(QHeaderView.ResizeMode.Interactive)
        for title, width in _WIDTHS.items():
            column = self._model.column(title)
            view.setColumnWidth(column, max(width, header.sectionSizeHint(column)))  # wide enough for any font

    def _lay_out(self) -> None:
        filters = QHBoxLayout()
        filters.addWidget(self.search, 1)
        filters.addWidget(self.kind)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 4, 8)
        layout.setSpacing(8)
        layout.addLayout(filters)
        layout.addWidget(self.view, 1)
        layout.addWidget(self._shown)

    def _load(self) -> None:
        self.search.clear()
        self.kind.clear()
        self.kind.addItem("All kinds", None)
        for kind in self._model.kinds:
            self.kind.addItem(kind_text(kind), kind)
        self._show_drops()
        self._count()

    def _show_drops(self) -> None:
        self.view.setColumnHidden(self._model.column("Change"), not self._model.has_drops)
        self.view.setColumnHidden(self._model.column("Alone"), not self._model.has_scan)
        for title in ("Time", "Time, %"):
            self.view.setColumnHidden(self._model.column(title), not self._model.has_times)

    def _count(self) -> None:
        shown, total = self.filter.rowCount(), self._model.rowCount()
        self._shown.setText(f"{total} layers" if shown == total else f"{shown} of {total} layers")

    def _tell(self) -> None:
        """Hands the selected rows on, the one in focus first; silent while following the window's selection."""
        if self._is_following:
            return
        rows = {index.row() for index in self.view.selectionModel().selectedRows()}
        current = self.view.currentIndex().row()
        ordered = sorted(rows, key=lambda row: (row != current, row))
        self._selection.select(tuple(str(self.filter.index(row, 0).data()) for row in ordered))

    def _follow(self) -> None:
        """Selects the rows of the window's selection, unless they are selected already."""
        rows = {index.row() for index in self.view.selectionModel().selectedRows()}
        wanted = [row for name in self._selection.names if (row := self._row(name)) is not None]
        if set(wanted) == rows or not wanted:
            return
        chosen = QItemSelection()
        for row in wanted:
            chosen.select(self.filter.index(row, 0), self.filter.index(row, self._model.columnCount() - 1))
        flags = QItemSelectionModel.SelectionFlag
        self._is_following = True
        self.view.selectionModel().setCurrentIndex(self.filter.index(wanted[0], 0), flags.NoUpdate)
        self.view.selectionModel().select(chosen, flags.ClearAndSelect)
        self._is_following = False
        self.view.scrollTo(self.filter.index(wanted[0], 0))

    def _row(self, name: str) -> int | None:
        row = self._model.row(name)
        index = self.filter.mapFromSource(self._model.index(row, 0)) if row is not None else QModelIndex()
        return index.row() if index.isValid() else None
