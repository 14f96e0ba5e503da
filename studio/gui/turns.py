"""Work of the window in small pieces, between which it hears what the user does."""

from collections.abc import Callable

from PySide6.QtCore import QObject, QTimer
from shiboken6 import isValid


class Turns(QObject):
    """Does one piece of work in each turn of the event loop, in the order in which they were first asked for."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._waiting: dict[QObject, Callable[[], None]] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._take_turn)

    @property
    def are_over(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def soon(self, owner: QObject, work: Callable[[], None]) -> None:
        """Has `work` done in a turn of its own, unless its owner is gone by then or asks for something else."""
        self._waiting[owner] = work
        self._timer.start()

    def _take_turn(self) -> None:
        self._waiting = {owner: work for owner, work in self._waiting.items() if isValid(owner)}
        if not self._waiting:
            return
        work = self._waiting.pop(next(iter(self._waiting)))
        if self._waiting:
            self._timer.start()
        work()
