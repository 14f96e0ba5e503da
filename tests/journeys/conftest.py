"""A window as the program opens it, with the engine in the test's own process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from studio.engine.inline import InlineEngine
from studio.gui.app import MainThread
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.resources import samples
from studio.session.session import Session


@pytest.fixture
def window(qapp: QApplication, qtbot: QtBot, tmp_path: Path) -> Iterator[MainWindow]:
    """On its start page."""
    main_thread = MainThread()
    session = Session(InlineEngine, tmp_path / "studio", main_thread.dispatch)
    made = MainWindow(session, Theme(qapp, Scheme.LIGHT), list(samples().values()))
    made.main_thread = main_thread  # type: ignore[attr-defined]
    qtbot.addWidget(made)
    made.show()
    yield made
    made.close()
