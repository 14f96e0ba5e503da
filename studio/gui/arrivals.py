"""Files and folders that a person brings: models are opened, data guessed, and what comes together belongs together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from PySide6.QtCore import QMimeData
from PySide6.QtWidgets import QWidget

from studio.evaluation.data_guess import DataGuess, is_description, role_of
from studio.gui.data_wizard import DataWizard
from studio.gui.notice import NoticeBar
from studio.session.session import Change, Session

#: Endings of models and weights; everything else is taken for data.
MODELS = (".onnx", ".pt2", ".safetensors", ".safetensors.index.json", ".pt", ".pth", ".th", ".bin")

#: Endings of data, beside folders.
DATA = (".yaml", ".npz", ".npy", ".safetensors", ".csv", ".tsv", ".parquet", ".txt")

#: Of those the networks, which take the weights of another file by name.
NETWORKS = (".onnx", ".pt2")

#: Holds weights or data, which its name does not tell.
EITHER = ".safetensors"

#: Marks a folder of Hugging Face as a model.
CONFIG = "config.json"

WAITING = "{name} waits for the model that it is for: open one, or drop it here."

NEITHER = f"{{name}} is neither a model ({', '.join(MODELS)}) nor data ({', '.join(DATA)}, a folder of images)."

#: What is said of described data that were dropped, and what can be done instead, by what they are used for.
TAKEN = {
    "test": ("{name} measures.", "Train on it instead"),
    "train": ("{name} trains, as its name says.", "Measure on it instead"),
}


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
        self._waiting = dict[str, str]()
        self._told: str | None = None
        session.changed.connect(self._follow)

    def take(self, paths: Sequence[str]) -> None:
        """Takes what was dropped: a model with or without its data or its weights, or data for the open model."""
        unsure = [path for path in paths if path.lower().endswith(EITHER)]
        if not unsure:
            self._sort(paths, frozenset())
            return
        self._notice.show_message(f"Looking at {Path(unsure[0]).name} …")
        self._session.drafts.tell_samples(unsure, lambda samples: self._sort(paths, samples), self._refuse)

    def _sort(self, paths: Sequence[str], samples: frozenset[str]) -> None:
        """Takes what was dropped once it is known which files hold samples."""
        self._notice.hide()
        models = [path for path in paths if is_model(path) and path not in samples]
        data = {role_of(path): path for path in reversed(paths) if path not in models}
        if models:
            data, self._waiting = self._waiting | data, {}
            model, skeleton = _with_network(models)
            self._session.open_model(model, skeleton, **data)
            return
        for role, path in data.items():
            self._take_dropped(path, role)

    def _take_dropped(self, path: str, role: str) -> None:
        """Takes data for what their name says, and tells how to use them for the other."""
        project = self._session.project
        before = project.test.path if project is not None and project.test is not None else None
        self.take_data(path, role)
        if project is None or not is_description(path):
            return  # it waits, or the wizard asks
        said, instead = TAKEN[role]
        other = {"train": path, "test": before} if role == "test" else {"test": path}
        self._notice.offer(said.format(name=Path(path).name), instead, lambda: self._session.set_data(**other))

    def take_data(self, path: str, role: str) -> None:
        """Takes data for the open model: described ones as they are, others after a look at what is guessed."""
        project, name = self._session.project, Path(path).name
        if project is None and not may_be_data(path):
            self._notice.show_message(NEITHER.format(name=name), "bad")
        elif project is None:
            self._waiting[role] = path
            self._notice.show_message(WAITING.format(name=name))
        elif not is_description(path):
            self._notice.show_message(f"Looking at {name} …")
            self._ask(path, lambda guess: self._open(guess, role))
        else:
            self._notice.hide()  # what was wrong with other data is over
            self._session.set_data(**{role: path})

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
        if "model" in change.kinds and self._waiting:
            waiting, self._waiting = self._waiting, {}
            self._session.set_data(**waiting)
        test = project.test.path if project.test is not None else None
        if test != self._told and test is not None and not is_description(test):
            self._ask(test, self._offer)
        self._told = test

    def _offer(self, guess: DataGuess) -> None:
        self._notice.offer(guess.brief, "Change …", lambda: self._open(guess, "test"))


def _with_network(models: Sequence[str]) -> tuple[str, str | None]:
    """The model to open, and where weights came with their network that network."""
    networks = [path for path in models if path.lower().endswith(NETWORKS)]
    weights = [path for path in models if path not in networks and not Path(path).is_dir()]
    return (weights[0], networks[0]) if networks and weights else (models[0], None)


def is_model(path: str) -> bool:
    """Whether a path is a model's or weights' by its name."""
    return path.lower().endswith(MODELS) or (Path(path) / CONFIG).is_file()


def may_be_data(path: str) -> bool:
    """Whether a path may hold data by its name."""
    return path.lower().endswith(DATA) or Path(path).is_dir()


def dropped_paths(data: QMimeData) -> list[str]:
    """The local files and folders of a drag."""
    return [url.toLocalFile().rstrip("/") for url in data.urls() if url.isLocalFile()]
