"""Weights that come alone: dropped on the window, opened with a network, refused, and opened again."""

from pathlib import Path

import pytest
import torch
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QFileDialog, QPushButton
from pytestqt.qtbot import QtBot

from studio.gui.main_window import MainWindow
from studio.models.open import open_model
from studio.resources import Sample

LONG = 60_000


@pytest.fixture
def checkpoint(digits: Sample, tmp_path: Path) -> Path:
    """The weights of the sample, halved."""
    state = open_model(digits.model).graph.state_dict()
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": {name: value / 2 for name, value in state.items()}}, path)
    return path


def drop(window: MainWindow, path: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    zone = window.start_page.drop_zone
    zone.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys))


def dialog_of(window: MainWindow, qtbot: QtBot) -> QFileDialog:
    """The one file dialog that is open."""

    def visible() -> list[QFileDialog]:
        return [dialog for dialog in window.findChildren(QFileDialog) if dialog.isVisible()]

    qtbot.waitUntil(lambda: len(visible()) == 1, timeout=LONG)
    return visible()[0]


def test_weights_dropped_alone_open_once_their_network_is_chosen(
    window: MainWindow, qtbot: QtBot, digits: Sample, checkpoint: Path
):
    session = window._session
    drop(window, checkpoint)

    # the weights are open at once, and what they lack stays in sight
    qtbot.waitUntil(lambda: session.project is not None and window.notice.isVisible(), timeout=LONG)
    assert session.project is not None
    assert session.project.info.skeleton is None
    assert "weights.pth holds weights alone" in window.notice.message.text()

    # the notice asks for the network
    alone = session.project
    window.notice.action.click()
    dialog = dialog_of(window, qtbot)
    assert dialog.windowTitle() == "The network of weights.pth"
    dialog.selectFile(str(digits.model))
    dialog.accept()
    qtbot.waitUntil(lambda: session.project is not alone, timeout=LONG)
    assert (session.project.info.path, session.project.info.skeleton) == (str(checkpoint), str(digits.model))
    assert window.windowTitle().startswith("weights.pth")

    # the list of recent files opens both again, without asking
    before = session.project
    recent = [button for button in window.start_page.findChildren(QPushButton) if button.text() == "weights.pth"]
    recent[-1].click()
    qtbot.waitUntil(lambda: session.project is not before, timeout=LONG)
    assert session.project.info.skeleton == str(digits.model)
