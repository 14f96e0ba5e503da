"""A new user's model and folder of images: dropped on the window, they are measured with no word typed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PySide6.QtCore import QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QWidget
from pytestqt.qtbot import QtBot

from studio.evaluation.description import load_description
from studio.gui.data_wizard import MEASURING, DataWizard
from studio.gui.main_window import MainWindow
from studio.resources import Sample
from studio.session.preview import PreviewState
from studio.session.session import Session

LONG = 120_000


@pytest.fixture
def pngs(digits: Sample, tmp_path: Path) -> Path:
    """Images of the sample as PNG files in folders of their classes."""
    arrays = np.load(digits.test.with_name("digits_test.npz"))
    for number, (image, label) in enumerate(zip(arrays["x"][:150], arrays["y"], strict=False)):
        folder = tmp_path / "digits" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(folder / f"{number:03}.png")
    return tmp_path / "digits"


def drop(on: QWidget, *paths: Path) -> None:
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    on.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys))


def is_measured(session: Session, labelled: bool) -> bool:
    result = session.preview.result
    return session.preview.status.state is PreviewState.MEASURED and result is not None and result.labelled is labelled


def test_a_model_and_a_folder_dropped_together_are_measured_at_once(
    window: MainWindow, qtbot: QtBot, digits: Sample, pngs: Path
):
    session = window._session
    drop(window.start_page.drop_zone, digits.model, pngs)

    qtbot.waitUntil(lambda: is_measured(session, labelled=True), timeout=LONG)
    assert session.preview.result is not None
    assert session.preview.result.metric.value > 96
    assert session.preview.result.metric.samples == 150
    qtbot.waitUntil(window.notice.action.isVisible, timeout=LONG)
    assert window.notice.message.text().startswith("digits: 150 images, labelled, normalised")
    assert "Measured on digits: 150 samples" in window.data.test.text()


def test_a_folder_dropped_later_is_shown_and_taken_with_one_click(
    window: MainWindow, qtbot: QtBot, digits: Sample, pngs: Path
):
    session = window._session
    drop(window.start_page.drop_zone, digits.model)
    qtbot.waitUntil(lambda: is_measured(session, labelled=False), timeout=LONG)

    drop(window, pngs)
    qtbot.waitUntil(lambda: window.findChild(DataWizard) is not None, timeout=LONG)
    wizard = window.findChild(DataWizard)
    qtbot.waitUntil(lambda: MEASURING not in wizard.summary.text(), timeout=LONG)
    assert wizard.sight.pictures.count() == 24
    wizard.accept_button.click()

    qtbot.waitUntil(lambda: is_measured(session, labelled=True), timeout=LONG)
    assert session.project is not None
    assert session.project.test is not None
    described = load_description(Path(session.project.test.path))
    assert (described.source, described.classes) == ("digits", tuple("0123456789"))
