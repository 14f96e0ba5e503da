"""A line above the work that says what happened: it never blocks, and goes when dismissed."""

from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton

from studio.gui.labels import set_tone


class NoticeBar(QFrame):
    """Shows one message at a time; a newer one takes its place."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "notice")
        self.message = QLabel()
        self.message.setWordWrap(True)
        self.message.setAccessibleName("Notice")
        dismiss = QPushButton("Dismiss")
        dismiss.setToolTip("Hide this message (Esc)")
        dismiss.clicked.connect(self.hide)
        self._dismiss = dismiss
        layout = QHBoxLayout(self)
        layout.setContentsMargins(12, 6, 6, 6)
        layout.addWidget(self.message, 1)
        layout.addWidget(dismiss)
        self.hide()

    def show_message(self, text: str, tone: str = "") -> None:
        """Shows `text`; `tone` is ``bad`` for errors."""
        self.message.setText(text)
        set_tone(self.message, tone)
        self.show()
