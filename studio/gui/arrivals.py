"""Files and folders that a person brings: models are opened, data guessed, and what comes together belongs together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData
from PySide6.QtWidgets import QWidget

from studio.evaluation.data_guess import DataGuess, is_description
from studio.gui.data_wizard import DataWizard
from studio.gui.notice import NoticeBar
from studio.session.session import Change, Session

#: Endings of models and weights; everything else is taken for data.
MODELS = (".onnx", ".pt2", ".safetensors", ".safetensors.index.json", ".pt", ".pth", ".th", ".bin")

#: Marks a folder of Hugging Face as a model.
CONFIG = "config.json"

WAITING = "{name} waits for the model that it is for: open one, or drop it here."


class Arrivals:
    """Brings models and data into a session.

    Args:
        window: the parent of dialogs.
        session: that takes them.
        notice: says what was guessed.
    """

    def __init__(self, window: QWidget, session: Session, notice: NoticeBar) -> None:
        self._window = window
        self._session = session
        self._notice = notice
        self._waiting: str | None = None
        self._told: str | None = None
        session.changed.connect(self._follow)

    def take(self, paths: Sequence[str]) -> None:
        """Takes what was dropped: a model with or without its data, or data for the open model."""
        models = [path for path in paths if is_model(path)]
        data = [path for path in paths if not is_model(path)]
        if models:
            self._session.open_model(models[0], test=data[0] if data else self._waiting)
            self._waiting = None
        elif data:
            self.take_data(data[0], "test")

    def take_data(self, path: str, role: str) -> None:
        """Takes data for the open model: described ones as they are, others after a look at what is guessed."""
        project = self._session.project
        if project is None:
            self._waiting = path
            self._notice.show_message(WAITING.format(name=Path(path).name))
        elif not is_description(path):
            self._notice.show_message(f"Looking at {Path(path).name} …")
            self._ask(path, lambda guess: self._open(guess, role))
        elif role == "train":
            self._session.set_data(train=path)
        else:
            self._session.set_data(test=path)

    def _ask(self, path: str, then: Callable[[DataGuess], None]) -> None:
        project = self._session.project
        if project is not None:
            self._session.drafts.guess(project, path, then, self._refuse)

    def _open(self, guess: DataGuess, role: str) -> None:
        project = self._session.project
        self._notice.hide()
        if project is not None:
            DataWizard(self._session, project, guess, role, self._window).open()

    def _refuse(self, error: BaseException) -> None:
        self._notice.show_message(str(error), "bad")

    def _follow(self, change: Change) -> None:
        """Once a model is open, takes the data that waited for it; tells what was guessed of data that came with it."""
        project = self._session.project
        if project is None:
            return
        if "model" in change.kinds and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            self._session.set_data(test=waiting)
        test = project.test.path if project.test is not None else None
        if test != self._told and test is not None and not is_description(test):
            self._ask(test, self._offer)
        self._told = test

    def _offer(self, guess: DataGuess) -> None:
        self._notice.offer(guess.brief, "Change …", lambda: self._open(guess, "test"))


def is_model(path: str) -> bool:
    """Whether a path is a model's or weights' by its name."""
    return path.lower().endswith(MODELS) or (Path(path) / CONFIG).is_file()


def dropped_paths(data: QMimeData) -> list[str]:
    """The local files and folders of a drag."""
    return [url.toLocalFile().rstrip("/") for url in data.urls() if url.isLocalFile()]
