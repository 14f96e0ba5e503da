import pytest

from studio.evaluation.ladder import RUNGS
from studio.recipe.settings import PruneSettings


@pytest.fixture
def panel(window, session):
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    window.tabs.setCurrentWidget(window.distill)
    return window.distill.ladder


def prune(session):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))


def test_before_a_layer_is_compressed_no_rung_can_be_taken_and_each_says_why(panel):
    assert list(panel.cards) == [rung.key for rung in RUNGS]
    for card in panel.cards.values():
        assert not card.take.isEnabled()
        assert "Compress at least one layer first" in card.reason.text()
        assert card.reason.isHidden()  # it is said once, above them
    assert "Compress at least one layer first" in panel.advice.text()


def test_the_rung_that_holds_shows_what_was_measured_and_the_next_is_suggested(panel, session):
    prune(session)
    refit = panel.cards["refit"]
    assert refit.mark.text() == "holds now"
    assert refit.figures.text().startswith("97.60 ± 0.95 %  ·  −0.80 ± 0.50 against the original")
    assert not refit.take.isEnabled()
    assert panel.advice.text().startswith("Next: Distil.")
    assert panel.cards["distil"].mark.text() == "suggested"


def test_a_click_takes_a_rung_which_is_measured_and_undone_in_one_step(panel, session):
    prune(session)
    leave = panel.cards["leave"]
    assert leave.figures.text().startswith("Not measured  ·  takes about")
    leave.take.click()
    assert (session.project.recipe.options.fit, session.project.recipe.options.bias_correction) == ("layer", False)
    assert leave.mark.text() == "holds now"
    assert leave.figures.text().startswith("97.60 ± 0.95 %")
    assert "brought 0.00" in panel.cards["refit"].figures.text()
    session.undo()
    assert panel.cards["refit"].mark.text() == "holds now"


def test_the_last_rung_begins_a_distillation_with_the_settings_shown(panel, window, session, engine):
    prune(session)
    engine.hold = True
    window.distill.form.editors["epochs"].set_value(3)
    panel.cards["distil"].take.click()
    assert engine.asked[-1].settings.epochs == 3
    assert window.distill.curves.isVisible()
    window.distill.pages.setCurrentIndex(0)
    assert not panel.cards["distil"].take.isEnabled()
    assert panel.cards["distil"].reason.text() == "A distillation is running."


def test_without_training_data_the_last_rung_says_what_to_choose(panel, window, session):
    session.open_model("/models/other.onnx", test="digits_test.data.yaml")
    window.tabs.setCurrentWidget(window.distill)
    prune(session)
    assert not panel.cards["distil"].take.isEnabled()
    assert "training data" in panel.cards["distil"].reason.text()
