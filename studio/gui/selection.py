"""Which layers are selected: belongs to the window, never to the project."""

from PySide6.QtCore import QObject, Signal


class Selection(QObject):
    """The selected layers, the one in focus first.

    Signals:
        changed: other layers are selected, or another one is in focus.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """All selected layers, the one in focus first."""
        return self._names

    @property
    def current(self) -> str | None:
        """The layer in focus, whose weights are shown."""
        return self._names[0] if self._names else None

    def select(self, names: tuple[str, ...]) -> None:
        """Selects `names`; silent when they are selected already."""
        if names != self._names:
            self._names = names
            self.changed.emit()
