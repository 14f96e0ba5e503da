"""Who learns: the compressed model, a smaller copy of the original, or the model of another file."""

from pathlib import Path

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from studio.distillation.copy_settings import CopySettings
from studio.gui.editors import FieldEditor, add_row, keep_wheel_for_scrolling, make_editor
from studio.gui.fields import field_specs
from studio.gui.file_dialogs import MODELS, ask_open
from studio.gui.labels import ElidedLabel, label
from studio.gui.remarks import Remarks
from studio.gui.text import bytes_text, count_text, percent_text, short_count
from studio.session.session import Session

COMPRESSED, COPY, FILE = range(3)

_STUDENTS = ("The compressed model", "A smaller copy of the original", "Another model file")

#: Milliseconds that the hand rests before a copy's size is asked for.
_REST_MS = 250


class StudentSection(QWidget):
    """Chooses the student.

    Signals:
        changed: another student, or more is known of it.

    Attributes:
        box: the kinds of students.
        editors: of a copy, by field of `CopySettings`; its seed is that of the run.
        sized: how large the copy would be.
        remarks: what cannot be made smaller.
        choose: asks for a file.
        path: of the chosen file, empty before that.
    """

    changed = Signal()

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.path = ""
        self.box = QComboBox()
        self.box.addItems(_STUDENTS)
        self.box.setAccessibleName("Student")
        keep_wheel_for_scrolling(self.box)
        specs = {name: spec for name, spec in field_specs(CopySettings).items() if name != "seed"}
        self.editors: dict[str, FieldEditor] = {name: make_editor(spec) for name, spec in specs.items()}
        self.sized = label("", wrap=True)
        self.sized.setAccessibleName("Size of the copy")
        self.remarks = Remarks("What cannot be made smaller")
        self.choose = QPushButton("Choose …")
        self.choose.setToolTip("Choose the model that learns from the original")
        self._chosen = ElidedLabel("No file chosen", role="detail")
        self._copy, self._file = self._make_copy(), self._make_file()
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self._rest.timeout.connect(self._look)
        self._lay_out()
        self.box.currentIndexChanged.connect(self._turn)
        self.choose.clicked.connect(lambda: ask_open(self, "Student", MODELS, self.take_file))
        session.students.changed.connect(self._show)
        self._turn()

    @property
    def kind(self) -> int:
        """`COMPRESSED`, `COPY` or `FILE`."""
        return self.box.currentIndex()

    def copy_settings(self, seed: int = 0) -> CopySettings:
        """How a copy is to be made."""
        return CopySettings(**{name: editor.value() for name, editor in self.editors.items()}, seed=seed)

    def take_file(self, path: str) -> None:
        """Takes the model of a file as the student."""
        self.path = path
        self._chosen.setText(Path(path).name)
        self.changed.emit()

    def why_not(self) -> str:
        """The reason why a student of its own cannot be taught yet; empty where it can."""
        if self.kind == FILE:
            return "" if self.path else "Choose the student's file first."
        students = self._session.students
        if students.making:
            return "The copy is being made."
        if students.error:
            return students.error
        return "" if students.size is not None else "The size of the copy is not known yet."

    def renew(self) -> None:
        """Another model is open: a copy of it has another size."""
        self._turn()

    def _make_copy(self) -> QWidget:
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        usual = CopySettings()
        for row, (name, editor) in enumerate(self.editors.items()):
            editor.set_value(getattr(usual, name))
            add_row(grid, row, editor)
            editor.edited.connect(lambda _value: self._rest.start())
        for widget in (self.sized, self.remarks):
            grid.addWidget(widget, grid.rowCount(), 0, 1, grid.columnCount())
        return page

    def _make_file(self) -> QWidget:
        page = QWidget()
        row = QHBoxLayout(page)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.choose)
        row.addWidget(self._chosen, 1)
        return page

    def _lay_out(self) -> None:
        top = QHBoxLayout()
        top.addWidget(label("Student"))
        top.addWidget(self.box, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 6)
        layout.addLayout(top)
        layout.addWidget(self._copy)
        layout.addWidget(self._file)

    def _turn(self) -> None:
        self._copy.setVisible(self.kind == COPY)
        self._file.setVisible(self.kind == FILE)
        if self.kind == COPY:
            self._look()
        self.changed.emit()

    def _look(self) -> None:
        project = self._session.project
        if project is not None and "train" not in project.info.lacks:
            self._session.students.look(project, self.copy_settings())

    def _show(self) -> None:
        project, students = self._session.project, self._session.students
        size, total = students.size, students.bytes(project) if project is not None else None
        if project is None or size is None or total is None:
            self.sized.setText(students.error or "Measuring the copy …")
            self.remarks.show_remarks([])
        else:
            info = project.info
            share = size.parameters / max(1, info.parameters)
            parts = [f"{count_text(size.parameters)} parameters ({percent_text(share)} of the original)"]
            parts.append(f"about {bytes_text(total)}")
            parts.append(f"{short_count(size.macs)} MACs ({percent_text(size.macs / max(1, info.macs))})")
            self.sized.setText("  ·  ".join(parts))
            self.remarks.show_remarks(size.notes)
        self.changed.emit()
