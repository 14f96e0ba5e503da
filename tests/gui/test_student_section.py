from pathlib import Path

import pytest

from studio.engine.requests import Distill, MakeCopy, OpenModel, PredictCopy
from studio.gui.student_section import COMPRESSED, COPY, FILE


@pytest.fixture
def section(window, session):
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    window.tabs.setCurrentWidget(window.distill)
    window.distill.pages.setCurrentIndex(1)
    return window.distill.student


def asked(engine, kind):
    return [request for request in engine.asked if isinstance(request, kind)]


def test_the_compressed_model_is_the_student_until_another_is_chosen(section, engine):
    assert section.kind == COMPRESSED
    assert not section.editors["width"].isVisible()
    assert asked(engine, PredictCopy) == []


def test_a_copy_shows_how_large_it_will_be_before_it_is_taught(section, window):
    assert not window.distill.start.isEnabled()  # nothing is compressed
    section.box.setCurrentIndex(COPY)
    assert section.editors["width"].isVisible()
    assert "4,885 parameters (50.0 % of the original)" in section.sized.text()
    assert "about 20.4 kB" in section.sized.text()
    assert "480 k MACs" in section.sized.text()
    assert section.remarks.text() == "Depth: no block repeats"
    assert window.distill.start.isEnabled()


def test_a_turned_slider_asks_once_the_hand_rests(section, engine, qtbot):
    section.box.setCurrentIndex(COPY)
    for share in (40, 30, 25):
        section.editors["width"].spin.setValue(share)
    qtbot.waitUntil(lambda: len(asked(engine, PredictCopy)) == 2)
    assert asked(engine, PredictCopy)[-1].settings.width == pytest.approx(0.25)
    assert "25.0 % of the original" in section.sized.text()


def test_a_taught_copy_is_offered_and_opens_with_the_data_of_its_teacher(section, window, session, engine):
    section.box.setCurrentIndex(COPY)
    window.distill.form.editors["seed"].set_value(7)
    window.distill.start.click()
    assert asked(engine, MakeCopy)[0].settings.seed == 7
    assert asked(engine, Distill)[0].teacher == "/models/digits.onnx"
    assert window.notice.message.text() == "The student has learnt: accuracy 90.10 → 97.90."
    window.notice.action.click()
    opened = asked(engine, OpenModel)[-1].path
    assert Path(opened).name == "digits-student-1.onnx"
    assert (session.project.test.path, session.project.train.path) == (
        "digits_test.data.yaml",
        "digits_train.data.yaml",
    )


def test_another_file_is_taught_once_it_is_chosen(section, window, engine, tmp_path):
    section.box.setCurrentIndex(FILE)
    assert not window.distill.start.isEnabled()
    assert "Choose the student's file first" in window.distill._reason.text()
    section.take_file(str(tmp_path / "other.onnx"))
    window.distill.start.click()
    assert asked(engine, Distill)[0].source.model == str(tmp_path / "other.onnx")


def test_the_ladder_teaches_the_compressed_model_whoever_is_chosen(section, window):
    section.box.setCurrentIndex(COPY)
    window.distill.pages.setCurrentIndex(0)
    assert "Compress at least one layer first" in window.distill.ladder.cards["distil"].reason.text()
