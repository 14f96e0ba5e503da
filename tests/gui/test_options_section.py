import pytest

from studio.gui.options_section import OptionsSection
from studio.gui.remarks import Remarks


@pytest.fixture
def section(opened, theme, qtbot):
    made = OptionsSection(opened)
    qtbot.addWidget(made)
    made.show()
    made.fold.click()
    return made


def test_every_option_of_a_recipe_has_its_editor_which_shows_what_holds(section, opened):
    options = opened.project.recipe.options
    assert {name: editor.value() for name, editor in section.editors.items()} == options.model_dump()
    assert section.summary.text() == "fitted in sequence"


def test_the_options_are_folded_away_until_asked_for(section):
    assert section.editors["fit"].isVisible()
    section.fold.click()
    assert not section.editors["fit"].isVisible()
    assert section.summary.isVisible()


def test_an_edit_is_one_step_that_undo_takes_back(section, opened):
    section.editors["fit"].box.setCurrentText("each layer alone")
    assert opened.project.recipe.options.fit == "layer"
    assert opened.project.history.undo_label == "Set fit"
    assert section.summary.text() == "each layer fitted alone"
    opened.undo()
    assert section.editors["fit"].value() == "sequential"


def test_a_number_stepped_up_several_times_is_one_step_until_the_hand_lets_go(section, opened):
    steps = len(opened.project.history.steps)
    for _ in range(3):
        section.editors["calibration_samples"].spin.stepUp()
    section.editors["calibration_samples"].spin.editingFinished.emit()
    assert opened.project.recipe.options.calibration_samples == 515
    assert len(opened.project.history.steps) == steps + 1


def test_what_fits_to_data_is_unavailable_without_it_and_says_why(section, opened):
    section.editors["data_aware"].box.click()
    assert not opened.project.recipe.options.data_aware
    assert section.editors["data_aware"].isEnabled()
    assert not section.editors["bias_correction"].isEnabled()
    assert "Only with “Fit to data”." in section.reasons.text()
    assert section.editors["bias_correction"].toolTip() == "Only with “Fit to data”."


def test_without_data_the_panel_says_what_to_choose(section, session):
    session.open_model("/models/other.onnx")
    assert not section.editors["data_aware"].isEnabled()
    assert "No data to fit to" in section.reasons.text()
    assert section.summary.text() == "not fitted to data"


def test_more_samples_than_there_are_and_data_that_measures_too_are_remarked_on(section, session):
    session.open_model("/models/other.onnx", test="digits_test.data.yaml")
    section.editors["calibration_samples"].spin.setValue(2000)
    assert section.remarks.text().splitlines() == [
        "Without training data the test data is fitted to, which then measures too favourably.",
        "The data has 1,000 samples, which are all used.",
    ]


def test_trained_weights_keep_their_norms(section, opened):
    assert section.editors["norm_recalibration"].isEnabled()
    opened.apply_variant(opened.variants.add("Trained", type(opened.project.history.state)(weights="/w"), 1, None))
    assert not section.editors["norm_recalibration"].isEnabled()
    assert "Norm recalibration: trained weights keep the norms" in section.reasons.text()


def test_of_several_remarks_the_first_is_in_sight_and_the_rest_on_demand(theme, qtbot):
    remarks = Remarks("Remarks")
    qtbot.addWidget(remarks)
    remarks.show_remarks(["zeros are stored", "a row is short", "zeros are stored"])
    assert remarks.shown.text() == "Zeros are stored"
    assert remarks.fold.text() == "1 more remark"
    remarks.fold.click()
    assert remarks.shown.text() == "• Zeros are stored\n• A row is short"
    assert remarks.text() == "Zeros are stored\nA row is short"
    remarks.show_remarks([])
    assert remarks.isHidden()


def test_a_long_remark_is_cut_between_two_words_until_asked_for(theme, qtbot):
    remarks = Remarks("Remarks")
    qtbot.addWidget(remarks)
    remarks.show_remarks(["together with: " + ", ".join(f"stage1.{i}.conv2" for i in range(9))])
    assert remarks.shown.text().endswith("stage1.3.conv2 …")
    assert remarks.fold.isVisibleTo(remarks)
    remarks.fold.click()
    assert remarks.shown.text().endswith("stage1.8.conv2")
