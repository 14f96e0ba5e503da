"""Accuracy won back in the window with the real engine: rung by rung, by a student, and after a kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from studio.distillation.checkpoint import load_checkpoint
from studio.engine import process
from studio.engine.door import Engine
from studio.engine.inline import InlineEngine
from studio.engine.process import ProcessEngine
from studio.gui.app import MainThread
from studio.gui.main_window import MainWindow
from studio.gui.student_section import COPY
from studio.gui.theme import Scheme, Theme
from studio.models.open import open_model
from studio.recipe.settings import PruneSettings
from studio.session.jobs import JobState
from studio.session.preview import PreviewState
from studio.session.session import Session
from tests.journeys import killed

LONG = 120_000

Open = Callable[..., MainWindow]


@pytest.fixture
def data(tmp_path: Path, two_layers: Path) -> str:
    """Two hundred samples that the model labels itself."""
    graph = open_model(str(two_layers)).graph
    rows = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)
    labels = graph(torch.from_numpy(rows)).argmax(1).numpy()
    np.savez(tmp_path / "d.npz", x=rows, y=labels)
    form = tmp_path / "d.data.yaml"
    form.write_text("source: d.npz\ninput: x\nlabel: y\nkind: tensor\nmetric: top1\n", encoding="utf-8")
    return str(form)


@pytest.fixture
def window(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> Iterator[Open]:
    """Opens windows over one folder, the engines in this process unless others are given."""
    made: list[MainWindow] = []

    def opened(engines: Callable[[], Engine] = InlineEngine) -> MainWindow:
        main_thread = MainThread()
        session = Session(engines, tmp_path / "studio", main_thread.dispatch)
        made.append(MainWindow(session, Theme(qapp, Scheme.LIGHT), []))
        made[-1].main_thread = main_thread  # type: ignore[attr-defined]
        qtbot.addWidget(made[-1])
        made[-1].show()
        return made[-1]

    yield opened
    for one in made:
        one.close()


def is_settled(session: Session) -> bool:
    """Whether the fit that the recipe names has been measured."""
    project, result = session.project, session.preview.result
    if project is None or result is None or session.preview.status.state is not PreviewState.MEASURED:
        return False
    return result.finished and (not project.changed_layers() or result.fit == project.recipe.options.fit)


def at_half(window: MainWindow, qtbot: QtBot, model: Path, data: str) -> Session:
    """Opens the model with its data, half of the first layer's weights zero, on the page of recovery."""
    session = window._session
    session.open_model(str(model), test=data, train=data)
    qtbot.waitUntil(lambda: is_settled(session), timeout=LONG)
    session.edit_layers(["first"], "Prune", prune=PruneSettings(ratio=0.5))
    window.tabs.setCurrentWidget(window.distill)
    qtbot.waitUntil(lambda: is_settled(session), timeout=LONG)
    return session


def test_each_rung_is_measured_by_a_click_and_the_last_becomes_a_variant(
    window: Open, qtbot: QtBot, two_layers: Path, data: str
):
    made = window()
    session = at_half(made, qtbot, two_layers, data)
    cards = made.distill.ladder.cards
    assert cards["refit"].mark.text() == "holds now"
    for key in ("leave", "norms", "biases"):
        cards[key].take.click()
        qtbot.waitUntil(lambda: is_settled(session), timeout=LONG)
        result = session.preview.result
        assert result is not None
        assert cards[key].mark.text() == "holds now"
        assert cards[key].figures.text().startswith(f"{result.metric.value:.2f} ± ")
    made.distill.form.editors["epochs"].set_value(1)
    cards["distil"].take.click()
    qtbot.waitUntil(lambda: session.variants.all[-1].run is not None and is_settled(session), timeout=LONG)
    run = session.variants.all[-1].run
    assert run is not None
    assert session.project is not None
    assert session.project.weights == run.outcome.weights
    made.distill.pages.setCurrentWidget(made.distill.pages.widget(0))
    assert cards["distil"].mark.text() == "holds now"
    assert session.preview.result is not None
    assert session.preview.result.metric.value == run.outcome.after


def test_a_smaller_copy_learns_and_is_opened_with_a_click(window: Open, qtbot: QtBot, two_layers: Path, data: str):
    made = window()
    session = made._session
    session.open_model(str(two_layers), test=data, train=data)
    qtbot.waitUntil(lambda: is_settled(session), timeout=LONG)
    made.tabs.setCurrentWidget(made.distill)
    made.distill.student.box.setCurrentIndex(COPY)
    made.distill.form.editors["epochs"].set_value(1)
    qtbot.waitUntil(made.distill.start.isEnabled, timeout=LONG)
    made.distill.start.click()
    qtbot.waitUntil(lambda: made.notice.isVisible() and made.notice.action.text() == "Open it", timeout=LONG)
    teacher = session.project
    made.notice.action.click()
    qtbot.waitUntil(lambda: session.project is not teacher and is_settled(session), timeout=LONG)
    assert session.project is not None
    assert session.project.info.layer("first").shape == (8, 8)  # half of 16 rows
    assert session.project.test is not None


def test_after_its_worker_was_killed_a_distillation_goes_on_by_a_click(
    window: Open, qtbot: QtBot, two_layers: Path, data: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(process, "_child", killed.dying_worker)
    engines: list[Engine] = [InlineEngine(), ProcessEngine(threads=1), InlineEngine()]
    made = window(lambda: engines.pop(0))
    session = at_half(made, qtbot, two_layers, data)
    killed.ask_for_checkpoints(made)
    made.distill.start.click()
    job = session.jobs.all[-1]
    qtbot.waitUntil(lambda: job.state is JobState.FAILED, timeout=LONG)
    assert f"exit code -{int(signal.SIGKILL)}" in str(job.error)
    assert made.distill.offer.isVisible()
    saved = session.recoveries.interrupted(session.project) if session.project is not None else None
    assert saved is not None
    assert load_checkpoint(Path(saved.folder)).state.step == killed.WRITTEN

    made.distill.offer.go_on.click()

    again = session.jobs.all[-1]
    qtbot.waitUntil(lambda: again.state is JobState.DONE and is_settled(session), timeout=LONG)
    assert not made.distill.offer.isVisible()
    assert not Path(saved.folder).exists()
    assert (again.points[0].step, again.points[-1].step) == (0, again.points[-1].total_steps)
    assert session.variants.all[-1].run is not None


def test_after_the_window_was_killed_the_next_one_restores_the_project_and_goes_on(
    window: Open, qtbot: QtBot, two_layers: Path, data: str, tmp_path: Path
):
    command = [sys.executable, "-m", "tests.journeys.killed", str(tmp_path / "studio"), str(two_layers), data]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "under way\n"
        os.kill(child.pid, signal.SIGKILL)

    made = window()
    session = made._session
    made.offer_restore()
    made.notice.action.click()
    qtbot.waitUntil(lambda: is_settled(session), timeout=LONG)
    assert session.project is not None
    assert session.project.settings("first").prune == PruneSettings(ratio=0.5)
    made.tabs.setCurrentWidget(made.distill)
    assert made.distill.offer.isVisible()
    saved = session.recoveries.interrupted(session.project)
    assert saved is not None
    assert load_checkpoint(Path(saved.folder)).state.step in (killed.WAITS - 1, killed.WAITS)

    made.distill.offer.go_on.click()

    job = session.jobs.all[-1]
    qtbot.waitUntil(lambda: job.state is JobState.DONE and is_settled(session), timeout=LONG)
    assert job.points[-1].step == job.points[-1].total_steps
    assert session.variants.all[-1].run is not None
    assert session.project.weights == session.variants.all[-1].run.outcome.weights
