"""Every command of the window in one table: its menu, shortcut, what it does, and why it may be unavailable."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QMainWindow


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: key in the table.
        menu: the menu it stands in.
        text: its text there, with an ``&`` before the access key.
        shortcut: portable key sequence.
        help: one sentence for the tooltip and the status bar.
        run: what it does.
        unavailable: the reason why it cannot be used now; empty when it can.
        separated: whether a line is drawn above it.
    """

    name: str
    menu: str
    text: str
    shortcut: str
    help: str
    run: Callable[[], object]
    unavailable: Callable[[], str] = lambda: ""
    separated: bool = False


class Actions:
    """The commands as `QAction` objects in menus.

    Attributes:
        by_name: every action by its command's name.
    """

    def __init__(self, window: QMainWindow, commands: Sequence[Command]) -> None:
        self._commands = {command.name: command for command in commands}
        self._shortcuts = {command.name: _shown(command) for command in commands}
        self._reasons: dict[str, str] = {}
        self.by_name = {command.name: _action(window, command) for command in commands}
        menus = {title: window.menuBar().addMenu(f"&{title}") for title in dict.fromkeys(c.menu for c in commands)}
        for menu in menus.values():
            menu.setToolTipsVisible(True)
        for command in commands:
            if command.separated:
                menus[command.menu].addSeparator()
            menus[command.menu].addAction(self.by_name[command.name])
        self.menus = menus

    def refresh(self) -> None:
        """Asks every command whether it can be used, and says why in its tooltip where it cannot."""
        for name, command in self._commands.items():
            reason = command.unavailable()
            if reason != self._reasons.get(name):  # asked at every move of a slider
                self._reasons[name] = reason
                self._show(name, reason)

    def _show(self, name: str, reason: str) -> None:
        command, action, shortcut = self._commands[name], self.by_name[name], self._shortcuts[name]
        text = reason or command.help
        action.setEnabled(not reason)
        action.setToolTip(f"{text} ({shortcut})" if shortcut else text)
        action.setStatusTip(text)


def _action(window: QMainWindow, command: Command) -> QAction:
    action = QAction(command.text, window)
    action.setObjectName(command.name)
    action.setShortcut(QKeySequence(command.shortcut))
    action.triggered.connect(command.run)
    window.addAction(action)
    return action


def _shown(command: Command) -> str:
    return QKeySequence(command.shortcut).toString(QKeySequence.SequenceFormat.NativeText)
