"""The command palette: type a few letters of any command and press Enter."""

from collections.abc import Iterable

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QAction, QKeyEvent
from PySide6.QtWidgets import QDialog, QLineEdit, QListWidget, QListWidgetItem, QVBoxLayout, QWidget

_ACTION = Qt.ItemDataRole.UserRole


class CommandPalette(QDialog):
    """Lists commands whose text holds every typed word; unavailable ones say why and cannot be chosen.

    Args:
        actions: the commands, in the order they are listed.
        parent: the window above which the palette opens.
    """

    def __init__(self, actions: Iterable[QAction], parent: QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Commands")
        self.setMinimumSize(460, 360)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Type a command")
        self.search.setAccessibleName("Type a command")
        self.search.setProperty("role", "search")
        self.found = QListWidget()
        self.found.setAccessibleName("Commands")
        layout = QVBoxLayout(self)
        layout.addWidget(self.search)
        layout.addWidget(self.found, 1)
        for action in actions:
            self.found.addItem(_item(action))
        self.search.textChanged.connect(self._filter)
        self.search.returnPressed.connect(self._run)
        self.found.itemActivated.connect(self._run)
        self.search.installEventFilter(self)
        self._filter("")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Lets the arrow keys move through the list while the text box keeps the focus."""
        if isinstance(event, QKeyEvent) and event.type() is QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1}.get(Qt.Key(event.key()))
            if step is not None:
                self._move(step)
                return True
        return super().eventFilter(watched, event)

    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        for item in self._items():
            item.setHidden(not all(word in item.text().casefold() for word in words))
        self.found.setCurrentRow(-1)
        self._move(1)

    def _move(self, step: int) -> None:
        """Goes to the next command that is shown and can be used."""
        rows = [row for row, item in enumerate(self._items()) if _can_be_chosen(item)]
        if rows:
            now = self.found.currentRow()
            ahead = [row for row in rows if (row - now) * step > 0]
            self.found.setCurrentRow((ahead[0] if step > 0 else ahead[-1]) if ahead else rows[0 if step > 0 else -1])

    def _run(self) -> None:
        item = self.found.currentItem()
        if item is not None and _can_be_chosen(item):
            self.accept()
            item.data(_ACTION).trigger()

    def _items(self) -> list[QListWidgetItem]:
        return [self.found.item(row) for row in range(self.found.count())]


def _item(action: QAction) -> QListWidgetItem:
    keys = action.shortcut().toString()
    text = action.text().replace("&", "")
    item = QListWidgetItem(f"{text}   {keys}" if keys else text)
    item.setData(_ACTION, action)
    item.setToolTip(action.toolTip())
    if not action.isEnabled():
        item.setText(f"{text}   ({action.statusTip().rstrip('.')})")
        item.setFlags(Qt.ItemFlag.NoItemFlags)
    return item


def _can_be_chosen(item: QListWidgetItem) -> bool:
    return not item.isHidden() and bool(item.flags() & Qt.ItemFlag.ItemIsEnabled)
