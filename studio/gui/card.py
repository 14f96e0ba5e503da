"""A card of the summary: a caption, a large value, a line of detail, and a bar while something is going on."""

from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout, QWidget

from studio.gui.labels import ElidedLabel
from studio.gui.progress_bar import ProgressBar
from studio.progress import Progress


class Card(QFrame):
    """A caption, a large value, a line of detail, and a bar while something is going on."""

    def __init__(self, caption: str, width: int) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.caption = ElidedLabel(caption, "caption")
        self.value = ElidedLabel(role="value")
        self.value.setAccessibleName(caption)
        self.detail = ElidedLabel(role="detail")
        self.progress = ProgressBar(f"Progress of {caption}", thin=True)
        keep_room = self.progress.sizePolicy()
        keep_room.setRetainSizeWhenHidden(True)
        self.progress.setSizePolicy(keep_room)
        self.progress.hide()
        self.setMinimumWidth(width)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 6, 12, 4)
        layout.setSpacing(2)
        self._top = QHBoxLayout()
        self._top.addWidget(self.caption, 1)
        layout.addLayout(self._top)
        for widget in (self.value, self.detail, self.progress):
            layout.addWidget(widget)

    def beside_caption(self, widget: QWidget) -> None:
        """Places a small widget at the right of the caption, which stays whole."""
        self.caption.setMinimumWidth(self.caption.sizeHint().width())
        self._top.addWidget(widget)

    def show_progress(self, going_on: bool, progress: Progress | None) -> None:
        """Shows how far the work is, a bar without an end where nobody knows."""
        self.progress.setVisible(going_on)
        self.progress.show_progress(progress)
