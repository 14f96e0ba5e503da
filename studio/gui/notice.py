"""A line above the work that says what happened: it never blocks, and goes when dismissed."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton

from studio.gui.labels import set_tone


class NoticeBar(QFrame):
    """Shows one message at a time; a newer one takes its place.

    Attributes:
        message: the text.
        action: a button for what can be done about it; hidden when there is nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "notice")
        self._run: Callable[[], object] | None = None
        self.message = QLabel()
        self.message.setTextFormat(Qt.TextFormat.PlainText)  # names in it may look like markup
        self.message.setWordWrap(True)
        self.message.setAccessibleName("Notice")
        self.action = QPushButton()
        self.action.setAccessibleName("What can be done about it")
        self.action.clicked.connect(self._act)
        dismiss = QPushButton("Dismiss")
        dismiss.setToolTip("Hide this message")
        dismiss.clicked.connect(self.hide)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 6, 6)
        layout.addWidget(self.message, 1)
        layout.addWidget(self.action)
        layout.addWidget(dismiss)
        self.hide()

    def show_message(self, text: str, tone: str = "") -> None:
        """Shows `text`; `tone` is ``bad`` for errors."""
        self._show(text, tone, "", None)

    def offer(self, text: str, action: str, run: Callable[[], object]) -> None:
        """Shows `text` with a button that does something about it."""
        self._show(text, "", action, run)

    def _show(self, text: str, tone: str, action: str, run: Callable[[], object] | None) -> None:
        self._run = run
        self.message.setText(text)
        self.action.setText(action)
        self.action.setVisible(run is not None)
        set_tone(self.message, tone)
        self.show()

    def _act(self) -> None:
        self.hide()
        if self._run is not None:
            self._run()
