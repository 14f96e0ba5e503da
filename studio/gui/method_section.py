"""One method in the settings panel: a switch, its form, what it saves, and why it is not available."""

from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QFrame, QHBoxLayout, QVBoxLayout

from studio.gui.labels import label
from studio.gui.methods import MethodForm
from studio.gui.remarks import Remarks


class MethodSection(QFrame):
    """Frames a `MethodForm`.

    Signals:
        switched: the user switched the method on or off.
    """

    switched = Signal(bool)

    def __init__(self, title: str, help_text: str, form: MethodForm) -> None:
        super().__init__()
        self.form = form
        self.setProperty("role", "card")
        self.switch = QCheckBox(title)
        self.switch.setAccessibleName(f"{title}, on or off")
        self.switch.setToolTip(help_text)
        self.saving = label("", "detail")
        self.saving.setAccessibleName(f"What {title} saves")
        self.reason = label("", "reason", wrap=True)
        self.notes = Remarks(f"Remarks on {title}")
        self.switch.toggled.connect(self.switched)
        header = QHBoxLayout()
        header.addWidget(self.switch, 1)
        header.addWidget(self.saving)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12, 10, 12, 10)
        layout.setSpacing(8)
        layout.addLayout(header)
        for widget in (self.reason, self.form, self.notes):
            layout.addWidget(widget)
        self.show_state(False, "", "", [])

    def show_state(self, on: bool, reason: str, saving: str, notes: Sequence[str]) -> None:
        """Shows whether the method is on, or why it cannot be (`reason`), what it saves, and remarks."""
        with QSignalBlocker(self.switch):
            self.switch.setChecked(on)
        self.switch.setEnabled(not reason)
        for widget, text in ((self.reason, reason), (self.saving, saving)):
            widget.setText(text)
            widget.setVisible(bool(text))
        self.notes.show_remarks(notes)
        self.form.setVisible(on and not reason)
