"""The command palette finds, explains and runs commands from the keyboard."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from studio.gui.palette import CommandPalette


@pytest.fixture
def parent(qtbot: QtBot) -> QWidget:
    made = QWidget()
    qtbot.addWidget(made)
    return made


@pytest.fixture
def palette(parent: QWidget) -> CommandPalette:
    commands = []
    for text, keys in (("&Open a model", "Ctrl+O"), ("&Undo", "Ctrl+Z"), ("Open &recipe", "")):
        action = QAction(text, parent)
        action.setShortcut(QKeySequence(keys))
        commands.append(action)
    commands[1].setEnabled(False)
    commands[1].setStatusTip("There is nothing to undo.")
    made = CommandPalette(commands, parent)
    made.show()
    return made


def shown(palette: CommandPalette) -> list[str]:
    items = [palette.found.item(row) for row in range(palette.found.count())]
    return [item.text() for item in items if not item.isHidden()]


def test_every_word_narrows_the_list(palette: CommandPalette):
    assert len(shown(palette)) == 3
    palette.search.setText("open")
    assert shown(palette) == ["Open a model   Ctrl+O", "Open recipe"]
    palette.search.setText("REC open")
    assert shown(palette) == ["Open recipe"]


def test_enter_runs_the_chosen_command(palette: CommandPalette, qtbot: QtBot):
    palette.search.setText("open")
    qtbot.keyClick(palette.search, Qt.Key.Key_Down)
    action = palette.found.currentItem().data(Qt.ItemDataRole.UserRole)
    assert action.text() == "Open &recipe"
    with qtbot.waitSignal(action.triggered):
        qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    assert not palette.isVisible()


def test_an_unavailable_command_says_why_and_cannot_be_run(palette: CommandPalette, qtbot: QtBot):
    palette.search.setText("undo")
    assert shown(palette) == ["Undo   (There is nothing to undo)"]
    qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    assert palette.isVisible()


def test_the_arrows_wrap_around_and_skip_what_cannot_be_chosen(palette: CommandPalette, qtbot: QtBot):
    rows = []
    for _ in range(3):
        rows.append(palette.found.currentRow())
        qtbot.keyClick(palette.search, Qt.Key.Key_Down)
    assert rows == [0, 2, 0]
