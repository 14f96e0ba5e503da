import pytest
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QPaintEvent
from PySide6.QtTest import QAbstractItemModelTester

from studio.engine.requests import Preview
from studio.evaluation.sensitivity import Scan
from studio.gui.layer_model import LayerModel
from studio.gui.layer_table import LayerTable
from studio.gui.selection import Selection
from studio.gui.theme import Scheme
from studio.recipe.settings import PruneSettings, QuantizeSettings
from tests.gui.conftest import scan_points


def cell(table: LayerTable, row: int, title: str) -> str:
    model = table.filter
    return str(model.index(row, table._model.column(title)).data())


def test_the_model_keeps_the_rules_of_item_models(opened, qtmodeltester):
    model = LayerModel(opened)
    qtmodeltester.check(model)
    tester = QAbstractItemModelTester(model, QAbstractItemModelTester.FailureReportingMode.Fatal)
    opened.edit_layers(["head"], "Quantize head", quantize=QuantizeSettings())
    assert tester.model() is model


def test_an_edit_shows_in_its_row_and_nowhere_else(opened, theme, qtbot):
    table = LayerTable(LayerModel(opened), Selection(), theme)
    qtbot.addWidget(table)
    opened.edit_layers(["block1.conv1"], "Prune", prune=PruneSettings(ratio=0.5))
    assert [cell(table, row, "Settings") for row in range(5)] == ["", "50 %", "", "", ""]


def test_the_drop_column_is_left_out_until_a_drop_is_known(session, theme, qtbot):
    table = LayerTable(LayerModel(session), Selection(), theme)
    qtbot.addWidget(table)
    session.open_model("/models/digits.onnx")
    column = table._model.column("Change")
    assert table.view.isColumnHidden(column)
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    assert not table.view.isColumnHidden(column)
    assert cell(table, 4, "Change") == "−0.80"


def test_sorting_by_share_puts_the_largest_layer_first(opened, theme, qtbot):
    table = LayerTable(LayerModel(opened), Selection(), theme)
    qtbot.addWidget(table)
    table.view.sortByColumn(table._model.column("Share"), Qt.SortOrder.DescendingOrder)
    assert cell(table, 0, "Layer") == "block2.conv1"


def test_filters_keep_matching_names_and_kinds(opened, theme, qtbot):
    table = LayerTable(LayerModel(opened), Selection(), theme)
    qtbot.addWidget(table)
    qtbot.keyClicks(table.search, "BLOCK1")
    assert table.filter.rowCount() == 2
    table.search.clear()
    table.kind.setCurrentIndex(table.kind.findData("linear"))
    assert [cell(table, row, "Layer") for row in range(table.filter.rowCount())] == ["head"]


def test_rows_and_the_windows_selection_follow_each_other(opened, theme, qtbot):
    selection = Selection()
    table = LayerTable(LayerModel(opened), selection, theme)
    qtbot.addWidget(table)
    table.view.selectRow(3)
    assert selection.names == ("block2.conv1",)
    heard = []
    selection.changed.connect(lambda: heard.append(selection.names))
    selection.select(("head", "stem"))
    assert {index.row() for index in table.view.selectionModel().selectedRows()} == {0, 4}
    assert heard == [("head", "stem")]


class Painted(QObject):
    """Notes what of a widget is painted."""

    def __init__(self) -> None:
        super().__init__()
        self.heights: list[int] = []

    def eventFilter(self, _watched: QObject, event: QEvent) -> bool:
        """Notes the height that a painting covers."""
        if isinstance(event, QPaintEvent):
            self.heights.append(event.rect().height())
        return False


@pytest.mark.parametrize("again", [False, True], ids=["as opened", "after a change of theme"])
def test_scrolling_paints_only_what_comes_into_sight(opened, theme, qtbot, again):
    table = LayerTable(LayerModel(opened), Selection(), theme)
    qtbot.addWidget(table)
    table.resize(400, 240)
    with qtbot.waitExposed(table):
        table.show()
    if again:
        theme.choose(Scheme.DARK)
    painted, bar = Painted(), table.view.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    table.view.viewport().repaint()
    table.view.viewport().installEventFilter(painted)
    bar.setValue(1)
    qtbot.waitUntil(lambda: bool(painted.heights))
    row = table.view.verticalHeader().defaultSectionSize()
    assert max(painted.heights) <= row < table.view.viewport().height()


def test_the_tooltip_gives_the_reason_for_what_cannot_be_done(opened, theme, qtbot):
    model = LayerModel(opened)
    tip = model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    assert "rank: A single input channel has no rank to cut." in tip


def test_until_a_change_is_measured_the_scan_s_prediction_stands_there_in_another_style(opened, engine):
    opened.scans.scan = Scan(key="", points=tuple(scan_points()))
    model = LayerModel(opened)
    change = model.index(model.row("head"), model.column("Change"))
    engine.leaves = (Preview,)
    opened.edit_layers(["head"], "Quantize", quantize=QuantizeSettings(weight_bits=4))
    assert change.data() == "≈ −0.25"
    assert change.data(Qt.ItemDataRole.FontRole).italic()
    engine.leaves = ()
    opened.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert change.data() == "−0.80"
    assert change.data(Qt.ItemDataRole.FontRole) is None
