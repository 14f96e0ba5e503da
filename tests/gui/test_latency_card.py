from dataclasses import replace

import pytest
from PySide6.QtGui import QAction

from studio.engine.requests import MeasureLatency
from studio.export.latency import LatencySettings, Ratio
from studio.gui.latency_card import LatencyCard, LatencyDialog, why_slower
from studio.gui.layer_model import LayerModel
from studio.gui.text import faster_text, milliseconds_text
from studio.gui.variants_panel import VariantModel
from studio.recipe.settings import PruneSettings, QuantizeSettings
from tests.gui.conftest import latency


@pytest.fixture
def card(opened, qtbot):
    made = LatencyCard(opened, QAction("Measure latency"))
    qtbot.addWidget(made)
    return made


def shown(card):
    return card.value.text(), card.detail.text()


def test_the_card_tells_a_measured_latency_and_what_an_edit_makes_of_it(card, opened):
    assert shown(card) == ("not measured", "1 thread, batch 1")
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    opened.measure_latency()
    assert shown(card) == ("1.00 ms → 500 µs", "2.00× faster  ·  1 thread, batch 1")
    assert card.toolTip().splitlines()[0] == "Now 500 µs (490 µs … 510 µs), 900 runs"
    assert card.value.property("tone") == ""
    opened.edit_layers(["stem"], "Prune", prune=PruneSettings(ratio=0.5))
    assert shown(card) == ("1.00 ms → 500 µs", "before this edit")
    assert card.value.property("tone") == "stale"


def test_a_smaller_model_that_takes_longer_says_why_and_what_helps(opened):
    slow = replace(latency(), faster=Ratio(0.5, 0.4, 0.6))
    opened.edit_layers(["head", "block1.conv1"], "Quantize", quantize=QuantizeSettings())
    why = why_slower(slow, opened.project)
    assert why.startswith("Slower: the integers of 2 layers are turned back into floats at every run.")
    assert why.endswith("With 8-bit weights and 8-bit activations they run in integers.")
    assert why_slower(latency(), opened.project) == ""
    opened.edit_layers(["head", "block1.conv1"], "Quantize", quantize=QuantizeSettings(activation_bits=8))
    assert why_slower(slow, opened.project) == ""


def test_the_link_beside_the_caption_is_short_and_named_in_full_for_who_does_not_see_it(card):
    assert card.measure.text() == "Measure"
    assert card.measure.accessibleName() == "Measure latency"


def test_the_table_tells_where_the_time_goes_as_long_as_it_is_that_of_now(opened):
    model = LayerModel(opened)
    time, share = (model.column(title) for title in ("Time", "Time, %"))
    assert not model.has_times
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    opened.measure_latency()
    row = model.row("stem")
    assert (model.index(row, time).data(), model.index(row, share).data()) == ("150 µs", "30.0 %")
    opened.edit_layers(["stem"], "Prune", prune=PruneSettings(ratio=0.5))
    assert (model.index(row, time).data(), model.index(row, share).data()) == ("", "")
    assert model.has_times


def test_variants_carry_their_latency(opened):
    model = VariantModel(opened.variants, opened.latencies)
    assert model.index(0, 4).data() == "–"
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    opened.keep_variant("Half")
    opened.measure_latency()
    assert [model.index(row, 4).data() for row in (0, 1)] == ["1.00 ms", "500 µs"]


def test_the_dialog_hands_on_threads_and_batch(qapp, opened, engine):
    dialog = LatencyDialog(LatencySettings(), opened.measure_latency)
    dialog.fields["batch"].setValue(16)
    dialog.accept()
    asked = [request for request in engine.asked if isinstance(request, MeasureLatency)]
    assert [request.settings for request in asked] == [LatencySettings(batch=16)]
    assert opened.preferences.latency.batch == 16


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [(0.0041, "4.1 µs"), (0.512, "512 µs"), (12.34, "12.3 ms"), (123.4, "123 ms"), (1250.0, "1.25 s")],
)
def test_times_have_three_digits(milliseconds, text):
    assert milliseconds_text(milliseconds) == text


def test_a_ratio_whose_interval_holds_one_is_no_difference():
    assert latency().faster == Ratio(2.0, 1.9, 2.1)
    assert faster_text(Ratio(1.02, 0.97, 1.05)) == "equally fast"
    assert faster_text(Ratio(0.5, 0.4, 0.6)) == "2.00× slower"
