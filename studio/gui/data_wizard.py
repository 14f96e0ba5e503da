"""Data without a description: what the studio guesses, what the model then sees, and how well it does."""

from pathlib import Path

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from studio.errors import StudioError
from studio.evaluation.data_guess import DataGuess, DataView
from studio.evaluation.description import DataDescription, checked_description
from studio.gui.data_form import DataForm
from studio.gui.data_sight import DataSight
from studio.gui.labels import label, set_tone
from studio.gui.text import MINUS, count_text, measurement_text, metric_name
from studio.session.project import Project
from studio.session.session import Session

#: Milliseconds that a hand rests before the engine is asked what has become of the data.
REST = 300

MEASURING = "measuring …"

TITLES = {"test": "Test data", "train": "Training data"}
OTHER = {"test": "train", "train": "test"}


class DataWizard(QDialog):
    """Shows one guess and lets it be changed; opened without blocking.

    Args:
        session: whose model the data are for.
        project: that is open.
        guess: where to begin.
        role: ``test`` or ``train``.
        parent: the window.

    Attributes:
        form: the fields.
        sight: what the model sees.
        accept_button: saves the description and uses the data.
        other_button: does so for the other role.
    """

    def __init__(self, session: Session, project: Project, guess: DataGuess, role: str, parent: QWidget) -> None:
        super().__init__(parent)
        self._session, self._project, self._guess, self._role = session, project, guess, role
        self._described: DataDescription | None = guess.described
        self.setWindowTitle(f"{TITLES[role]}: {Path(guess.described.source).name}")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(980, 620)
        shape = project.info.inputs[0].shape if project.info.inputs else ()
        self.form = DataForm(free_size=len(shape) == 4 and None in shape[1:])
        self.form.show_description(guess.described)
        self.sight = DataSight()
        self.reasons = label(" ".join(guess.reasons), "detail", wrap=True)
        self.summary = label("", "heading", wrap=True)
        self.range = label("", "detail", wrap=True)
        self.accept_button = QPushButton(f"Use as {TITLES[role].lower()}")
        self.other_button = QPushButton(f"Use as {TITLES[OTHER[role]].lower()}")
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST)
        self._rest.timeout.connect(self._look)
        self._lay_out()
        self.form.edited.connect(self._edited)
        self._look()

    def _lay_out(self) -> None:
        self.accept_button.setProperty("role", "primary")
        self.accept_button.setDefault(True)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        buttons.addButton(self.accept_button, QDialogButtonBox.ButtonRole.AcceptRole)
        buttons.addButton(self.other_button, QDialogButtonBox.ButtonRole.ActionRole)
        buttons.accepted.connect(lambda: self._take(self._role))
        self.other_button.clicked.connect(lambda: self._take(OTHER[self._role]))
        buttons.rejected.connect(self.reject)
        seen = QVBoxLayout()
        seen.addWidget(label("What the model sees", "caption"))
        seen.addWidget(self.sight, 1)
        seen.addWidget(self.range)
        guessed = QVBoxLayout()
        guessed.addWidget(label("How the data become its input", "caption"))
        guessed.addWidget(self.form, 1)
        columns = QHBoxLayout()
        columns.setSpacing(16)
        columns.addLayout(guessed, 2)
        columns.addLayout(seen, 3)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(20, 16, 20, 14)
        layout.setSpacing(10)
        layout.addWidget(self.summary)
        layout.addWidget(self.reasons)
        layout.addLayout(columns, 1)
        layout.addWidget(buttons)

    def done(self, result: int) -> None:
        """Closes, whatever is under way."""
        self._rest.stop()
        self._session.drafts.cancel()
        super().done(result)

    def _edited(self) -> None:
        """Takes a change that can be used, and says at once what is wrong with one that cannot."""
        try:
            described = checked_description(Path(self._guess.place), self.form.values())
        except StudioError as error:
            self._refuse(error)
            return
        before, self._described = self._described, described
        if before is not None and before.kind != described.kind:
            self.form.show_description(described)
        self._rest.start()

    def _look(self) -> None:
        if self._described is not None:
            self._say(MEASURING)
            self._session.drafts.look(self._project, self._guess.place, self._described, self._show, self._refuse)

    def _show(self, view: DataView) -> None:
        self.sight.show_view(view)
        limits = f"Its input lies between {view.low:.3g} and {view.high:.3g}, {view.mean:.3g} in the mean."
        self.range.setText(limits.replace("-", MINUS))
        samples = f"{count_text(view.samples)} samples, {'labelled' if view.labelled else 'without labels'}"
        measured = MEASURING
        if view.baseline is not None:
            measured = f"{measurement_text(view.baseline)} ({count_text(view.baseline.samples)} samples)"
        self._say(f"{samples}  ·  {metric_name(view.metric)}: {measured}")
        self._allow(True, "Save the description and use the data")

    def _refuse(self, error: BaseException) -> None:
        """Says what is wrong with the description as it stands, and lets nobody use it."""
        message = str(error).removeprefix(f"{self._guess.place}: ")
        self._session.drafts.cancel()
        self._rest.stop()
        self._described = None
        self._say(message, "bad")
        self._allow(False, message)

    def _allow(self, usable: bool, why: str) -> None:
        for button in (self.accept_button, self.other_button):
            button.setEnabled(usable)
            button.setToolTip(why)

    def _say(self, text: str, tone: str = "") -> None:
        self.summary.setText(text)
        set_tone(self.summary, tone)

    def _take(self, role: str) -> None:
        if self._described is None:
            return
        try:
            path = self._session.drafts.save(self._guess.place, self._described)
        except StudioError as error:
            self._say(str(error), "bad")
            return
        if role == "train":
            self._session.set_data(train=path)
        else:
            self._session.set_data(test=path)
        self.accept()
