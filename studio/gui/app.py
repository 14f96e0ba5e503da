"""Starts the window: application, theme, session and main window, and a last resort for bugs."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import platformdirs
from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QIcon
from PySide6.QtWidgets import QApplication

from studio.engine.process import ProcessEngine
from studio.errors import StudioError
from studio.gui.garbage import collect_at_rest
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.resources import resource, samples
from studio.session.asking import mistake
from studio.session.session import Session

log = logging.getLogger(__name__)

BUG = "Something went wrong inside the studio; the log has the details. Your project is saved."


class MainThread(QObject):
    """Has actions from any thread done on the thread that made this object, soon and in order."""

    _called = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._called.connect(self._do, Qt.ConnectionType.QueuedConnection)

    def dispatch(self, action: Callable[[], None]) -> None:
        """Has `action` done on the main thread."""
        self._called.emit(action)

    def _do(self, action: Callable[[], None]) -> None:
        action()


def application() -> QApplication:
    """The one `QApplication`, made when there is none."""
    running = QApplication.instance()
    if isinstance(running, QApplication):
        return running
    made = QApplication(sys.argv[:1])
    made.setApplicationName("Compression Studio")
    made.setWindowIcon(QIcon(str(resource("icons/studio.svg"))))
    return made


def data_folder() -> Path:
    """Where the user's preferences, trained weights and the autosave live.

    Raises:
        StudioError: there is no such folder, and it cannot be made.
    """
    try:
        return platformdirs.user_data_path("compression-studio", appauthor=False, ensure_exists=True)
    except OSError as error:
        raise StudioError(
            f"{error.filename}: the folder for your preferences and weights cannot be made: {error.strerror}."
        ) from error


def run(model: str | None = None, sample: str | None = None, skeleton: str | None = None) -> int:
    """Opens the window and returns the exit status once it is closed.

    Args:
        model: path of a model to open.
        sample: name of a built-in sample to open.
        skeleton: path of the network's file where `model` holds weights alone.

    Raises:
        KeyError: there is no sample of that name.
        StudioError: as `data_folder`.
    """
    qt = application()
    main_thread = MainThread()
    session = Session(ProcessEngine, data_folder(), main_thread.dispatch)
    theme = Theme(qt, Scheme(session.preferences.theme))
    built_in = samples()
    window = MainWindow(session, theme, list(built_in.values()))
    sys.excepthook = report_bugs_to(window)
    collect_at_rest(session)
    window.show()
    window.offer_restore()
    if sample is not None:
        session.open_sample(built_in[sample])
    elif model is not None:
        session.open_model(_absolute(model), None if skeleton is None else _absolute(skeleton))
    return qt.exec()


def _absolute(path: str) -> str:
    return str(Path(path).absolute())


def report_bugs_to(window: MainWindow) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """An exception hook that logs the traceback and shows one line; a mistake of the user's shows its own."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        if (known := mistake(error)) is not None:
            window.notice.show_message(str(known), "bad")
            return
        log.critical("a bug in the window", exc_info=(kind, error, trace))
        window.notice.show_message(BUG, "bad")

    return hook
