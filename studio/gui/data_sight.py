"""What the model sees of data: pictures, rows or texts after all conversion, as they come from the engine."""

from collections.abc import Sequence

import numpy as np
from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QIcon, QImage, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QListView,
    QListWidget,
    QListWidgetItem,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
)

from studio.evaluation.arrays import Array
from studio.evaluation.data_guess import DataView

#: Side of a picture in pixels.
SIDE = 84


class DataSight(QStackedWidget):
    """Shows one `DataView`.

    Attributes:
        pictures, rows, texts: one page for each kind.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pictures, self.rows, self.texts = QListWidget(), QTableWidget(), QListWidget()
        self.pictures.setViewMode(QListView.ViewMode.IconMode)
        self.pictures.setIconSize(QSize(SIDE, SIDE))
        self.pictures.setGridSize(QSize(SIDE + 20, SIDE + 30))
        self.pictures.setResizeMode(QListView.ResizeMode.Adjust)
        self.pictures.setMovement(QListView.Movement.Static)
        self.pictures.setUniformItemSizes(True)
        self.texts.setWordWrap(True)
        self.rows.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        for page, name in ((self.pictures, "First images"), (self.rows, "First samples"), (self.texts, "First texts")):
            page.setAccessibleName(f"{name} as the model sees them")
            page.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
            self.addWidget(page)

    def show_view(self, view: DataView) -> None:
        """Shows what came from the engine."""
        if view.pictures is not None:
            self._show_pictures(view.pictures, view.captions)
        elif view.texts:
            self._show_texts(view.texts)
        else:
            self._show_rows(view)

    def _show_pictures(self, pictures: Array, captions: Sequence[str]) -> None:
        self.pictures.clear()
        for number, picture in enumerate(pictures):
            caption = captions[number] if captions else str(number + 1)
            item = QListWidgetItem(QIcon(_pixmap(picture)), caption)
            item.setToolTip(caption)
            self.pictures.addItem(item)
        self.setCurrentWidget(self.pictures)

    def _show_texts(self, texts: Sequence[str]) -> None:
        self.texts.clear()
        self.texts.addItems([text.replace("\n", " ⏎ ") for text in texts])
        self.setCurrentWidget(self.texts)

    def _show_rows(self, view: DataView) -> None:
        headings = [*(["label"] if view.captions else []), *view.headings]
        self.rows.setColumnCount(len(headings))
        self.rows.setHorizontalHeaderLabels(headings)
        self.rows.setRowCount(len(view.rows))
        for row, cells in enumerate(view.rows):
            for column, cell in enumerate([*view.captions[row : row + 1], *cells]):
                item = QTableWidgetItem(cell)
                item.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.rows.setItem(row, column, item)
        self.rows.resizeColumnsToContents()
        self.setCurrentWidget(self.rows)


def _pixmap(picture: Array) -> QPixmap:
    """Bytes ``[height, width, channels]`` as a picture, small ones with their pixels in sight."""
    height, width, _ = picture.shape
    colours = np.ascontiguousarray(picture if picture.shape[2] == 3 else picture[..., :1].repeat(3, 2))
    image = QImage(colours.data, width, height, 3 * width, QImage.Format.Format_RGB888)
    smooth = (
        Qt.TransformationMode.SmoothTransformation
        if max(height, width) > SIDE
        else Qt.TransformationMode.FastTransformation
    )
    return QPixmap.fromImage(image.copy()).scaled(SIDE, SIDE, Qt.AspectRatioMode.KeepAspectRatio, smooth)
