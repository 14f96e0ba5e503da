"""The wizard for undescribed data, over an engine that answers from a script."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QMimeData, QUrl
from pytestqt.qtbot import QtBot

from studio.engine.requests import LookAtData, OpenModel
from studio.errors import DataError
from studio.evaluation.data_guess import DataView
from studio.evaluation.description import DataDescription, load_description
from studio.gui.arrivals import Arrivals, dropped_paths, is_model
from studio.gui.data_form import DataForm
from studio.gui.data_sight import DataSight
from studio.gui.data_wizard import DataWizard
from studio.gui.notice import NoticeBar
from studio.session.session import Session


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    return made


@pytest.fixture
def wizard(opened: Session, qtbot: QtBot, folder: Path) -> Iterator[DataWizard]:
    notice = NoticeBar()
    qtbot.addWidget(notice)
    Arrivals(notice, opened, notice).take_data(str(folder), "test")
    (made,) = notice.findChildren(DataWizard)
    yield made
    notice.close()


def looks(engine: object) -> list[DataDescription]:
    return [request.described for request in engine.asked if isinstance(request, LookAtData)]


def test_the_guess_is_shown_with_its_reasons_pictures_and_baseline(wizard: DataWizard) -> None:
    assert "2 folders are the classes" in wizard.reasons.text()
    assert wizard.summary.text() == "1,000 samples, labelled  ·  Accuracy: 98.00 ± 1.00 % (1,000 samples)"
    assert wizard.range.text() == "Its input lies between −1 and 1, 0 in the mean."
    assert [wizard.sight.pictures.item(row).text() for row in range(2)] == ["cat", "dog"]
    shown = {name for name, editor in wizard.form.editors.items() if not editor.isHidden()}
    assert shown == {"label", "classes", "colour", "fit", "resize", "scale", "mean", "std", "metric"}


def test_a_changed_field_is_looked_at_and_saved_beside_the_data(
    wizard: DataWizard, opened: Session, engine: object, qtbot: QtBot, folder: Path
) -> None:
    mean = wizard.form.editors["mean"]
    mean.line.setText("0, 0.25")
    mean.line.textEdited.emit("0, 0.25")
    qtbot.waitUntil(lambda: len(looks(engine)) == 2)

    assert looks(engine)[-1].mean == (0.0, 0.25)
    wizard.accept_button.click()
    saved = load_description(folder.with_name("photos.data.yaml"))
    assert (saved.mean, saved.classes) == ((0.0, 0.25), ("cat", "dog"))
    assert opened.project.test.path == str(folder.with_name("photos.data.yaml"))


def test_a_value_that_cannot_be_used_is_told_and_keeps_the_button_shut(wizard: DataWizard) -> None:
    scale = wizard.form.editors["std"]
    scale.line.setText("0.2, zero")
    scale.line.textEdited.emit("0.2, zero")

    assert wizard.summary.text().startswith("std.1: ")
    assert not wizard.accept_button.isEnabled()
    assert wizard.accept_button.toolTip() == wizard.summary.text()


def test_data_that_do_not_fit_are_told_in_the_window(
    opened: Session, engine: object, qtbot: QtBot, folder: Path
) -> None:
    notice = NoticeBar()
    qtbot.addWidget(notice)
    engine.fail = DataError("photos: holds no images.")

    Arrivals(notice, opened, notice).take_data(str(folder), "test")

    assert notice.message.text() == "photos: holds no images."
    assert notice.findChild(DataWizard) is None


def test_a_description_goes_to_the_session_s_folder_where_its_own_place_is_shut(
    opened: Session, tmp_path: Path
) -> None:
    described = DataDescription(source="photos", kind="image")

    saved = Path(opened.drafts.save(str(tmp_path / "gone" / "photos.data.yaml"), described))

    assert saved.parent == tmp_path / "data"
    assert load_description(saved).source == str(tmp_path / "gone" / "photos")


def test_data_dropped_before_their_model_wait_for_it(session: Session, qtbot: QtBot, folder: Path) -> None:
    notice = NoticeBar()
    qtbot.addWidget(notice)
    arrivals = Arrivals(notice, session, notice)

    arrivals.take([str(folder)])
    assert notice.message.text().startswith("photos waits for the model")
    arrivals.take(["/models/digits.onnx"])

    assert session.project.test.path == str(folder)
    assert notice.message.text() == "photos: 1,000 images, labelled, normalised from −1 to 1."


def test_models_are_told_from_data_by_their_names(tmp_path: Path) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").touch()
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile("/a/net.onnx"), QUrl("https://example.org/x"), QUrl.fromLocalFile("/a/set/")])

    assert dropped_paths(data) == ["/a/net.onnx", "/a/set"]
    assert is_model("/a/NET.ONNX")
    assert is_model(str(tmp_path / "bert"))
    assert not is_model("/a/set")


@pytest.mark.parametrize(
    ("source", "kind", "fields"),
    [
        ("set.npz", "image", {"kind", "input", "label", "layout", "scale", "mean", "std", "metric"}),
        ("set.npz", "tokens", {"kind", "input", "label", "metric"}),
        ("t.csv", "table", {"input", "label", "classes", "scale", "mean", "std", "metric"}),
        ("t.txt", "tokens", {"tokenizer", "vocabulary", "length", "metric"}),
        ("t.csv", "tokens", {"input", "label", "classes", "tokenizer", "vocabulary", "length", "metric"}),
    ],
)
def test_only_fields_that_mean_something_are_shown(qtbot: QtBot, source: str, kind: str, fields: set[str]) -> None:
    form = DataForm(free_size=False)
    qtbot.addWidget(form)
    described = DataDescription(source=source, kind=kind, input="x", classes={"cat": 281, "dog": 207})

    form.show_description(described)

    assert {name for name, editor in form.editors.items() if not editor.isHidden()} == fields
    assert DataDescription.model_validate(form.values()).classes == {"cat": 281, "dog": 207}


def test_rows_and_texts_have_pages_of_their_own(qtbot: QtBot) -> None:
    sight = DataSight()
    qtbot.addWidget(sight)

    sight.show_view(DataView(2, True, "mse", None, ("3", "4"), ("a", "b"), (("1", "2"), ("5", "6")), (), 0, 1, 0.5))
    assert [sight.rows.item(1, column).text() for column in range(3)] == ["4", "5", "6"]
    sight.show_view(DataView(1, True, "perplexity", None, (), (), (), ("to be\nor not",), 0, 1, 0.5))
    assert sight.texts.item(0).text() == "to be ⏎ or not"
    assert sight.currentWidget() is sight.texts


def test_pictures_keep_their_colours(qtbot: QtBot) -> None:
    sight = DataSight()
    qtbot.addWidget(sight)
    red = np.zeros((1, 4, 5, 3), np.uint8)
    red[..., 0] = 200

    sight.show_view(DataView(1, False, "agreement", red, (), (), (), (), 0, 1, 0.5))

    colour = sight.pictures.item(0).icon().pixmap(84, 84).toImage().pixelColor(40, 30)
    assert (colour.red(), colour.green()) == (200, 0)


@pytest.fixture
def notice(qtbot: QtBot) -> NoticeBar:
    made = NoticeBar()
    qtbot.addWidget(made)
    return made


def test_the_other_button_takes_the_data_for_training(wizard: DataWizard, opened: Session, folder: Path) -> None:
    before = opened.project.test

    wizard.other_button.click()

    assert wizard.other_button.text() == "Use as training data"
    assert opened.project.train.path == str(folder.with_name("photos.data.yaml"))
    assert opened.project.test == before


def test_a_folder_called_train_is_offered_as_training_data(opened: Session, notice: NoticeBar, tmp_path: Path) -> None:
    (tmp_path / "photos_train").mkdir()

    Arrivals(notice, opened, notice).take([str(tmp_path / "photos_train")])

    (wizard,) = notice.findChildren(DataWizard)
    assert (wizard.accept_button.text(), wizard.windowTitle()) == (
        "Use as training data",
        "Training data: photos_train",
    )
    wizard.reject()


def test_described_data_that_are_dropped_say_what_they_do_and_can_do_the_other(
    opened: Session, notice: NoticeBar
) -> None:
    before = opened.project.test.path
    arrivals = Arrivals(notice, opened, notice)

    arrivals.take(["/data/cifar_train20k.data.yaml"])
    assert (opened.project.train.path, opened.project.test.path) == ("/data/cifar_train20k.data.yaml", before)
    assert notice.message.text() == "cifar_train20k.data.yaml trains, as its name says."
    arrivals.take(["/data/set.data.yaml"])
    assert (opened.project.test.path, notice.message.text()) == ("/data/set.data.yaml", "set.data.yaml measures.")
    notice.action.click()

    assert (opened.project.train.path, opened.project.test.path) == ("/data/set.data.yaml", before)


def test_both_parts_of_data_come_with_their_model(session: Session, notice: NoticeBar) -> None:
    dropped = ["/d/train.data.yaml", "/models/digits.onnx", "/d/test.data.yaml"]

    Arrivals(notice, session, notice).take(dropped)

    assert (session.project.train.path, session.project.test.path) == ("/d/train.data.yaml", "/d/test.data.yaml")


def test_a_file_of_tensors_is_data_where_it_holds_samples(session: Session, engine: object, notice: NoticeBar) -> None:
    arrivals = Arrivals(notice, session, notice)

    arrivals.take(["/d/samples.safetensors"])
    assert notice.message.text().startswith("samples.safetensors waits for the model")
    arrivals.take(["/models/net.safetensors"])

    assert session.project.info.path == "/models/net.safetensors"
    assert session.project.test.path == "/d/samples.safetensors"


def test_weights_dropped_with_their_network_are_opened_in_it(
    session: Session, engine: object, notice: NoticeBar
) -> None:
    Arrivals(notice, session, notice).take(["/models/net.onnx", "/models/net.safetensors"])

    (asked,) = [request for request in engine.asked if isinstance(request, OpenModel)]
    assert (asked.path, asked.skeleton) == ("/models/net.safetensors", "/models/net.onnx")


def test_a_file_that_is_neither_model_nor_data_does_not_wait(session: Session, notice: NoticeBar) -> None:
    Arrivals(notice, session, notice).take(["/d/notes.docx"])

    assert notice.message.text().startswith("notes.docx is neither a model (.onnx, .pt2,")
    assert notice.message.text().endswith(".parquet, .txt, a folder of images).")
    assert notice.message.property("tone") == "bad"


def test_what_was_wrong_with_data_is_over_once_other_data_come(opened: Session, notice: NoticeBar) -> None:
    notice.show_message("/d/a.data.yaml: holds samples of 28×28×1, the model takes 3×32×32.", "bad")

    Arrivals(notice, opened, notice).take_data("/d/b.data.yaml", "test")

    assert notice.isHidden()
