"""Labels that never clip: what does not fit is elided and stands in full in the tooltip."""

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QLabel, QSizePolicy, QVBoxLayout, QWidget


def label(text: str, role: str | None = None, *, wrap: bool = False) -> QLabel:
    """A label with one of the style sheet's roles."""
    made = QLabel(text)
    made.setWordWrap(wrap)
    if role is not None:
        made.setProperty("role", role)
    return made


def placeholder(text: str, over: QWidget) -> QLabel:
    """A quiet line in the middle of a widget that has nothing to show yet; it lets clicks through."""
    made = label(text, "detail", wrap=True)
    made.setAlignment(Qt.AlignmentFlag.AlignCenter)
    made.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
    layout = QVBoxLayout(over)
    layout.addWidget(made)
    return made


def set_tone(widget: QWidget, tone: str) -> None:
    """Colours a label by a verdict (``good``, ``warn``, ``bad`` or nothing)."""
    if widget.property("tone") != tone:
        widget.setProperty("tone", tone)
        widget.style().unpolish(widget)
        widget.style().polish(widget)


class ElidedLabel(QLabel):
    """One line of text that gives way: where there is no room it ends in …, or a shorter one takes its place.

    The tooltip shows it whole.
    """

    def __init__(self, text: str = "", role: str | None = None, mode: Qt.TextElideMode = Qt.TextElideMode.ElideRight):
        super().__init__(text)
        self._mode = mode
        self._short = ""
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        if role is not None:
            self.setProperty("role", role)

    def setText(self, text: str, short: str = "") -> None:
        """Shows `text`, or `short` where it does not fit.

        The same again costs nothing, for it is said at every move of a slider.
        """
        if (text, short) != (self.text(), self._short):
            self._short = short
            super().setText(text)
            self._update_tooltip()

    def minimumSizeHint(self) -> QSize:
        """Wide enough for a word; the height of the whole line."""
        return QSize(min(48, super().sizeHint().width()), super().minimumSizeHint().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Notes whether the text still fits."""
        super().resizeEvent(event)
        self._update_tooltip()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draws the text, elided to the width there is."""
        painter = QPainter(self)
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(self.rect(), int(self.alignment()), self._elided())
        painter.end()

    def _elided(self) -> str:
        fits = self.fontMetrics().horizontalAdvance(self.text()) <= self.width()
        return self.fontMetrics().elidedText(
            self.text() if fits or not self._short else self._short, self._mode, self.width()
        )

    def _update_tooltip(self) -> None:
        self.setToolTip(self.text() if self._elided() != self.text() else "")
