"""A picture of the window at work on a sample, taken without a display."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from PySide6.QtCore import QEventLoop, QTimer

from studio.analysis.views import WeightView
from studio.engine.process import ProcessEngine
from studio.errors import StudioError
from studio.gui.app import MainThread, application
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.recipe.settings import QuantizeSettings
from studio.resources import Sample
from studio.session.preview import PreviewState
from studio.session.session import Session

#: Longest wait for the first measurement; the engine's start takes most of it.
PATIENCE_S = 120

#: Milliseconds between two questions whether it has come.
_ASK_MS = 50


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
            at_work(window, session, recipe)
            if not window.grab().save(str(out)):
                raise StudioError(f"{out}: the picture cannot be written.")
        finally:
            window.close()
    return out


def at_work(window: MainWindow, session: Session, recipe: Path) -> None:
    """Brings a window with a sample to where it shows most: some variants, and a compressed layer.

    Args:
        window: over `session`.
        session: that opens, or has opened, a model with data.
        recipe: what is shown in the end; 8 bits for all layers become a variant on the way.

    Raises:
        StudioError: nothing was measured in time.
    """
    _wait_until(lambda: session.preview.result is not None and session.preview.result.finished, session)
    if session.project is not None:
        names = [layer.name for layer in session.project.info.layers]
        session.edit_layers(names, "Quantize", quantize=QuantizeSettings())
    _wait_until(lambda: _is_settled(session), session)
    session.keep_variant("8 bits")
    session.load_recipe(str(recipe))
    _wait_until(lambda: _is_settled(session), session)
    session.keep_variant(recipe.name.removesuffix(".recipe.yaml").capitalize())
    window.tabs.setCurrentWidget(window.layer)
    window.bottom.setCurrentWidget(window.variants)
    _select_largest(window, session)
    _settle(800)


def _is_settled(session: Session) -> bool:
    """Whether the fit that an export writes has been measured."""
    project, result = session.project, session.preview.result
    measured = session.preview.status.state is PreviewState.MEASURED
    return measured and project is not None and result is not None and result.fit == project.recipe.options.fit


def _wait_until(done: Callable[[], bool], session: Session) -> None:
    """Lets the window work until `done`, asked now and then, or until patience ends.

    Raises:
        StudioError: it did not happen in time.
    """
    loop, asking = QEventLoop(), QTimer()
    QTimer.singleShot(PATIENCE_S * 1000, loop, loop.quit)
    asking.timeout.connect(lambda: loop.quit() if done() else None)
    asking.start(_ASK_MS)
    loop.exec()
    if not done():
        raise StudioError(f"The sample was not measured in time. {session.preview.status.message}".strip())


def _select_largest(window: MainWindow, session: Session) -> None:
    """Shows the changed layer that holds most, and waits for its weights and singular values."""
    if session.project is None:
        return
    layers = session.project.changed_layers() or list(session.project.info.layers)
    name, seen = max(layers, key=lambda layer: layer.bytes).name, set[str]()

    def see(layer: str, _view: WeightView) -> None:
        seen.add(layer)

    session.weights_viewed.connect(see)
    window.selection.select((name,))
    session.view_weights(name)  # it may have been selected before
    _wait_until(lambda: name in seen and name in session.spectra, session)
    session.weights_viewed.disconnect(see)


def _settle(milliseconds: int) -> None:
    """Lets the answers to the last requests arrive and be painted."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()
