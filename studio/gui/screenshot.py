"""A picture of the window at work on a sample, taken without a display."""

import os
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
            _wait_until_open(session)
            session.load_recipe(str(recipe))
            _wait_until_measured(session)
            _select_largest(window, session)
            _settle(800)
            if not window.grab().save(str(out)):
                raise StudioError(f"{out}: the picture cannot be written.")
        finally:
            window.close()
    return out


def _wait_until_open(session: Session) -> None:
    loop, timer = _loop()
    session.preview.changed.connect(loop.quit)
    loop.exec()
    session.preview.changed.disconnect(loop.quit)
    timer.stop()
    if session.project is None:
        raise StudioError("The sample was not opened in time.")


def _wait_until_measured(session: Session) -> None:
    loop, timer = _loop()

    def check() -> None:
        if session.preview.status.state in (PreviewState.MEASURED, PreviewState.FAILED):
            loop.quit()

    session.preview.changed.connect(check)
    loop.exec()
    session.preview.changed.disconnect(check)
    timer.stop()
    if session.preview.result is None:
        raise StudioError(f"The sample was not measured in time. {session.preview.status.message}")


def _loop() -> tuple[QEventLoop, QTimer]:
    """An event loop that ends by itself when nothing else ends it."""
    loop = QEventLoop()
    timer = QTimer(singleShot=True)
    timer.timeout.connect(loop.quit)
    timer.start(PATIENCE_S * 1000)
    return loop, timer


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
