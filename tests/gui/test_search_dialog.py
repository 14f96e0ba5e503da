"""The dialog of searches: a target, the frontier as it comes, and a point that is taken as one step."""

from dataclasses import replace
from math import log10

import pytest

from studio.engine.requests import Search
from studio.evaluation.result import Measurement
from studio.gui.frontier_plot import FrontierPlot, point_text
from studio.gui.layer_model import LayerModel
from studio.gui.main_window import MainWindow
from studio.gui.search_dialog import SearchDialog, told
from studio.gui.settings_panel import SettingsPanel
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings
from studio.search.outcome import FrontierPoint
from studio.search.target import Target


@pytest.fixture
def dialog(with_files, theme, qtbot):
    made = SearchDialog(with_files, theme)
    qtbot.addWidget(made)
    return made


def asked(engine) -> Search:
    return next(request for request in reversed(engine.asked) if isinstance(request, Search))


def test_eight_times_smaller_is_an_eighth_of_the_file(dialog, engine):
    assert dialog.amount.text() == "8.0 × smaller"
    dialog.start.click()
    assert asked(engine).target == Target("size", 0.125)
    dialog.kind.setCurrentIndex(1)
    assert dialog.amount.text() == "0.5 points"
    dialog.start.click()
    assert asked(engine).target == Target("drop", 0.5)


def test_expected_and_measured_points_are_drawn_apart(dialog):
    dialog.start.click()
    (expected,), (measured,), (alike,) = (
        list(zip(*item.getData(), strict=True))
        for item in (dialog.plot.expected, dialog.plot.measured, dialog.plot.uniform)
    )
    assert expected == pytest.approx((log10(16.0), -0.1))
    assert measured == pytest.approx((log10(8.0), -0.4))
    assert alike == pytest.approx((log10(7.9), -1.5))
    texts = [dialog.found.item(row).text() for row in range(dialog.found.count())]
    assert texts[1] == "Best:  8.0 kB   measured −0.40 ± 0.35 points"
    assert texts[2] == "16.0 kB   expected about −0.1"
    assert dialog.found.item(2).font().italic()
    assert not dialog.found.item(1).font().italic()


def test_a_hopeless_recipe_for_all_layers_alike_does_not_flatten_the_frontier(theme):
    def alike(drop: float) -> FrontierPoint:
        value = [Measurement("top1", one, one - 0.5, one + 0.5, 64) for one in (90 - drop, drop)]
        recipe = Recipe(default=LayerSettings(quantize=QuantizeSettings(weight_bits=8 if drop < 9 else 4)))
        return FrontierPoint("uniform", "", recipe, 8000, 900, 0.25, 0.01, None, *value)

    plot = FrontierPlot(theme, lambda _point: None)
    plot.show([alike(48.0), alike(2.0)], None)
    assert list(plot.uniform.getData()[1]) == [-2.0]
    assert plot._plot.item.viewRange()[1] == pytest.approx([-2.6, 0.78])


def test_a_search_for_less_arithmetic_is_drawn_along_the_operations(dialog):
    dialog.kind.setCurrentText("Less arithmetic")
    dialog.start.click()
    assert list(dialog.plot.measured.getData()[0]) == pytest.approx([log10(25.0)])
    assert dialog.plot._plot.item.getAxis("bottom").labelText == "operations, % of the original's"
    texts = [dialog.found.item(row).text() for row in range(dialog.found.count())]
    assert texts[1] == "Best:  8.0 kB   25 % of the operations   measured −0.40 ± 0.35 points"
    assert texts[2] == "16.0 kB   50 % of the operations   expected about −0.1"
    assert "8.0 kB, 25 % of the operations, measured −0.40" in dialog._state.text()


def test_the_best_recipe_is_bold_in_the_list_and_says_so(dialog, with_files):
    dialog.start.click()
    best = [dialog.found.item(row) for row in range(dialog.found.count()) if dialog.found.item(row).font().bold()]
    assert [item.text() for item in best] == ["Best:  8.0 kB   measured −0.40 ± 0.35 points"]
    assert best[0] is dialog.found.currentItem()
    assert "points. For comparison: 7.9 kB, measured −1.50" in dialog._state.text()


def test_of_recipes_tried_for_one_share_the_best_alone_is_listed(dialog, with_files):
    dialog.start.click()
    best = with_files.searches.outcome.best
    drop = Measurement("top1", 0.5, 0.2, 0.9, 64)
    worse = replace(best, recipe=Recipe(default=LayerSettings(keep=True)), drop=drop)
    lucky = replace(worse, recipe=Recipe(), drop=replace(drop, value=0.0))
    assert told([worse, best, lucky], best) == [best]
    assert told([worse, best, lucky], None) == [lucky]
    assert told([replace(worse, label="30 %"), best], best) == [replace(worse, label="30 %"), best]


def test_a_frontier_of_perplexities_counts_upwards(theme):
    recipe = Recipe()
    value = Measurement("perplexity", 2.9, 2.8, 3.0, 64)
    drop = Measurement("perplexity", 0.2, 0.1, 0.4, 64)
    measured = FrontierPoint("search", "25 %", recipe, 8000, 900, 0.25, 0.01, 0.1, value, drop)
    expected = FrontierPoint("search", "50 %", recipe, 16000, 900, 0.5, 0.001, 0.05)
    plot = FrontierPlot(theme, lambda _point: None)
    plot.show([measured, expected], measured)
    assert [list(item.getData()[1]) for item in (plot.measured, plot.expected)] == [[0.2], [0.05]]
    assert point_text(measured, "perplexity") == "8.0 kB   measured +0.20 ± 0.15"
    assert point_text(expected, "perplexity") == "16.0 kB   expected about +0.05"


def test_times_are_foreseen_or_measured_in_so_many_words():
    foreseen = FrontierPoint("search", "60 %", Recipe(), 8000, 900, 0.6, 0.01, 0.1, foreseen_ms=1.234)
    assert point_text(foreseen) == "8.0 kB   foreseen 1.23 ms   expected about −0.1"
    assert point_text(replace(foreseen, ms=1.3)) == "8.0 kB   measured 1.3 ms   expected about −0.1"


def test_a_shorter_time_is_a_share_and_says_why_it_cannot_be_had(dialog, with_files, engine):
    dialog.kind.setCurrentText("A shorter time")
    assert dialog.amount.text() == "60.0 % of the original's time"
    assert dialog.start.isEnabled()
    dialog.start.click()
    assert asked(engine).target == Target("latency", 0.6)
    info = replace(with_files.project.info, lacks={"time": "it cannot be written as ONNX"})
    project = replace(with_files.project, info=info)
    assert with_files.searches.why_not(project, "latency") == "it cannot be written as ONNX."
    assert with_files.searches.why_not(project, "size") == ""


def test_a_time_may_be_asked_for_in_milliseconds_and_begins_below_what_was_measured(dialog, with_files, engine):
    dialog.kind.setCurrentText("A time of at most")
    assert dialog.amount.text() == "1.000 ms"
    with_files.measure_latency()
    dialog.kind.setCurrentIndex(0)
    dialog.kind.setCurrentText("A time of at most")
    assert dialog.amount.text() == "0.600 ms"  # the original takes 1 ms
    dialog.start.click()
    assert asked(engine).target == Target("latency", 0.6, absolute=True)


def test_before_a_search_a_line_stands_where_recipes_will(dialog):
    assert dialog.found.count() == 0
    for placeholder in (dialog._empty, dialog.plot.empty):
        assert placeholder.isVisibleTo(dialog)
    assert not dialog.plot._plot.item.isVisible()
    dialog.start.click()
    for placeholder in (dialog._empty, dialog.plot.empty):
        assert not placeholder.isVisibleTo(dialog)
    assert dialog.plot._plot.item.isVisible()


def test_channels_may_be_left_alone_and_are_where_a_time_is_asked_for(dialog, engine):
    dialog.start.click()
    assert asked(engine).channels
    dialog.channels.click()
    dialog.start.click()
    assert not asked(engine).channels
    dialog.kind.setCurrentText("A shorter time")
    assert not dialog.channels.isEnabled()
    assert dialog.channels.toolTip().startswith("Layers are timed at their full width")


def test_what_decided_between_the_search_and_all_layers_alike_is_said(dialog, with_files):
    assert not dialog._reasons.isVisibleTo(dialog)
    dialog.start.click()
    searches = with_files.searches
    searches.outcome = replace(searches.outcome, decided_by="drop")
    searches.changed.emit()
    assert dialog._reasons.isVisibleTo(dialog)
    assert "whose intervals lie apart" in dialog._reasons.text()


def test_a_time_that_is_missed_is_said_first(dialog, with_files):
    dialog.start.click()
    searches = with_files.searches
    searches.outcome = replace(searches.outcome, late=True, best=replace(searches.outcome.best, ms=1.3))
    searches.changed.emit()
    assert dialog._state.text().startswith("Longer than the target, but the quickest found: 8.0 kB, measured 1.3 ms")


def test_a_point_is_taken_as_one_step(dialog, with_files):
    dialog.start.click()
    assert dialog.chosen is not None
    assert dialog.chosen.is_measured  # the best stands chosen
    dialog.apply.click()
    project = with_files.project
    assert project.settings("head").quantize == QuantizeSettings(weight_bits=4)
    assert project.history.undo_label == "Take the recipe found (25.0 %)"
    with_files.undo()
    assert not project.changed_layers()


def test_locked_layers_are_named_and_go_with_the_request(dialog, with_files, engine):
    with_files.searches.lock(with_files.project, ["stem", "head"], True)
    assert dialog._held.text() == "2 layers are locked or kept and stay as they are."
    dialog.start.click()
    assert asked(engine).source.recipe.locked(with_files.project.info.layers) == {"stem", "head"}
    assert with_files.project.history.undo_label == "Lock 2 layers"


def test_a_search_under_way_can_be_cancelled_and_says_why_no_other_can_begin(dialog, engine):
    engine.hold = True
    dialog.start.click()
    assert not dialog.start.isEnabled()
    assert dialog.start.toolTip() == "A search is running."
    assert dialog.found.count() == 3  # they come as they are found
    dialog.cancel.click()
    assert dialog._state.text() == "cancelled"
    assert dialog.start.isEnabled()


def test_a_lock_is_a_switch_and_shows_in_the_table(with_files, theme, qtbot):
    window = MainWindow(with_files, theme, [])
    qtbot.addWidget(window)
    window.selection.select(("head",))
    panel: SettingsPanel = window.settings
    panel.lock.click()
    model = LayerModel(with_files)
    assert model.index(model.row("head"), model.column("Settings")).data() == "locked"
    window.selection.select(("head", "stem"))
    panel.lock.click()  # from partly checked to all
    assert with_files.project.recipe.locked(with_files.project.info.layers) == {"head", "stem"}


def test_the_command_opens_the_dialog_and_a_closed_one_is_offered_again(with_files, theme, qtbot, engine):
    window = MainWindow(with_files, theme, [])
    qtbot.addWidget(window)
    window.actions_table.by_name["search"].trigger()
    dialog = window.commands.searching
    assert dialog is not None
    assert dialog.isVisible()
    dialog.close()
    dialog.start.click()
    assert not window.notice.isHidden()
    assert window.notice.message.text().startswith("The search is done. Best: 8.0 kB, measured −0.40")
    window.notice.action.click()
    assert dialog.isVisible()


def test_without_a_model_the_command_says_why(session, theme, qtbot):
    window = MainWindow(session, theme, [])
    qtbot.addWidget(window)
    action = window.actions_table.by_name["search"]
    assert not action.isEnabled()
    assert "Open a model first." in action.toolTip()


def test_a_smaller_recipe_that_is_as_good_is_marked_and_taken_with_one_click(dialog, with_files):
    dialog.start.click()
    assert not dialog.smaller.isVisibleTo(dialog)
    searches = with_files.searches
    best = searches.outcome.best
    eight = Recipe(default=LayerSettings(quantize=QuantizeSettings(weight_bits=8)))
    small = replace(best, recipe=eight, label="15.0 %", bytes=6000, spent=0.15, drop=replace(best.drop, value=0.7))
    searches.outcome = replace(searches.outcome, frontier=(small, *searches.outcome.frontier))
    searches._points[small.key] = small
    searches.changed.emit()
    assert dialog.found.item(0).text() == "As good and smaller:  6.0 kB   measured −0.70 ± 0.35 points"
    assert dialog.smaller.text() == "Take the smaller one: 6.0 kB"
    assert dialog.chosen == best  # it is offered, not chosen
    dialog.smaller.click()
    assert with_files.project.settings("head").quantize == QuantizeSettings(weight_bits=8)
    assert with_files.project.history.undo_label == "Take the recipe found (15.0 %)"
