import pytest
from PySide6.QtCore import Qt

from studio.gui.selection import Selection
from studio.gui.settings_panel import SettingsPanel
from studio.recipe.settings import ChannelSettings, PruneSettings, QuantizeSettings, RankSettings


@pytest.fixture
def selection():
    return Selection()


@pytest.fixture
def panel(opened, selection, theme, qtbot):
    made = SettingsPanel(opened, selection)
    qtbot.addWidget(made)
    made.show()
    return made


def test_without_a_selection_the_panel_says_what_to_do(panel):
    assert "Select one or more layers" in panel._detail.text()
    assert not panel.sections["prune"].isVisible()


def test_switching_a_method_on_is_one_step_that_undo_takes_back(panel, opened, selection):
    selection.select(("head",))
    panel.sections["quantize"].switch.click()
    assert opened.project.settings("head").quantize == QuantizeSettings()
    assert opened.project.history.undo_label == "Quantize head"
    opened.undo()
    assert not panel.sections["quantize"].switch.isChecked()


def test_a_slider_drag_is_one_step(panel, opened, selection):
    selection.select(("head",))
    panel.sections["prune"].switch.click()
    slider = panel.sections["prune"].form.editors["ratio"].slider
    steps = len(opened.project.history.steps)
    slider.setSliderDown(True)
    for position in (55, 60, 70):
        slider.setSliderPosition(position)
    slider.setSliderDown(False)
    assert len(opened.project.history.steps) == steps + 1
    assert opened.project.settings("head").prune.ratio == pytest.approx(0.7, abs=0.005)


def test_an_edit_applies_to_every_selected_layer_that_can_take_it(panel, opened, selection):
    selection.select(("block1.conv1", "stem"))
    panel.sections["rank"].switch.click()
    assert opened.project.settings("block1.conv1").rank is not None
    assert opened.project.settings("stem").rank is None
    assert "Applies to 1 of 2 layers." in panel.sections["rank"].notes.text()


def test_a_method_that_is_not_possible_gives_the_reason_in_sight(panel, selection):
    selection.select(("stem",))
    section = panel.sections["rank"]
    assert not section.switch.isEnabled()
    assert section.reason.isVisible()
    assert section.reason.text() == "A single input channel has no rank to cut."


def test_a_reason_stands_as_a_sentence_of_its_own(panel, opened, selection, monkeypatch):
    stem = opened.project.info.layer("stem")
    monkeypatch.setitem(stem.methods, "rank", "factors are not written into this graph")
    selection.select(("stem",))
    assert panel.sections["rank"].reason.text() == "Factors are not written into this graph."


def test_a_kept_layer_offers_nothing_else_and_says_why(panel, opened, selection):
    selection.select(("head",))
    panel.keep.click()
    assert opened.project.settings("head").keep
    assert "Kept as it is" in panel.sections["prune"].reason.text()


def test_activations_are_rounded_by_a_choice_that_brings_its_range_into_sight(panel, opened, selection):
    selection.select(("head",))
    panel.sections["quantize"].switch.click()
    editors = panel.sections["quantize"].form.editors
    assert editors["activation_bits"].box.currentText() == "float"
    assert not editors["activation_range"].isVisible()
    editors["activation_bits"].box.setCurrentText("8 bit")
    assert opened.project.settings("head").quantize.activation_bits == 8
    assert editors["activation_range"].isVisible()


def test_a_layer_whose_activations_must_stay_says_why(panel, opened, selection):
    selection.select(("stem",))
    panel.sections["quantize"].switch.click()
    section = panel.sections["quantize"]
    assert not section.form.editors["activation_bits"].isEnabled()
    assert f"No activations: {opened.project.info.layer('stem').methods['activations']}" in section.notes.text()


def test_the_group_size_shows_only_with_groups(panel, opened, selection):
    selection.select(("head",))
    panel.sections["quantize"].switch.click()
    form = panel.sections["quantize"].form
    assert not form.editors["group_size"].isVisible()
    form.editors["granularity"].box.setCurrentText("group")
    assert form.editors["group_size"].isVisible()
    assert opened.project.settings("head").quantize.granularity == "group"


def test_floats_of_16_bits_show_their_format_and_no_scales(panel, opened, selection):
    selection.select(("head",))
    panel.sections["quantize"].switch.click()
    editors = panel.sections["quantize"].form.editors
    assert not editors["float_format"].isVisible()
    editors["weight_bits"].box.setCurrentText("16 bit")
    assert [name for name in ("float_format", "granularity", "group_size") if editors[name].isVisible()] == [
        "float_format"
    ]
    editors["float_format"].box.setCurrentText("bfloat16")
    chosen = opened.project.settings("head").quantize
    assert (chosen.weight_bits, chosen.float_format) == (16, "bf16")


def test_the_product_shows_only_for_small_groups_of_linear_layers(panel, opened, selection):
    selection.select(("head",))
    panel.sections["quantize"].switch.click()
    editors = panel.sections["quantize"].form.editors
    assert not editors["product"].isVisible()
    editors["weight_bits"].box.setCurrentText("4 bit")
    editors["granularity"].box.setCurrentText("group")
    assert editors["product"].isVisible()
    editors["product"].box.setCurrentText("ONNX RT, exact")
    editors["symmetric"].box.click()
    chosen = opened.project.settings("head").quantize
    assert (chosen.product, chosen.symmetric) == ("onnxruntime", False)


def test_n_and_m_show_only_for_their_pattern(panel, opened, selection):
    selection.select(("head",))
    panel.sections["prune"].switch.click()
    editors = panel.sections["prune"].form.editors
    assert [name for name, editor in editors.items() if editor.isVisible()] == ["kind", "ratio"]
    editors["kind"].box.setCurrentText("n of every m")
    assert [name for name, editor in editors.items() if editor.isVisible()] == ["kind", "n", "m"]
    assert opened.project.settings("head").prune == PruneSettings(kind="n_m", n=2, m=4)
    editors["kind"].box.setCurrentText("unstructured")
    assert opened.project.settings("head").prune == PruneSettings(ratio=0.5)


def test_of_n_and_m_the_other_one_gives_way(panel, opened, selection):
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(kind="n_m", n=2, m=4))
    selection.select(("head",))
    editors = panel.sections["prune"].form.editors
    for name, value, expected in (("n", 6, (6, 7)), ("m", 3, (2, 3)), ("m", 2, (1, 2)), ("n", 31, (31, 32))):
        editors[name].spin.setValue(value)
        chosen = opened.project.settings("head").prune
        assert (chosen.n, chosen.m) == expected
        assert (editors["n"].value(), editors["m"].value()) == expected


def test_layers_without_neighbours_are_left_out_of_n_of_m(panel, opened, selection):
    selection.select(("stem", "head"))
    panel.sections["prune"].switch.click()
    panel.sections["prune"].form.editors["kind"].box.setCurrentText("n of every m")
    assert opened.project.settings("head").prune.kind == "n_m"
    assert opened.project.settings("stem").prune.kind == "unstructured"


def test_a_rank_may_be_chosen_by_energy(panel, opened, selection):
    selection.select(("block1.conv1",))
    opened.view_spectrum("block1.conv1")
    opened.edit_layers(["block1.conv1"], "Rank", rank=RankSettings(rank=4))
    form = panel.sections["rank"].form
    assert form.sizes["rank"].value() == 4
    form.by.setCurrentIndex(1)
    assert opened.project.settings("block1.conv1").rank == RankSettings(energy=0.9)


def test_each_method_says_what_it_saves(panel, opened, selection):
    selection.select(("block2.conv1",))
    opened.edit_layers(
        ["block2.conv1"], "Both", quantize=QuantizeSettings(weight_bits=4), prune=PruneSettings(ratio=0.5)
    )
    assert panel.sections["quantize"].saving.text().startswith("−")
    assert panel.sections["prune"].saving.text() == "no change"


def test_layers_that_differ_are_marked_as_such(panel, opened, selection):
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.2))
    opened.edit_layers(["block1.conv1"], "Prune", prune=PruneSettings(ratio=0.6))
    selection.select(("head", "block1.conv1"))
    assert "differ" in panel.sections["prune"].notes.text()


def test_keep_is_partly_checked_where_the_layers_differ_and_a_click_keeps_them_all(panel, opened, selection):
    selection.select(("stem",))
    panel.keep.click()
    selection.select(("stem", "head"))
    assert panel.keep.checkState() is Qt.CheckState.PartiallyChecked
    panel.keep.click()
    assert panel.keep.checkState() is Qt.CheckState.Checked
    assert opened.project.settings("stem").keep
    assert opened.project.settings("head").keep
    panel.keep.click()
    assert panel.keep.checkState() is Qt.CheckState.Unchecked
    assert not opened.project.settings("head").keep


def test_layers_that_lose_channels_together_are_edited_as_one(panel, opened, selection):
    selection.select(("block1.conv2",))
    section = panel.sections["channels"]
    section.switch.click()
    assert opened.project.settings("stem").channels == ChannelSettings(ratio=0.25)
    assert opened.project.settings("block1.conv2").channels == ChannelSettings(ratio=0.25)
    assert section.notes.text() == "Together with: stem."
    assert opened.cost.layers["block2.conv1"].parameters == 32 * 12 * 9 + 32
    assert section.saving.text().startswith("−")
    section.form.editors["multiple_of"].spin.setValue(8)
    assert opened.cost.layers["block2.conv1"].parameters == 32 * 16 * 9 + 32
    section.switch.click()
    assert opened.project.settings("stem").channels is None


def test_a_kept_layer_that_holds_the_channels_is_named(panel, opened, selection):
    opened.edit_layers(["block2.conv1"], "Keep", keep=True)
    selection.select(("stem",))
    panel.sections["channels"].switch.click()
    assert "All channels stay as long as block2.conv1 is kept" in panel.sections["channels"].notes.text()


def test_channels_by_the_loss_say_that_they_take_data(panel, opened, selection):
    chosen = ChannelSettings(ratio=0.25, importance="taylor")
    opened.edit_layers(["stem"], "Remove channels", channels=chosen)
    selection.select(("stem",))
    form = panel.sections["channels"].form
    assert form.editors["importance"].box.currentText() == "loss (Taylor)"
    assert "learnt from data" not in panel.sections["channels"].notes.text()
    opened.edit_options("Set fit to data", data_aware=False)
    assert "learnt from data: choose training data" in panel.sections["channels"].notes.text()
