from dataclasses import replace

import pytest
from PySide6.QtCore import Qt

from studio.distillation.settings import DistillSettings
from studio.gui.editors import NumberEditor, make_editor
from studio.gui.fields import field_specs
from studio.gui.methods import QuantizeForm
from studio.models.layer import GraphWeight, Layer
from studio.recipe.settings import PruneSettings, QuantizeSettings, RankSettings


def test_field_metadata_gives_range_unit_and_scale():
    ratio = field_specs(PruneSettings)["ratio"]
    assert (ratio.low, ratio.high, ratio.below, ratio.unit, ratio.scale) == (0.0, 1.0, True, "%", 100.0)
    assert field_specs(QuantizeSettings)["weight_bits"].choices == (16, 8, 4, 3, 2)
    assert field_specs(DistillSettings)["clip_norm"].optional
    assert field_specs(PruneSettings)["kind"].labels == {"unstructured": "unstructured", "n_m": "n of every m"}


@pytest.mark.parametrize(
    ("settings", "name", "value"),
    [
        (PruneSettings, "ratio", 0.375),
        (PruneSettings, "kind", "n_m"),
        (PruneSettings, "m", 8),
        (RankSettings, "rank", 7),
        (QuantizeSettings, "granularity", "group"),
        (QuantizeSettings, "weight_bits", 4),
        (DistillSettings, "learning_rate", 0.0125),
        (DistillSettings, "clip_norm", None),
        (DistillSettings, "epochs", 12),
        (DistillSettings, "flip", True),
        (DistillSettings, "features", ("stem", "head=tail")),
    ],
)
def test_an_editor_gives_back_the_value_it_was_given_and_says_nothing(qtbot, settings, name, value):
    editor = make_editor(field_specs(settings)[name])
    qtbot.addWidget(editor)
    heard = []
    editor.edited.connect(heard.append)
    editor.set_value(value)
    assert editor.value() == value
    assert heard == []


def test_slider_and_spin_box_are_one_control(qtbot):
    editor = NumberEditor(field_specs(PruneSettings)["ratio"])
    qtbot.addWidget(editor)
    editor.set_value(0.2)
    heard = []
    editor.edited.connect(heard.append)
    editor.slider.setValue(70)
    assert editor.spin.value() == pytest.approx(70, abs=0.5)
    editor.spin.setValue(25.5)
    assert editor.slider.value() in (25, 26)
    assert heard[-1] == pytest.approx(0.255)


def test_an_excluded_bound_cannot_be_chosen(qtbot):
    editor = NumberEditor(field_specs(PruneSettings)["ratio"])
    qtbot.addWidget(editor)
    editor.spin.setValue(1000)
    assert editor.value() < 1.0
    assert PruneSettings(ratio=editor.value()).ratio == pytest.approx(0.999)


def test_a_slider_drag_is_finished_when_it_is_let_go(qtbot):
    editor = NumberEditor(field_specs(PruneSettings)["ratio"])
    qtbot.addWidget(editor)
    finished = []
    editor.finished.connect(lambda: finished.append(True))
    editor.slider.setSliderDown(True)
    editor.slider.setSliderPosition(40)
    editor.slider.setSliderPosition(50)
    assert finished == []
    editor.slider.setSliderDown(False)
    assert finished == [True]


def test_steps_by_the_arrows_are_finished_together_once_the_hand_rests(qtbot):
    editor = NumberEditor(field_specs(RankSettings)["rank"])
    qtbot.addWidget(editor)
    editor.set_range(1, 32)
    editor.set_value(5)
    said: list[object] = []
    editor.edited.connect(said.append)
    editor.finished.connect(lambda: said.append("finished"))
    with qtbot.waitSignal(editor.finished):
        editor.spin.stepUp()
        editor.spin.stepUp()
    assert said == [6, 7, "finished"]


@pytest.mark.parametrize(("typed", "becomes"), [("48", 32), ("7", 7), ("0", 1), ("12345", 32)])
def test_a_number_out_of_range_is_typed_to_its_end_and_becomes_the_nearest(qtbot, typed, becomes):
    editor = NumberEditor(field_specs(RankSettings)["rank"])
    qtbot.addWidget(editor)
    editor.set_range(1, 32)
    editor.set_value(20)
    heard = []
    editor.edited.connect(heard.append)
    editor.spin.selectAll()
    qtbot.keyClicks(editor.spin, typed)
    assert editor.spin.text() == typed
    assert heard == []
    qtbot.keyClick(editor.spin, Qt.Key.Key_Return)
    assert editor.value() == becomes
    assert heard == [becomes]


def test_a_share_out_of_range_becomes_the_nearest_too(qtbot):
    editor = NumberEditor(field_specs(RankSettings)["parameters"])
    qtbot.addWidget(editor)
    editor.spin.selectAll()
    qtbot.keyClicks(editor.spin, "250")
    qtbot.keyClick(editor.spin, Qt.Key.Key_Return)
    assert editor.value() == 1.0


def test_a_switch_and_a_line_of_words_tell_what_the_user_does(qtbot):
    switch, words = (make_editor(field_specs(DistillSettings)[name]) for name in ("flip", "features"))
    heard = []
    for editor in (switch, words):
        qtbot.addWidget(editor)
        editor.edited.connect(heard.append)
    switch.box.click()
    qtbot.keyClicks(words.line, "a, b,")
    assert heard[0] is True
    assert heard[-1] == ("a", "b")


def test_an_optional_number_starts_at_a_sensible_value(qtbot):
    editor = make_editor(field_specs(DistillSettings)["patience"])
    qtbot.addWidget(editor)
    editor.set_value(None)
    assert editor.value() is None
    editor.switch.click()
    assert editor.value() == 3


def test_what_a_graph_that_stays_as_it_was_cannot_hold_is_out_of_reach_with_the_reason(qtbot):
    held = GraphWeight("w", "w", 2060, turned=True, opset=11, owned=False)
    layer = Layer("head", "linear", (16, 32), 1, False, 512, 2048, 0, dtype="F32", held=held)
    form = QuantizeForm()
    qtbot.addWidget(form)
    form.show_settings(QuantizeSettings(weight_bits=4, granularity="group"), [layer])
    box = form.editors["product"].box
    assert [box.model().item(index).isEnabled() for index in range(3)] == [True, False, False]
    why = "MatMulNBits is not written into such a graph: leave the product portable."
    assert box.itemData(1, Qt.ItemDataRole.ToolTipRole) == why
    assert box.itemData(1, Qt.ItemDataRole.AccessibleTextRole) == f"ONNX RT, exact: {why}"
    form.show_settings(QuantizeSettings(weight_bits=4, granularity="group"), [replace(layer, held=None)])
    assert all(box.model().item(index).isEnabled() for index in range(3))
