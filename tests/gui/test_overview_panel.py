"""The first page of an open model."""

import pytest

from studio.engine.requests import FindHarmless, ScanLayers
from studio.evaluation.candidates import METHODS
from studio.evaluation.feasibility import Feasibility
from studio.gui.overview_panel import refused_text
from studio.recipe.settings import LayerSettings, QuantizeSettings
from tests.gui.conftest import TINY


@pytest.fixture
def panel(window, session):
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    return window.overview


def test_an_opened_model_shows_first_what_each_method_could_save(panel, window):
    assert window.tabs.currentWidget() is panel
    assert list(panel.cards) == list(METHODS)
    bits, zeros, rank, channels = panel.cards.values()
    assert bits.saving.text().startswith("−")
    assert "8 bits in 4. Possible in all 5 layers." in bits.told.text()
    assert zeros.saving.text() == "Nothing at no expected loss"
    assert not zeros.take.isEnabled()
    assert "MACs" in rank.saving.text()
    assert rank.refused.text() == f"Not in stem: {TINY}"
    assert channels.told.text().startswith("25.0 % of the channels in 1.")


def test_try_takes_a_card_as_one_step_which_is_measured(panel, session):
    panel.cards["quantize"].take.click()
    assert [layer.name for layer in session.project.changed_layers()] == [
        "stem", "block1.conv1", "block1.conv2", "block2.conv1",
    ]  # fmt: skip
    assert session.preview.result.metric.value == 97.6
    session.undo()
    assert not session.project.changed_layers()


def test_a_card_that_would_change_nothing_says_that_it_is_taken_until_its_step_is_undone(panel, session):
    bits = panel.cards["quantize"]
    bits.take.click()
    assert bits.take.text() == "Taken"
    assert not bits.take.isEnabled()
    assert bits.take.toolTip() == "All its layers have such settings or stronger ones, or are kept or locked."
    assert panel.cards["channels"].take.isEnabled()
    session.undo()
    assert bits.take.text() == "Try"
    assert bits.take.isEnabled()


def test_a_card_offers_nothing_weaker_than_what_is_set(panel, session):
    four = QuantizeSettings.model_validate({"weight_bits": 4})
    session.edit_layers([layer.name for layer in session.project.info.layers], "Quantize", quantize=four)
    bits = panel.cards["quantize"]
    assert (bits.take.text(), bits.saving.property("tone")) == ("Taken", "stale")
    assert bits.told.text().startswith("Your settings go as far as this or further")


def test_next_to_nothing_is_no_saving(panel, session):
    info = session.project.info
    little = Feasibility("rank", ("head",), {}, {"head": LayerSettings()}, bytes_saved=info.bytes // 5000, macs_saved=0)
    card = panel.cards["rank"]
    card.show_found(little, info, looking=False, taken=False)
    assert card.saving.text() == "Next to nothing: −7 B (under 0.1 %)"
    assert card.saving.property("tone") == "stale"


def test_channels_are_taken_from_all_layers_of_the_group(panel, session):
    panel.cards["channels"].take.click()
    shares = {name: session.project.settings(name).channels for name in ("stem", "block1.conv2")}
    assert [share.ratio for share in shares.values()] == [0.25, 0.25]


def test_the_layers_of_a_card_are_selected_and_a_click_on_one_shows_it(panel, window):
    panel.cards["rank"].layers.click()
    assert window.selection.names == ("block2.conv1",)
    assert window.tabs.currentWidget() is panel
    window.layers.view.clicked.emit(window.layers.view.currentIndex())
    assert window.tabs.currentWidget() is window.layer


def test_a_scan_begins_where_its_curves_come_and_its_figures_count_from_then_on(panel, window, session, engine):
    session.open_model("/models/digits.onnx")
    panel.scanned.click()
    assert window.tabs.currentWidget() is window.sensitivity
    assert any(isinstance(asked, ScanLayers) for asked in engine.asked)
    window.tabs.setCurrentWidget(panel)
    assert panel.cards["quantize"].saving.text().startswith("−920 B (2.3 %)")  # of the points that cost nothing
    assert "a scan has measured" in panel._basis.text()


def test_until_the_weights_are_looked_at_the_cards_say_so(window, session, engine):
    engine.leaves = (FindHarmless,)
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml")
    assert window.overview.cards["rank"].saving.text() == "Looking at the weights …"
    assert not window.overview.cards["rank"].take.isEnabled()


def test_reasons_are_told_once_with_the_layers_they_hold_for():
    refused = {**dict.fromkeys(["a", "b", "c", "d", "e"], "too thin"), "f": "runs twice."}
    assert refused_text(refused) == "Not in a, b, c and 2 more: too thin.\nNot in f: runs twice."
