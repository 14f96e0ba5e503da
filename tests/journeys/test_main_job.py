"""The whole main job through real widgets, with the engine in this process and in a child process."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pyqtgraph as pg
import pytest
import yaml
from PySide6.QtCore import QEvent, QPoint, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QWidget
from pytestqt.qtbot import QtBot

from studio.engine.door import Engine
from studio.engine.inline import InlineEngine
from studio.engine.process import ProcessEngine
from studio.gui.app import MainThread
from studio.gui.export_report import ExportReportDialog
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.recipe.settings import PruneSettings
from studio.resources import Sample
from studio.session.jobs import JobState
from studio.session.preview import PreviewState
from studio.session.session import ENGINE_STOPPED, Session

#: Milliseconds after which a journey gives up waiting for what should have happened.
LONG = 180_000

MakeWindow = Callable[[Callable[[], Engine]], MainWindow]


@pytest.fixture(autouse=True)
def every_move_counts() -> Iterator[None]:
    """Pyqtgraph drops moves that follow each other faster than a hand; a test's do."""
    before = pg.getConfigOption("mouseRateLimit")
    pg.setConfigOption("mouseRateLimit", -1)
    yield
    pg.setConfigOption("mouseRateLimit", before)


@pytest.fixture
def make_window(qapp: QApplication, qtbot: QtBot, tmp_path: Path, digits: Sample) -> Iterator[MakeWindow]:
    """Opens a window over an engine of one's choice and closes it in the end."""
    windows: list[MainWindow] = []

    def make(engines: Callable[[], Engine]) -> MainWindow:
        main_thread = MainThread()
        session = Session(engines, tmp_path / "studio", main_thread.dispatch)
        window = MainWindow(session, Theme(qapp, Scheme.LIGHT), [digits])
        window.session_for_tests = session  # type: ignore[attr-defined]
        window.main_thread = main_thread  # type: ignore[attr-defined]
        windows.append(window)
        qtbot.addWidget(window)
        window.show()
        return window

    yield make
    for window in windows:
        window.close()


def session_of(window: MainWindow) -> Session:
    return window.session_for_tests  # type: ignore[attr-defined, no-any-return]


def is_measured(session: Session) -> bool:
    return session.preview.status.state is PreviewState.MEASURED and session.preview.result is not None


def open_the_sample(window: MainWindow, qtbot: QtBot) -> Session:
    """Opens the sample from the menu and waits for its first measurement."""
    session = session_of(window)
    window.actions_table.by_name["sample_digits"].trigger()
    qtbot.waitUntil(lambda: session.project is not None and session.project.train is not None, timeout=LONG)
    qtbot.waitUntil(lambda: is_measured(session), timeout=LONG)
    return session


def drag_the_rank_line(window: MainWindow, qtbot: QtBot, rank: int) -> None:
    """Waits for the line, presses on it, moves it to `rank` in a few steps, and lets go."""
    panel = window.layer.spectrum
    qtbot.waitUntil(lambda: window._theme.turns.are_over and panel.rank_line.isVisible(), timeout=LONG)
    view = panel.rank_line.getViewBox()
    canvas = panel.rank_line.scene().views()[0]

    def point(at: float) -> QPoint:
        scene = view.mapViewToScene(QPointF(at, float(np.mean(view.viewRange()[1]))))
        return canvas.mapFromScene(scene)

    start = panel.rank_line.value()
    QApplication.sendEvent(canvas.viewport(), move(canvas.viewport(), point(start), Qt.MouseButton.NoButton))
    qtbot.mousePress(canvas.viewport(), Qt.MouseButton.LeftButton, pos=point(start))
    for share in (0.25, 0.5, 0.75, 1.0):
        at = point(start + share * (rank - start))
        QApplication.sendEvent(canvas.viewport(), move(canvas.viewport(), at, Qt.MouseButton.LeftButton))
        QApplication.processEvents()
    qtbot.mouseRelease(canvas.viewport(), Qt.MouseButton.LeftButton, pos=point(rank))


def move(widget: QWidget, at: QPoint, held: Qt.MouseButton) -> QMouseEvent:
    """The mouse moving with a button held down, which `QTest.mouseMove` cannot say."""
    return QMouseEvent(
        QEvent.Type.MouseMove,
        QPointF(at),
        QPointF(widget.mapToGlobal(at)),
        Qt.MouseButton.NoButton,
        held,
        Qt.KeyboardModifier.NoModifier,
    )


@pytest.mark.real_window
@pytest.mark.parametrize("engines", [InlineEngine, ProcessEngine])
def test_a_person_compresses_recovers_and_exports_the_sample(
    make_window: MakeWindow, qtbot: QtBot, tmp_path: Path, digits: Sample, engines: Callable[[], Engine]
):
    window = make_window(engines)
    session = open_the_sample(window, qtbot)
    assert session.cost is not None
    assert session.project is not None
    original = session.cost.bytes

    # select a layer in the table
    row = window.layers.filter.index(window.layers.view.model().rowCount() - 3, 0)
    window.layers.view.selectRow(row.row())
    layer = str(row.data())
    assert window.selection.current == layer
    qtbot.waitUntil(lambda: layer in session.spectra, timeout=LONG)

    # drag the rank line: size at once, accuracy soon
    drag_the_rank_line(window, qtbot, 6)
    chosen = session.project.settings(layer).rank
    assert chosen is not None
    assert chosen.rank == 6
    assert session.cost.bytes < original
    qtbot.waitUntil(lambda: is_measured(session), timeout=LONG)
    assert session.preview.result is not None
    assert session.preview.result.metric.samples == 1000

    # one undo takes the whole drag back, one redo brings it again
    window.actions_table.by_name["undo"].trigger()
    assert session.project.settings(layer).rank is None
    assert session.cost.bytes == original
    window.actions_table.by_name["redo"].trigger()
    assert session.project.settings(layer).rank == chosen
    compressed = session.cost.bytes

    # distil one epoch
    window.distill.form.editors["epochs"].set_value(1)
    qtbot.mouseClick(window.distill.start, Qt.MouseButton.LeftButton)
    job = session.jobs.all[-1]
    qtbot.waitUntil(lambda: not job.is_running, timeout=LONG)
    assert job.state is JobState.DONE, job.error
    assert job.points
    assert session.project.weights is not None
    assert session.variants.all[-1].name == "Distilled 1"

    # export, and read the file with nothing but ONNX Runtime
    out = tmp_path / "small.onnx"
    window.actions_table.by_name["export"].trigger()
    dialog = window.findChild(QFileDialog)
    assert dialog is not None
    dialog.selectFile(str(out))
    dialog.accept()
    job = session.jobs.all[-1]
    qtbot.waitUntil(lambda: not job.is_running, timeout=LONG)
    assert job.state is JobState.DONE, job.error
    assert window.findChild(ExportReportDialog) is not None
    assert out.stat().st_size == compressed

    test = np.load(digits.test.with_name("digits_test.npz"))
    runtime = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    logits = runtime.run(None, {runtime.get_inputs()[0].name: as_the_description_says(digits, test["x"])})[0]
    top1 = 100 * float((logits.argmax(1) == test["y"]).mean())
    assert top1 == pytest.approx(job.outcome.preview.value, abs=0.1)
    assert top1 > 97


def as_the_description_says(digits: Sample, images: np.ndarray) -> np.ndarray:
    """The sample's preprocessing, written down once more with numpy alone."""
    said = yaml.safe_load(digits.test.read_text(encoding="utf-8"))
    scaled = images.astype(np.float32) / said["scale"]
    normal = (scaled - np.float32(said["mean"])) / np.float32(said["std"])
    return np.ascontiguousarray(normal.transpose(0, 3, 1, 2), dtype=np.float32)


@pytest.mark.real_window
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_killed_engine_is_told_and_the_next_edit_is_measured(make_window: MakeWindow, qtbot: QtBot):
    made: list[ProcessEngine] = []

    def engines() -> ProcessEngine:
        made.append(ProcessEngine())
        return made[-1]

    window = make_window(engines)
    session = open_the_sample(window, qtbot)
    session.edit_layers(["hidden"], "Prune", prune=PruneSettings(ratio=0.5))
    qtbot.waitUntil(lambda: session.preview.status.progress is not None, timeout=LONG)
    process = made[0].process_id
    assert process is not None
    os.kill(process, signal.SIGKILL)
    qtbot.waitUntil(window.notice.isVisible, timeout=LONG)
    assert window.notice.message.text() == ENGINE_STOPPED
    session.undo()
    qtbot.waitUntil(lambda: is_measured(session), timeout=LONG)
    assert made[0].process_id != process
