"""The question whether code in a file may run; nothing runs unless it is answered with yes."""

from collections.abc import Callable
from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QVBoxLayout, QWidget

from studio.gui.labels import ElidedLabel, label, set_tone

_RISK = (
    "It is a TorchScript program. Opening it runs code that it holds, with all your rights on this computer: it could "
    "read, change or send your files. Go on only if you trust where it comes from."
)
_ONCE = (
    "It runs once, in a process of its own, and what it became is plain data from then on. The consent holds for "
    "exactly this content; File › Forget trusted programs takes it back."
)


class TrustDialog(QDialog):
    """Asks for consent; opened without blocking.

    Args:
        path: the file.
        consented: called when the user says yes.
        parent: the window.
    """

    def __init__(self, path: str, consented: Callable[[], object], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Trust this file?")
        self.setFixedWidth(460)
        name = Path(path).name
        named = ElidedLabel(name, mode=Qt.TextElideMode.ElideMiddle)
        risk = label(_RISK, wrap=True)
        set_tone(risk, "bad")
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.trust = self.buttons.addButton("Trust and open", QDialogButtonBox.ButtonRole.AcceptRole)
        self.buttons.button(QDialogButtonBox.StandardButton.Cancel).setDefault(True)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        self.accepted.connect(consented)
        self.finished.connect(self.deleteLater)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 16)
        layout.setSpacing(12)
        for widget in (label("Trust this file?", "title"), named, risk, label(_ONCE, "detail", wrap=True)):
            layout.addWidget(widget)
        layout.addWidget(self.buttons)
