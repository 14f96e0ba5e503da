"""Remarks in little room: the first one in sight, the rest on demand."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSizePolicy, QToolButton, QVBoxLayout, QWidget

from studio.gui.labels import label, set_tone

#: Characters of a folded remark: about two lines of the settings panel.
_SHORT = 84


class Remarks(QWidget):
    """A few sentences that explain a number.

    Attributes:
        shown: the label with what is in sight.
        fold: shows or hides the rest; hidden where there is none.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self._remarks: tuple[str, ...] = ()
        self.shown = label("", "detail", wrap=True)
        self.shown.setAccessibleName(name)
        set_tone(self.shown, "warn")
        self.fold = QToolButton()
        self.fold.setProperty("role", "fold")
        self.fold.setCheckable(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.fold.toggled.connect(self._update)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(self.shown)
        layout.addWidget(self.fold)
        self._update()

    def show_remarks(self, remarks: Sequence[str]) -> None:
        """Shows these remarks, each once, in place of the last ones."""
        self._remarks = tuple(dict.fromkeys(remark[:1].upper() + remark[1:] for remark in remarks if remark))
        self._update()

    def text(self) -> str:
        """All remarks, whether in sight or not."""
        return "\n".join(self._remarks)

    def _update(self) -> None:
        short = _shortened(self._remarks[0]) if self._remarks else ""
        whole = "\n".join(f"• {remark}" for remark in self._remarks) if len(self._remarks) > 1 else self.text()
        unfolded = self.fold.isChecked()
        self.shown.setText(whole if unfolded else short)
        self.shown.setToolTip("" if unfolded or short == whole else whole)
        others = len(self._remarks) - 1
        more = f"{others} more {'remark' if others == 1 else 'remarks'}" if others > 0 else "More"
        self.fold.setText("Less" if unfolded else more)
        self.fold.setAccessibleName(f"{self.shown.accessibleName()}: {self.fold.text()}")
        self.fold.setArrowType(Qt.ArrowType.DownArrow if unfolded else Qt.ArrowType.RightArrow)
        self.fold.setVisible(short != whole)
        self.setVisible(bool(self._remarks))


def _shortened(remark: str) -> str:
    """The beginning of a remark, cut between two words."""
    if len(remark) <= _SHORT:
        return remark
    return remark[:_SHORT].rsplit(" ", 1)[0].rstrip(",;:") + " …"
