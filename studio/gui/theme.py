"""Colours of the window, light and dark, set explicitly so that both are readable on every desktop.

Contrast of text on its ground is at least 4.5:1 (WCAG 2.2 AA) in both schemes; a test computes it.
"""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from studio.gui.stylesheet import stylesheet
from studio.gui.turns import Turns
from studio.resources import resource


class Scheme(StrEnum):
    """What the user can choose."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


_QT_SCHEMES = {
    Scheme.SYSTEM: Qt.ColorScheme.Unknown,
    Scheme.LIGHT: Qt.ColorScheme.Light,
    Scheme.DARK: Qt.ColorScheme.Dark,
}


@dataclass(frozen=True)
class Colours:
    """Named colours as ``#rrggbb``.

    Attributes:
        window, base, raised: grounds: behind panels, of tables and fields, of buttons and headers.
        text, muted: main and secondary text.
        border: lines between things.
        accent, on_accent: what is active, chosen or primary, and the text on it.
        selection: ground of selected rows.
        original, compressed, energy: the curves of the plots.
        good, warn, bad: verdicts.
    """

    window: str
    base: str
    raised: str
    text: str
    muted: str
    border: str
    accent: str
    on_accent: str
    selection: str
    original: str
    compressed: str
    energy: str
    good: str
    warn: str
    bad: str

    def as_dict(self) -> dict[str, str]:
        """All colours by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


LIGHT = Colours(
    window="#f4f6f8", base="#ffffff", raised="#eaeef2", text="#1b2330", muted="#566273", border="#d3dae2",
    accent="#1d5fd6", on_accent="#ffffff", selection="#d9e6fc", original="#7d8a9a", compressed="#1d5fd6",
    energy="#a6540b", good="#12703a", warn="#8f4a06", bad="#b3201c",
)  # fmt: skip

DARK = Colours(
    window="#16191e", base="#1d2127", raised="#282e36", text="#e7eaee", muted="#a3adba", border="#38404a",
    accent="#7db0ff", on_accent="#0b1526", selection="#27405f", original="#8f9bab", compressed="#7db0ff",
    energy="#f2b566", good="#67d391", warn="#f2b566", bad="#ff8f87",
)  # fmt: skip


class Theme(QObject):
    """The one place that decides the colours; plots and delegates read `colours` and redraw on `changed`.

    Signals:
        changed: the colours are others than before.

    Attributes:
        turns: in which the plots draw, one after another.
    """

    changed = Signal()

    def __init__(self, application: QApplication, scheme: Scheme = Scheme.SYSTEM) -> None:
        super().__init__()
        self._application = application
        self.turns = Turns(self)
        self._scheme = scheme
        self.colours = LIGHT
        application.setStyle("Fusion")
        application.styleHints().colorSchemeChanged.connect(self._follow_system)
        self._apply()

    @property
    def scheme(self) -> Scheme:
        """What was chosen last."""
        return self._scheme

    @property
    def is_dark(self) -> bool:
        """Whether the dark colours are in force."""
        return self.colours is DARK

    def choose(self, scheme: Scheme) -> None:
        """Follows the system, or stays light or dark."""
        self._scheme = scheme
        self._apply()

    def _follow_system(self) -> None:
        if self._scheme is Scheme.SYSTEM:
            self._apply()

    def _apply(self) -> None:
        hints = self._application.styleHints()
        hints.setColorScheme(_QT_SCHEMES[self._scheme])  # embedded web pages and native dialogs follow it
        system_is_dark = hints.colorScheme() is Qt.ColorScheme.Dark
        dark = self._scheme is Scheme.DARK or (self._scheme is Scheme.SYSTEM and system_is_dark)
        self.colours = DARK if dark else LIGHT
        self._application.setPalette(_palette(self.colours))
        self._application.setStyleSheet(stylesheet(self.colours.as_dict(), _images(dark)))
        self.changed.emit()


def _images(dark: bool) -> dict[str, Path]:
    """The marks that the style sheet draws."""
    scheme = "dark" if dark else "light"
    files = {"check": "check", "arrow": "arrow", "arrow_off": "arrow-off"}
    return {name: resource(f"themes/{file}-{scheme}.svg") for name, file in files.items()}


def _palette(colours: Colours) -> QPalette:
    """The colours in Qt's roles."""
    role = QPalette.ColorRole
    roles = {
        role.Window: colours.window,
        role.WindowText: colours.text,
        role.Base: colours.base,
        role.AlternateBase: colours.window,
        role.Text: colours.text,
        role.PlaceholderText: colours.muted,
        role.Button: colours.raised,
        role.ButtonText: colours.text,
        role.BrightText: colours.bad,
        role.ToolTipBase: colours.raised,
        role.ToolTipText: colours.text,
        role.Highlight: colours.selection,
        role.HighlightedText: colours.text,
        role.Link: colours.accent,
        role.Light: colours.border,
        role.Midlight: colours.border,
        role.Mid: colours.border,
        role.Dark: colours.border,
        role.Accent: colours.accent,
    }
    palette = QPalette()
    for name, colour in roles.items():
        palette.setColor(name, QColor(colour))
    for name in (role.WindowText, role.Text, role.ButtonText):
        palette.setColor(QPalette.ColorGroup.Disabled, name, QColor(colours.muted))
    return palette
