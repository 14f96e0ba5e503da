"""The first page: samples, recent files, a button, and a place to drop a model on."""

from collections.abc import Sequence
from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from studio.gui.arrivals import dropped_paths
from studio.gui.labels import ElidedLabel, label
from studio.resources import Sample


class DropZone(QFrame):
    """Takes a model, with its data or without, from the desktop's file manager.

    Signals:
        dropped: the paths of files and folders.
    """

    dropped = Signal(list)

    def __init__(self, browse: QPushButton) -> None:
        super().__init__()
        self.setProperty("role", "drop")
        self.setAcceptDrops(True)
        self.setAccessibleName("Drop a model file here")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 28, 24, 28)
        layout.setSpacing(10)
        layout.addWidget(
            label("Drop a model here, with its data if you like", "heading"), 0, Qt.AlignmentFlag.AlignHCenter
        )
        for kinds in (
            "ONNX (.onnx) or PyTorch export (.pt2)",
            "Weights alone: .safetensors, .pt, .pth, .bin",
            "Data: a folder of images, arrays, a table, a text",
        ):
            layout.addWidget(label(kinds, "detail"), 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addWidget(browse, 0, Qt.AlignmentFlag.AlignHCenter)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcomes local files and folders."""
        if dropped_paths(event.mimeData()):
            event.acceptProposedAction()
            self._glow(True)

    def dragLeaveEvent(self, _event: QDragLeaveEvent) -> None:
        """Goes back to rest."""
        self._glow(False)

    def dropEvent(self, event: QDropEvent) -> None:
        """Hands the files on."""
        self._glow(False)
        event.acceptProposedAction()
        self.dropped.emit(dropped_paths(event.mimeData()))

    def _glow(self, on: bool) -> None:
        self.setProperty("active", on)
        self.style().unpolish(self)
        self.style().polish(self)


class StartPage(QScrollArea):
    """What a person sees before a model is open.

    Signals:
        browse: the user wants a file dialog.
        dropped: the paths of what was dropped: a model, and its data.
        recent_chosen: the path of a model that was open before.
        sample_chosen: a `Sample`.
    """

    browse = Signal()
    dropped = Signal(list)
    recent_chosen = Signal(str)
    sample_chosen = Signal(object)

    def __init__(self, samples: Sequence[Sample]) -> None:
        super().__init__()
        self.open_button = QPushButton("Open a model …")
        self.open_button.setProperty("role", "primary")
        self.open_button.clicked.connect(self.browse)
        self.drop_zone = DropZone(self.open_button)
        self.drop_zone.dropped.connect(self.dropped)
        self.sample_buttons = [self._sample_button(sample) for sample in samples]
        self._recent = QVBoxLayout()
        self._recent.setSpacing(4)
        self._recent_box = QWidget()
        self._lay_out(samples)

    def show_recent(self, paths: Sequence[str]) -> None:
        """Lists recent files; those that are gone are left out."""
        while item := self._recent.takeAt(0):
            if (row := item.widget()) is not None:
                row.deleteLater()
        existing = [path for path in paths if Path(path).exists()]
        for path in existing:
            self._recent.addWidget(self._recent_row(path))
        self._recent_box.setVisible(bool(existing))

    def _lay_out(self, samples: Sequence[Sample]) -> None:
        column = QVBoxLayout()
        column.setSpacing(12)
        column.addStretch(2)
        column.addWidget(label("Compression Studio", "title"))
        column.addWidget(
            label(
                "Prune, factor, quantize and distil a neural network layer by layer, with measured accuracy.",
                "detail",
                wrap=True,
            )
        )
        column.addSpacing(8)
        column.addWidget(self.drop_zone)
        column.addSpacing(8)
        column.addWidget(label("Start with a sample", "heading"))
        grid = QGridLayout()
        grid.setColumnStretch(1, 1)
        for row, (sample, button) in enumerate(zip(samples, self.sample_buttons, strict=True)):
            grid.addWidget(button, row, 0)
            grid.addWidget(label(sample.summary, "detail", wrap=True), row, 1)
        column.addLayout(grid)
        recent = QVBoxLayout(self._recent_box)
        recent.setContentsMargins(0, 8, 0, 0)
        recent.addWidget(label("Recent files", "heading"))
        recent.addLayout(self._recent)
        column.addWidget(self._recent_box)
        column.addStretch(3)
        page, middle = QWidget(), QWidget()
        middle.setLayout(column)
        middle.setMaximumWidth(680)
        layout = QHBoxLayout(page)
        layout.addStretch(1)
        layout.addWidget(middle, 6)
        layout.addStretch(1)
        self.setWidget(page)
        self.setWidgetResizable(True)

    def _sample_button(self, sample: Sample) -> QPushButton:
        button = QPushButton(sample.title)
        button.setAccessibleDescription(sample.summary)
        button.setToolTip(f"Open the sample “{sample.title}” with its data")
        button.clicked.connect(lambda: self.sample_chosen.emit(sample))
        return button

    def _recent_row(self, path: str) -> QWidget:
        row = QWidget()
        layout = QHBoxLayout(row)
        layout.setContentsMargins(0, 0, 0, 0)
        button = QPushButton(Path(path).name)
        button.setProperty("role", "link")
        button.setToolTip(f"Open {path}")
        button.clicked.connect(lambda: self.recent_chosen.emit(path))
        layout.addWidget(button)
        layout.addWidget(ElidedLabel(str(Path(path).parent), "detail", Qt.TextElideMode.ElideMiddle), 1)
        return row
