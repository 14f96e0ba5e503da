"""A picture of the window at work on a sample, taken without a display."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PySide6.QtCore import QEventLoop, QTimer

from studio.engine.process import ProcessEngine
from studio.errors import StudioError
from studio.gui.app import MainThread, application
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.resources import Sample
from studio.session.preview import PreviewState
from studio.session.session import Session

#: Longest wait for the first measurement; the engine's start takes most of it.
PATIENCE_S = 120


def take(sample: Sample, recipe: Path, out: Path) -> Path:
    """Opens `sample` in a window nobody sees, takes `recipe`, waits for the measurement, and saves a picture.

    Args:
        sample: model and data.
        recipe: settings to show.
        out: ``.png`` file to write.

    Returns:
        The path of the picture.

    Raises:
        StudioError: nothing was measured in time, or the picture cannot be written.
    """
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qt = application()
    main_thread = MainThread()
    with TemporaryDirectory() as folder:
        session = Session(ProcessEngine, Path(folder), main_thread.dispatch)
        window = MainWindow(session, Theme(qt, Scheme.LIGHT), [sample])
        window.show()
        try:
            session.open_sample(sample)
            _wait_until(lambda: session.preview.result is not None and session.preview.result.finished, session)
            session.load_recipe(str(recipe))
            _wait_until(lambda: _is_settled(session), session)
            window.tabs.setCurrentWidget(window.layer)
            window.commands.keep_variant()
            _select_largest(window, session)
            _settle(800)
            if not window.grab().save(str(out)):
                raise StudioError(f"{out}: the picture cannot be written.")
        finally:
            window.close()
    return out


def _is_settled(session: Session) -> bool:
    """Whether the fit that an export writes has been measured."""
    project, result = session.project, session.preview.result
    measured = session.preview.status.state is PreviewState.MEASURED
    return measured and project is not None and result is not None and result.fit == project.recipe.options.fit


def _wait_until(done: Callable[[], bool], session: Session) -> None:
    """Lets the window work until `done`, asked at every change of the preview, or until patience ends.

    Raises:
        StudioError: it did not happen in time.
    """
    loop = QEventLoop()
    QTimer.singleShot(PATIENCE_S * 1000, loop, loop.quit)

    def check() -> None:
        if done():
            loop.quit()

    session.preview.changed.connect(check)
    loop.exec()
    session.preview.changed.disconnect(check)
    if not done():
        raise StudioError(f"The sample was not measured in time. {session.preview.status.message}".strip())


def _select_largest(window: MainWindow, session: Session) -> None:
    """Shows the changed layer that holds most."""
    if session.project is not None:
        layers = session.project.changed_layers() or list(session.project.info.layers)
        window.selection.select((max(layers, key=lambda layer: layer.bytes).name,))


def _settle(milliseconds: int) -> None:
    """Lets the answers to the last requests arrive and be painted."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()
