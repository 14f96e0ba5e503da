from dataclasses import replace
from math import log10

import numpy as np
import pytest

from studio.analysis.views import Spectrum
from studio.engine.requests import ViewSpectrum, ViewWeights
from studio.gui.layer_panel import LayerPanel
from studio.gui.plots import bar_length, log_count_ticks, log_counts, log_ticks
from studio.gui.selection import Selection
from studio.gui.spectrum_panel import rank_text
from studio.gui.weights_panel import change_text, statistics_text
from studio.recipe.settings import PruneSettings, QuantizeSettings, RankSettings
from tests.gui import conftest
from tests.gui.conftest import weight_view


@pytest.fixture
def selection():
    return Selection()


@pytest.fixture
def panel(opened, selection, theme, qtbot, drawn):
    made = LayerPanel(opened, selection, theme)
    qtbot.addWidget(made)
    made.show()
    selection.select(("block1.conv1",))
    drawn()
    return made


def drag(line, rank):
    """Moves the line as the mouse does; the drag goes on until the line reports its end."""
    line.setValue(rank)
    line.sigDragged.emit(line)


def test_selecting_a_layer_shows_its_histogram_and_its_singular_values(panel):
    edges, heights = panel.weights.original.getData()
    assert (len(edges), len(heights)) == (62, 61)
    ranks, values = panel.spectrum.values.getOriginalDataset()
    assert (ranks[0], ranks[-1], values[0]) == (1, 16, 3.0)
    assert panel.spectrum.break_even.value() == pytest.approx(16 * 144 / 160)


def test_an_edit_draws_the_compressed_weights_over_the_original(panel, opened):
    assert not panel.weights.compressed.isVisible()
    opened.edit_layers(["block1.conv1"], "Quantize", quantize=QuantizeSettings())
    assert panel.weights.compressed.isVisible()


def test_an_edit_of_another_layer_asks_for_nothing(panel, opened, engine):
    before = sum(isinstance(request, ViewWeights) for request in engine.asked)
    opened.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    assert sum(isinstance(request, ViewWeights) for request in engine.asked) == before


def test_the_histogram_of_a_drag_is_asked_for_now_and_then_and_at_last_of_the_last_value(panel, opened, engine, qtbot):
    def asked() -> list[float]:
        views = [request for request in engine.asked if isinstance(request, ViewWeights)]
        return [view.source.recipe.layers["block1.conv1"].prune.ratio for view in views[before:]]

    before = sum(isinstance(request, ViewWeights) for request in engine.asked)
    for ratio in (0.3, 0.4, 0.5):
        opened.edit_layers(["block1.conv1"], "Prune", merge="ratio", prune=PruneSettings(ratio=ratio))
    assert asked() == [0.3]
    qtbot.waitUntil(lambda: len(asked()) == 2)
    assert asked() == [0.3, 0.5]


def test_dragging_the_rank_line_is_one_step_with_the_last_rank(panel, opened):
    steps = len(opened.project.history.steps)
    panel.spectrum.rank_line.moving = True
    for rank in (12.2, 9.0, 6.8):
        drag(panel.spectrum.rank_line, rank)
    panel.spectrum.rank_line.moving = False
    panel.spectrum.rank_line.sigPositionChangeFinished.emit(panel.spectrum.rank_line)
    assert opened.project.settings("block1.conv1").rank == RankSettings(rank=7)
    assert len(opened.project.history.steps) == steps + 1
    assert panel.spectrum.rank_line.value() == 7
    opened.undo()
    assert panel.spectrum.rank_line.value() == 16


def test_dragging_the_line_to_the_full_rank_takes_the_cut_away(panel, opened):
    opened.edit_layers(["block1.conv1"], "Rank", rank=RankSettings(rank=3))
    drag(panel.spectrum.rank_line, 16)
    assert opened.project.settings("block1.conv1").rank is None


def test_the_line_cannot_be_moved_where_the_rank_cannot_be_cut(panel, selection, drawn):
    selection.select(("stem",))
    drawn()
    assert not panel.spectrum.rank_line.movable
    assert panel.spectrum._summary.text() == "A single input channel has no rank to cut."


def test_the_summary_of_a_rank_gives_energy_saving_and_break_even():
    spectrum = Spectrum(np.array([3.0, 4.0, 0.0])[[1, 0, 2]], 1.5)
    assert rank_text(spectrum, 1, "−2.0 kB") == "rank 1 of 3  ·  64.0 % energy  ·  −2.0 kB"
    assert rank_text(spectrum, 2, "+1.0 kB").endswith("above break-even")


def test_the_energy_beyond_the_values_that_were_computed_is_a_least_energy():
    spectrum = Spectrum(np.array([3.0, 2.0]), 1.5, rest=4, rest_energy=7.0)
    assert rank_text(spectrum, 2, "−2.0 kB").startswith("rank 2 of 6  ·  65.0 % energy")
    assert rank_text(spectrum, 4, "−1.0 kB").startswith("rank 4 of 6  ·  at least 82.5 % energy")
    assert rank_text(spectrum, 6, "+1.0 kB").startswith("rank 6 of 6  ·  100.0 % energy")


def test_a_huge_layer_shows_its_leading_values_and_computes_all_on_demand(panel, opened, engine, drawn):
    whole = opened.spectra["block1.conv1"]
    squares = whole.singular_values**2
    assert not panel.spectrum.all_values.isVisible()
    opened.spectra["block1.conv1"] = Spectrum(
        whole.singular_values[:5], whole.break_even_rank, rest=11, rest_energy=float(squares[5:].sum())
    )
    opened.edit_layers(["block1.conv1"], "Rank", rank=RankSettings(rank=8))
    assert panel.spectrum.values.getOriginalDataset()[0][-1] == 5
    assert panel.spectrum.energy.getOriginalDataset()[0][-1] == 5
    ranks, least = panel.spectrum.least_energy.getOriginalDataset()
    assert (ranks[0], ranks[-1], least[-1]) == (5, 16, pytest.approx(100))
    assert (panel.spectrum.last_found.value(), panel.spectrum.rank_line.value()) == (5, 8)
    panel.spectrum.all_values.click()
    assert engine.asked[-1].reach == 1.0
    drawn()
    assert panel.spectrum.values.getOriginalDataset()[0][-1] == 16
    assert not panel.spectrum.all_values.isVisible()


def test_what_the_models_outputs_will_feel_is_told_as_an_expectation():
    whole, narrow = change_text(replace(weight_view(True), model_error=0.012))
    assert whole == "SQNR 21.4 dB  ·  output error 8.3 %  ·  model ≈ 1.2 % (expected)"
    assert narrow == "SQNR 21.4 dB  ·  error 8.3 %  ·  model ≈ 1.2 %"
    assert "expected" not in change_text(weight_view(True))[0]


def test_figures_of_a_layer_stand_on_two_lines_and_of_an_unchanged_one_on_one(panel, opened):
    weights = panel.weights
    assert not weights.change.isVisible()
    assert weights.statistics.text() == "range −0.6 … 0.6  ·  σ 0.2  ·  mean 0.001"
    opened.edit_layers(["block1.conv1"], "Quantize", quantize=QuantizeSettings())
    assert weights.change.isVisible()
    assert weights.change.text() == "SQNR 21.4 dB  ·  output error 8.3 %"
    assert statistics_text(weight_view(True)) == (
        "50.0 % zeros  ·  range −0.6 … 0.6  ·  σ 0.2  ·  mean 0.001",
        "50.0 % zeros  ·  range −0.6 … 0.6  ·  σ 0.2",
    )


def test_in_a_low_window_both_lines_share_one_and_its_tooltip_has_all(panel, opened):
    weights = panel.weights
    opened.edit_layers(["block1.conv1"], "Quantize", quantize=QuantizeSettings())
    weights.resize(200, 150)
    assert not weights.statistics.isVisible()
    assert weights.change.toolTip().endswith(
        "output error 8.3 %  ·  50.0 % zeros  ·  range −0.6 … 0.6  ·  σ 0.2  ·  mean 0.001"
    )
    weights.resize(200, 250)
    assert weights.statistics.isVisible()


def test_an_empty_bin_has_no_height_on_the_logarithmic_scale():
    assert log_counts(np.array([0.0, 9.0, 99.0])) == pytest.approx([0.0, 1.0, 2.0])
    assert [text for _, text in log_count_ticks(450)[0]] == ["0", "1", "10", "100"]


def test_ticks_of_a_narrow_logarithmic_axis_are_few_and_round():
    assert [text for _, text in log_ticks(-1.0, 0.35)[0]] == ["0.1", "0.2", "0.5", "1", "2"]
    assert [text for _, text in log_ticks(-3.0, 1.0)[0]] == ["0.001", "0.01", "0.1", "1", "10"]


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [(116, 159, ["120", "140"]), (90, 184, ["100", "150"]), (31000, 48800, ["35000", "40000", "45000"])],
)
def test_an_axis_never_has_a_single_tick(low: float, high: float, texts: list[str]):
    assert [text for _, text in log_ticks(log10(low), log10(high))[0]] == texts


def test_an_interval_without_bounds_has_no_bar():
    assert list(bar_length(np.array([0.5, np.inf, np.nan]))) == [0.5, 0.0, 0.0]


def test_a_layer_that_the_next_model_does_not_have_is_not_asked_for(
    panel, opened, selection, engine, monkeypatch, drawn
):
    plain = conftest.model_info()
    layers = tuple(layer for layer in plain.layers if layer.name != "block1.conv1")
    monkeypatch.setattr(conftest, "model_info", lambda path=plain.path: replace(plain, path=path, layers=layers))
    before = len(engine.asked)
    opened.open_model("/models/other.onnx")
    drawn()
    selection.select(("stem",))
    drawn()
    views = [asked for asked in engine.asked[before:] if isinstance(asked, ViewSpectrum | ViewWeights)]
    assert {view.layer for view in views} == {"stem"}
