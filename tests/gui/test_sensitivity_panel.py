"""The page of a layer's sensitivity: a scan that starts here, its curves, and its points as settings to choose."""

import pytest

from studio.evaluation.sensitivity import save_scan
from studio.gui.layer_model import HEAT_ROLE, LayerModel
from studio.gui.layer_table import LayerTable
from studio.gui.selection import Selection
from studio.gui.sensitivity_panel import SensitivityPanel, changes_of, curves_of, point_text
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.search.target import Target
from tests.gui.conftest import scan_point, scan_points


@pytest.fixture
def selection():
    return Selection()


@pytest.fixture
def panel(with_files, selection, theme, qtbot):
    made = SensitivityPanel(with_files, selection, theme)
    qtbot.addWidget(made)
    made.show()
    selection.select(("head",))
    return made


def test_without_a_model_it_says_why_nothing_can_be_scanned(session, selection, theme, qtbot):
    panel = SensitivityPanel(session, selection, theme)
    qtbot.addWidget(panel)
    panel.show()
    assert not panel.start.isEnabled()
    assert panel.start.toolTip() == "Open a model first."


def test_a_missing_data_file_is_one_line(opened, selection, theme, qtbot):
    panel = SensitivityPanel(opened, selection, theme)
    qtbot.addWidget(panel)
    panel.start.click()
    assert panel._state.text() == "digits_test.data.yaml: no such file or directory."


def test_a_scan_draws_the_curves_of_the_layer_in_focus(panel, selection, drawn):
    panel.start.click()
    drawn()
    assert [curve.method for curve in panel.curves] == ["quantize", "prune"]
    x, y = panel._lines["quantize"].getData()
    assert list(x) == [0, 1]
    assert list(y) == [0, -0.25]  # 8 bit first, and downwards is worse
    assert list(panel._lines["prune"].getData()[0]) == pytest.approx([2.6])
    assert panel._state.text() == "4 points of 2 layers, each compressed alone"
    selection.select(("stem",))
    assert [curve.method for curve in panel.curves] == ["quantize"]
    drawn()
    assert list(panel._lines["quantize"].getData()[1]) == [-1.5]
    selection.select(("block1.conv1",))
    assert panel._hint.text() == "Nothing of this layer has been measured yet."


def test_an_edit_moves_the_mark_and_leaves_the_curves_undrawn(panel, with_files, drawn):
    panel.start.click()
    drawn()
    line, mark = panel._lines["prune"], panel.marks["prune"]
    changed: list[object] = []
    line.sigPlotChanged.connect(changed.append)
    with_files.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert (mark.isVisible(), mark.value()) == (True, pytest.approx(2.6))
    drawn()
    assert not changed


def test_what_happens_out_of_sight_is_shown_when_the_page_is_seen_again(panel, selection, drawn):
    panel.start.click()
    drawn()
    panel.hide()
    selection.select(("stem",))
    assert [curve.method for curve in panel.curves] == ["quantize", "prune"]  # those of the layer before
    panel.show()
    assert [curve.method for curve in panel.curves] == ["quantize"]


def test_a_click_on_a_point_chooses_its_setting_as_one_step(panel, with_files, drawn):
    panel.start.click()
    drawn()
    line = panel._lines["prune"]
    line.sigPointsClicked.emit(line, line.scatter.points(), None)
    project = with_files.project
    assert project.settings("head").prune == PruneSettings(ratio=0.5)
    assert project.history.undo_label == "Set sparsity of head to 50 %"
    assert panel.marks["prune"].isVisible()
    assert panel.marks["prune"].value() == pytest.approx(2.6)
    assert not panel.marks["quantize"].isVisible()
    with_files.undo()
    assert not panel.marks["prune"].isVisible()


def test_a_scan_in_progress_can_be_cancelled_and_keeps_its_points(panel, engine):
    engine.hold = True
    panel.start.click()
    assert not panel.start.isEnabled()
    assert panel.start.toolTip() == "A scan is running."
    panel.cancel.click()
    assert panel._state.text() == "cancelled"
    assert panel.start.isEnabled()
    assert len(panel.curves) == 2


def test_a_scan_that_a_search_makes_is_drawn_as_its_points_come(panel, with_files, engine):
    engine.hold = True
    job = with_files.searches.start(with_files.project, Target("size", 0.5))
    assert not panel.curves
    assert panel.start.toolTip() == "A search is running."
    engine.publish(scan_points()[2])
    assert [curve.method for curve in panel.curves] == ["prune"]
    assert with_files.scans.worst == {"head": 3.0}
    assert not panel.cancel.isEnabled()
    assert panel.cancel.toolTip() == "A search is cancelled in its own window, or under Jobs."
    with_files.jobs.cancel(job)
    assert panel.start.isEnabled()
    assert panel._state.text() == "1 point of 1 layer, each compressed alone"


def test_a_scan_that_was_kept_is_drawn_when_the_model_opens_again(panel, with_files, selection, tmp_path):
    with_files.scan()
    save_scan(with_files.scans.scan, with_files.scans.file_of(with_files.project))
    test, train = (str(tmp_path / f"{name}.data.yaml") for name in ("test", "train"))
    with_files.open_model("/models/digits.onnx", test=test, train=train)
    selection.select(("head",))
    assert [curve.method for curve in panel.curves] == ["quantize", "prune"]


def test_a_layer_shows_the_channels_that_it_loses_with_others(panel, with_files, selection, engine):
    engine.hold = True
    with_files.scan()
    quarter = LayerSettings(channels=ChannelSettings(ratio=0.25))
    point = scan_point("stem", "channels", "25 %", quarter, 6.0)
    engine.publish(point)
    selection.select(("block1.conv2",))
    assert [(curve.method, curve.points) for curve in panel.curves] == [("channels", (point,))]
    assert with_files.scans.worst["stem"] == 1.5  # channels are no single layer's
    panel.choose(point)
    project = with_files.project
    assert [project.settings(name).channels for name in ("stem", "block1.conv2")] == [quarter.channels] * 2
    assert project.history.undo_label == "Set channels removed of stem to 25 %"
    assert panel.marks["channels"].isVisible()


def test_the_table_shows_which_layers_mind_most(with_files, theme, qtbot):
    model = LayerModel(with_files)
    table = LayerTable(model, Selection(), theme)
    qtbot.addWidget(table)
    column = model.column("Alone")
    assert table.view.isColumnHidden(column)
    with_files.scan()
    assert not table.view.isColumnHidden(column)
    cells = {name: model.index(model.row(name), column) for name in ("head", "stem", "block1.conv1")}
    assert [cell.data() for cell in cells.values()] == ["−3.00", "−1.50", ""]
    assert [cell.data(HEAT_ROLE) for cell in cells.values()] == [1.0, 0.5, None]


def test_a_setting_stands_between_the_points_or_just_outside():
    drops = {30: 0.1, 50: 0.4, 70: 2.0}
    points = tuple(
        scan_point("head", "prune", f"{percent} %", LayerSettings(prune=PruneSettings(ratio=percent / 100)), drop)
        for percent, drop in drops.items()
    )
    (curve,) = curves_of(points[::-1])
    assert [point.drop for point in curve.points] == [0.1, 0.4, 2.0]
    places = [curve.place_of(LayerSettings(prune=PruneSettings(ratio=ratio))) for ratio in (0.5, 0.6, 0.9, 0.1)]
    assert places == pytest.approx([1.0, 1.5, 2.4, -0.4])
    assert curve.place_of(LayerSettings(prune=PruneSettings(kind="n_m", n=2, m=4))) is None
    assert curve.place_of(LayerSettings(quantize=QuantizeSettings())) is None


def test_a_rank_chosen_by_another_number_has_no_place():
    settings = LayerSettings(rank=RankSettings(parameters=0.5))
    (curve,) = curves_of((scan_point("head", "rank", "50 %", settings, 1.0),))
    assert curve.place_of(settings) == 0.0
    assert curve.place_of(LayerSettings(rank=RankSettings(rank=4))) is None


def test_a_point_tells_its_change_with_interval_and_samples():
    assert point_text(scan_points()[2]) == "50 %: −3.00 points (−3.50 … −2.50), 128 samples"


def test_a_loss_of_perplexity_is_a_rise():
    point = scan_points()[2].model_copy(update={"metric": "perplexity"})
    assert point_text(point) == "50 %: +3 (+2.5 … +3.5), 128 samples"
    assert changes_of(point) == (3.0, 2.5, 3.5)


def rounded(activation_bits: int | None = 8, **weights: object) -> LayerSettings:
    """What a layer reads and gives rounded, its weights as `weights` say."""
    chosen = {"weight_bits": 16, "activation_bits": activation_bits, **weights}
    return LayerSettings(quantize=QuantizeSettings.model_validate(chosen))


def test_activations_alone_are_a_curve_and_a_choice_beside_the_bits_of_the_weights(panel, with_files):
    weights, alone = rounded(None, weight_bits=4), rounded()
    points = (
        scan_point("head", "quantize", "4 bit", weights, 0.2),
        scan_point("head", "activations", "8 bit", alone, 2),
    )
    assert [(curve.method, curve.places) for curve in curves_of(points)] == [
        ("quantize", (0,)),
        ("activations", (1.6,)),
    ]
    panel.choose(points[1])
    assert with_files.project.settings("head").quantize == alone.quantize
    panel.choose(points[0])
    assert with_files.project.settings("head").quantize == rounded(8, weight_bits=4).quantize
    panel.choose(points[1])
    assert with_files.project.settings("head").quantize == rounded(8, weight_bits=4).quantize
    assert with_files.project.history.undo_label == "Set bits of weights of head to 4 bit"


def test_names_of_settings_share_two_lines_where_one_is_too_narrow(panel, drawn, qtbot):
    panel.resize(900, 400)
    panel.show()
    panel.start.click()
    drawn()
    assert [name for _, name in panel._ticks] == ["8 bit", "4 bit", "50 %"]
    panel._plot.widget.setFixedWidth(170)
    qtbot.waitUntil(lambda: [name for _, name in panel._ticks] == ["8 bit", "\n4 bit", "50 %"])
