"""The window's style sheet: spacing, borders and emphasis on top of the Fusion style, from one set of colours."""

from collections.abc import Mapping
from pathlib import Path
from string import Template

_SHEET = Template("""
QToolTip { color: $text; background: $raised; border: 1px solid $border; padding: 4px; }
QMainWindow::separator { background: $border; width: 1px; height: 1px; margin: 3px; }
QStatusBar { border-top: 1px solid $border; }
QStatusBar::item { border: none; }
QMenuBar { background: $window; padding: 2px 4px; }
QMenuBar::item { padding: 4px 10px; border-radius: 4px; }
QMenuBar::item:selected { background: $selection; }

QLabel[role="caption"] { color: $muted; font-weight: 600; }
QLabel[role="detail"], QLabel[role="reason"] { color: $muted; }
QLabel:disabled { color: $muted; }
QLabel[role="value"] { font-size: 17px; font-weight: 600; }
QLabel[role="title"] { font-size: 26px; font-weight: 600; }
QLabel[role="heading"] { font-weight: 600; }
QLabel[tone="good"] { color: $good; }
QLabel[tone="warn"] { color: $warn; }
QLabel[tone="bad"] { color: $bad; }
QLabel[tone="stale"] { color: $muted; }
QLabel[tone="predicted"] { color: $accent; font-style: italic; font-weight: 400; }

QFrame[role="card"] { background: $base; border: 1px solid $border; border-radius: 8px; }
QFrame[role="footer"] { border: none; border-top: 1px solid $border; }
QFrame[role="notice"] { background: $selection; border: 1px solid $accent; border-radius: 6px; }
QFrame[role="drop"] { background: $base; border: 2px dashed $border; border-radius: 12px; }
QFrame[role="drop"][active="true"] { border-color: $accent; background: $selection; }

QPushButton, QToolButton[role="button"] {
    background: $raised; border: 1px solid $border; border-radius: 6px; padding: 5px 12px; color: $text;
}
QPushButton:hover, QToolButton[role="button"]:hover { border-color: $accent; }
QPushButton:pressed { background: $selection; }
QPushButton:focus, QToolButton[role="button"]:focus { border: 1px solid $accent; }
QPushButton:disabled, QToolButton[role="button"]:disabled { color: $muted; background: $window; }
QPushButton[role="primary"], QToolButton[role="primary"] {
    background: $accent; border: 1px solid $accent; border-radius: 6px; padding: 5px 12px; color: $on_accent;
    font-weight: 600;
}
QPushButton[role="primary"]:hover, QPushButton[role="primary"]:focus,
QToolButton[role="primary"]:hover, QToolButton[role="primary"]:focus { border-color: $text; }
QPushButton[role="primary"]:disabled, QToolButton[role="primary"]:disabled {
    background: $raised; border-color: $border; color: $muted;
}
QPushButton[role="link"], QToolButton[role="link"] {
    background: transparent; border: none; color: $accent; padding: 2px; text-align: left;
}
QToolButton[role="link"] { padding: 0; }
QToolButton[role="link"]:disabled { color: $muted; }
QPushButton[role="link"]:hover, QPushButton[role="link"]:focus,
QToolButton[role="link"]:hover, QToolButton[role="link"]:focus { text-decoration: underline; }

QToolButton[role="fold"] { background: transparent; border: none; color: $muted; font-weight: 600; padding: 4px 0; }
QToolButton[role="fold"]:hover, QToolButton[role="fold"]:focus { color: $accent; }

QDialogButtonBox { dialogbuttonbox-buttons-have-icons: 0; }

QLineEdit[role="search"] {
    background: $base; border: 1px solid $border; border-radius: 5px; padding: 3px 6px; min-height: 18px;
    selection-background-color: $accent; selection-color: $on_accent;
}
QLineEdit[role="search"]:focus { border-color: $accent; }

QComboBox {
    background: $raised; border: 1px solid $border; border-radius: 6px; padding: 3px 4px 3px 9px; color: $text;
    combobox-popup: 0;
}
QComboBox:hover, QComboBox:focus, QComboBox:on { border-color: $accent; }
QComboBox:disabled { color: $muted; background: $window; }
QComboBox::drop-down { border: none; width: 20px; }
QComboBox::down-arrow { image: url("$arrow"); width: 14px; height: 14px; }
QComboBox::down-arrow:disabled { image: url("$arrow_off"); }
QComboBox QAbstractItemView {
    background: $base; border: 1px solid $border; outline: 0; padding: 2px;
    selection-background-color: $selection; selection-color: $text;
}
QComboBox QAbstractItemView::item { min-height: 22px; }
QComboBox QAbstractItemView::item:disabled { color: $muted; }

QTableView {
    background: $base; border: 1px solid $border; border-radius: 6px; gridline-color: $border;
    selection-background-color: $selection; selection-color: $text; alternate-background-color: $window;
}
QListWidget { background: $base; border: 1px solid $border; border-radius: 6px; }
QTableView:focus, QListWidget:focus { border-color: $accent; }
QHeaderView::section {
    background: $raised; color: $muted; border: none; border-right: 1px solid $border; padding: 5px 4px;
    font-weight: 600;
}
QTableCornerButton::section { background: $raised; border: none; }

QTabWidget::pane { border: none; }
QTabBar::tab { background: transparent; color: $muted; padding: 7px 8px; border-bottom: 2px solid transparent; }
QTabBar::tab:selected { color: $text; border-bottom: 2px solid $accent; font-weight: 600; }
QTabBar::tab:hover { color: $text; }
QTabBar::tab:focus { color: $accent; }

QDockWidget { font-weight: 600; color: $muted; }
QDockWidget::title { background: $window; padding: 6px 8px; border-bottom: 1px solid $border; }

QCheckBox { spacing: 8px; }
QCheckBox::indicator {
    width: 14px; height: 14px; border: 1px solid $muted; border-radius: 4px; background: $base;
}
QCheckBox::indicator:hover, QCheckBox::indicator:focus { border-color: $accent; }
QCheckBox:focus { color: $accent; }
QCheckBox::indicator:checked { background: $accent; border-color: $accent; image: url("$check"); }
QCheckBox::indicator:disabled { background: $window; border-color: $border; }
QCheckBox::indicator:checked:disabled { background: $muted; border-color: $muted; }

QScrollBar { background: transparent; border: none; }
QScrollBar:vertical { width: 10px; }
QScrollBar:horizontal { height: 10px; }
QScrollBar::handle { background: $border; border-radius: 4px; margin: 1px; }
QScrollBar::handle:vertical { min-height: 28px; }
QScrollBar::handle:horizontal { min-width: 28px; }
QScrollBar::handle:hover { background: $muted; }
QScrollBar::add-line, QScrollBar::sub-line { width: 0; height: 0; }
QScrollBar::add-page, QScrollBar::sub-page { background: transparent; }

QProgressBar {
    background: $raised; border: none; border-radius: 4px; min-height: 8px; max-height: 8px; color: transparent;
}
QProgressBar::chunk { background: $accent; border-radius: 4px; }
QProgressBar[role="thin"] { min-height: 3px; max-height: 3px; border-radius: 1px; }
QProgressBar[role="thin"]::chunk { border-radius: 1px; }
QAbstractScrollArea::corner { background: transparent; border: none; }
QScrollArea { border: none; background: transparent; }
QScrollArea > QWidget > QWidget { background: transparent; }
""")


def stylesheet(colours: Mapping[str, str], images: Mapping[str, Path]) -> str:
    """The style sheet in these colours.

    Args:
        colours: by name.
        images: files of the marks: ``check``, and ``arrow`` and ``arrow_off`` of lists that can or cannot be opened.
    """
    return _SHEET.substitute({**colours} | {name: file.as_posix() for name, file in images.items()})
