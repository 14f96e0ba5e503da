import sys
from pathlib import Path

import pytest
from psygnal import EmitLoopError
from PySide6.QtCore import QCoreApplication, QMimeData, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider, QTableView

from studio.distillation.folder import FILE
from studio.engine.requests import OpenModel, Preview
from studio.errors import DataError, EngineStoppedError, MemoryShortError, StudioError
from studio.evaluation.sensitivity import Scan
from studio.gui.app import BUG, MainThread, data_folder, report_bugs_to
from studio.gui.commands import NO_MODEL
from studio.gui.export_report import ExportReportDialog
from studio.gui.main_window import NO_NETWORK
from studio.gui.palette import CommandPalette
from studio.gui.theme import DARK
from studio.progress import Cancelled
from studio.recipe.settings import PruneSettings, QuantizeSettings
from tests.gui.conftest import scan_points


@pytest.fixture
def at_work(window, session):
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    return window


def test_the_first_page_opens_the_sample_with_one_click(window, session, engine, digits):
    assert window._stage.currentWidget() is window.start_page
    window.start_page.sample_buttons[0].click()
    assert OpenModel(str(digits.model)) in engine.asked
    assert window._stage.currentWidget() is window.tabs
    assert window.selection.current == "stem"


def test_a_file_dropped_on_the_first_page_is_opened(window, engine, tmp_path: Path):
    path = tmp_path / "net.onnx"
    path.write_bytes(b"")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    zone = window.start_page.drop_zone
    buttons, keys = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    zone.dropEvent(QDropEvent(QPointF(5, 5), Qt.DropAction.CopyAction, data, buttons, keys))
    assert OpenModel(str(path)) in engine.asked


def test_every_command_has_a_shortcut_and_every_disabled_one_says_why(window):
    actions = window.actions_table.by_name
    assert all(not action.shortcut().isEmpty() for action in actions.values())
    shortcuts = [action.shortcut().toString() for action in actions.values()]
    assert len(set(shortcuts)) == len(shortcuts)
    disabled = {name: action.toolTip() for name, action in actions.items() if not action.isEnabled()}
    assert disabled["export"].startswith(NO_MODEL)
    assert disabled["undo"].startswith("There is nothing to undo.")
    assert {"undo", "redo", "save_recipe"} <= set(disabled)


def test_every_control_has_a_name_for_screen_readers(at_work):
    kinds = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QSlider, QTableView)
    inner = (QAbstractSpinBox, QComboBox, QLineEdit, QTableView)
    unnamed = [
        control
        for kind in kinds
        for control in at_work.findChildren(kind)
        if not isinstance(control.parent(), inner)
        and not control.objectName().startswith("qt_")
        and not (control.accessibleName() or getattr(control, "text", str)())
    ]
    assert unnamed == []


def test_the_top_shows_original_and_current_numbers(at_work, session):
    session.edit_layers(["block2.conv1"], "Quantize", quantize=QuantizeSettings(weight_bits=4))
    summary = at_work.summary
    assert summary.accuracy.value.text() == "98.40 % → 97.60 %"
    assert summary.accuracy.caption.text() == "Accuracy  ·  sequential fit"
    assert summary.accuracy.detail.text() == "−0.80 ± 0.50 points  ·  1,000 samples"
    assert "smaller" in summary.size_card.detail.text()


def test_undo_and_redo_name_the_step_they_take(at_work, session):
    session.edit_layers(["head"], "Prune head", prune=PruneSettings(ratio=0.5))
    undo = at_work.actions_table.by_name["undo"]
    assert undo.text() == "&Undo: Prune head"
    undo.trigger()
    assert session.project.settings("head").is_empty
    at_work.actions_table.by_name["redo"].trigger()
    assert session.project.settings("head").prune == PruneSettings(ratio=0.5)


def test_a_user_mistake_is_one_line_above_the_work(at_work, session, engine):
    engine.fail = DataError("bad.npz: no array 'x'.")
    session.set_data(test="bad.data.yaml")
    assert at_work.notice.isVisible()
    assert at_work.notice.message.text() == "bad.npz: no array 'x'."
    assert at_work.notice.message.property("tone") == "bad"


def test_a_notice_and_its_button_stand_whole_in_the_smallest_window(at_work, qtbot):
    at_work.resize(960, 620)
    at_work.notice.offer(NO_NETWORK.format(name="resnet56_cifar10.safetensors"), "Choose the network …", lambda: None)
    message, action = at_work.notice.message, at_work.notice.action
    qtbot.waitUntil(lambda: at_work.width() == 960 and message.height() >= message.heightForWidth(message.width()))
    assert action.width() >= action.sizeHint().width()


def test_a_dead_engine_is_announced_and_the_next_edit_works(at_work, session, engine):
    engine.fail = EngineStoppedError("the engine stopped")
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    assert "Your project is untouched" in at_work.notice.message.text()
    engine.fail = None
    session.edit_layers(["stem"], "Quantize", quantize=QuantizeSettings())
    assert at_work.summary.accuracy.value.text() == "98.40 % → 97.60 %"


def test_distilling_needs_a_compressed_layer_and_says_so(at_work, session):
    panel = at_work.distill
    at_work.tabs.setCurrentWidget(panel)
    assert not panel.start.isEnabled()
    assert "Compress at least one layer first" in panel._reason.text()
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert panel.start.isEnabled()


def test_a_distillation_draws_its_curves_and_can_be_cancelled(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    at_work.tabs.setCurrentWidget(at_work.distill)
    engine.hold = True
    panel = at_work.distill
    panel.form.editors["epochs"].set_value(3)
    panel.start.click()
    assert engine.asked[-1].settings.epochs == 3
    steps, losses = panel.curves.loss.getData()
    assert (len(steps), losses[-1]) == (8, pytest.approx(0.25))
    assert list(panel.curves.value.getData()[1]) == [92, 94, 96, 98]
    assert "left" in panel._state.text()
    panel.cancel.click()
    assert panel._state.text() == "cancelled"
    assert panel.start.isEnabled()


def test_a_distillation_is_paused_and_resumed(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    at_work.tabs.setCurrentWidget(at_work.distill)
    engine.hold = True
    panel = at_work.distill
    assert panel.pause.isHidden()
    panel.start.click()
    panel.pause.click()
    assert panel._state.text() == "pausing"
    assert panel.pause.isHidden()
    engine.calls[-1].future.set_exception(Cancelled())
    assert panel._state.text() == "paused at step 80 of 100"
    assert "paused" in panel._reason.text()
    assert (panel.pause.text(), panel.start.isEnabled()) == ("Resume", False)
    row = at_work.jobs.rows[session.jobs.all[-1].id]
    assert (row.pause.text(), row.cancel.isHidden()) == ("Resume", False)
    panel.pause.click()
    assert engine.asked[-1].resume
    assert panel.pause.text() == "Pause"
    panel.cancel.click()
    assert panel.start.isEnabled()


def test_what_ended_with_the_last_model_leaves_the_page_and_what_runs_on_says_whose_it_is(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    at_work.tabs.setCurrentWidget(at_work.distill)
    panel, jobs = at_work.distill, at_work.jobs
    panel.start.click()
    engine.hold = True
    panel.start.click()
    done, running = session.jobs.all[-2:]
    assert (jobs.rows[done.id].cancel.isHidden(), jobs.rows[done.id].pause.isHidden()) == (True, True)
    session.open_model("/models/other.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    assert list(jobs.rows) == [running.id]
    at_work.tabs.setCurrentWidget(panel)
    assert panel._state.text().startswith("Distil digits.onnx  ·  ")
    session.jobs.cancel(running)
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    assert (list(jobs.rows), jobs._empty.isHidden()) == ([], False)
    at_work.tabs.setCurrentWidget(panel)
    assert (panel._state.text(), panel._hint.isHidden()) == ("", False)


def test_a_distillation_that_memory_was_short_for_is_tried_again_in_smaller_parts(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    engine.hold = True
    at_work.distill.start.click()
    row = at_work.jobs.rows[session.jobs.all[-1].id]
    assert row.pause.text() == "Pause"
    engine.calls[-1].future.set_exception(MemoryShortError("Memory was short."))
    assert (row.pause.text(), row.pause.isHidden(), row.cancel.isHidden()) == ("Try smaller", False, True)
    assert "takes less memory" in row.pause.toolTip()
    row.pause.click()
    assert engine.asked[-1].settings.accumulate == 2
    assert row.pause.text() == "Pause"


def test_an_interrupted_distillation_is_offered_and_goes_on(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    engine.hold = True
    panel = at_work.distill
    panel.start.click()
    epochs = engine.asked[-1].settings.epochs
    assert panel.offer.isHidden()
    Path(engine.asked[-1].checkpoints, FILE).touch()
    engine.calls[-1].future.set_exception(EngineStoppedError("The engine stopped."))
    assert not panel.offer.isHidden()
    assert f"{epochs} epochs was interrupted" in panel.offer.message.text()
    engine.hold = False
    panel.offer.go_on.click()
    assert panel.offer.isHidden()
    assert session.variants.all[-1].name == "Distilled 1"


def test_an_interrupted_distillation_is_discarded_for_good(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    engine.hold = True
    panel = at_work.distill
    panel.start.click()
    folder = Path(engine.asked[-1].checkpoints)
    (folder / FILE).touch()
    engine.calls[-1].future.set_exception(EngineStoppedError("The engine stopped."))
    panel.offer.discard.click()
    assert panel.offer.isHidden()
    assert not folder.exists()


def test_curves_show_the_interval_and_the_learning_rate(at_work, session, engine):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    at_work.tabs.setCurrentWidget(at_work.distill)
    engine.hold = True
    curves = at_work.distill.curves
    at_work.distill.start.click()
    assert list(curves.rate.getData()[1]) == [0.01] * 8
    assert list(curves.interval.opts["top"]) == list(curves.interval.opts["bottom"]) == [1.0] * 4


def test_rare_settings_are_folded_away_and_count_all_the_same(at_work):
    form = at_work.distill.form
    assert form.editors["seed"].isHidden() or form.editors["seed"].parentWidget().isHidden()
    assert not form.editors["epochs"].parentWidget().isHidden()
    form.editors["seed"].set_value(7)
    form.editors["features"].set_value(("head",))
    assert (form.settings().seed, form.settings().features) == (7, ("head",))
    form.fold.click()
    assert not form.editors["seed"].parentWidget().isHidden()


def test_a_finished_distillation_becomes_a_variant_that_undo_takes_back(at_work, session):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    at_work.distill.start.click()
    model = at_work.variants.model
    assert [model.index(row, 0).data() for row in range(model.rowCount())][-1] == "Distilled 1"
    assert session.project.weights == "/weights/abc"
    session.undo()
    assert session.project.weights is None


def test_an_export_shows_its_proof(at_work, session, tmp_path: Path):
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    session.export(str(tmp_path / "small.onnx"))
    dialog = at_work.findChild(ExportReportDialog)
    texts = [label.text() for label in dialog.findChildren(type(at_work.data.test))]
    assert "small.onnx" in texts
    assert "9.1 kB  (9,131 bytes)" in texts
    assert dialog.isVisible()
    dialog.close()


def test_going_to_a_variant_brings_its_settings_back(at_work, session):
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    at_work.variants.keep.click()
    session.reset()
    at_work.variants.table.selectRow(1)
    at_work.variants.go.click()
    assert session.project.settings("head").quantize == QuantizeSettings()


def test_the_theme_is_chosen_from_the_menu_and_remembered(at_work, session, theme):
    at_work.actions_table.by_name["theme_dark"].trigger()
    assert theme.colours is DARK
    assert session.preferences.theme == "dark"
    at_work.actions_table.by_name["theme_light"].trigger()
    assert not theme.is_dark


def test_the_data_in_use_is_named_with_its_samples(at_work):
    assert at_work.data.test.text() == "Measured on digits_test: 1,000 samples"


@pytest.mark.parametrize("size", [(1280, 800), (1100, 700)])
def test_no_panel_is_wider_than_the_window_lets_it_be(at_work, size, qtbot):
    at_work.resize(*size)
    qtbot.waitUntil(lambda: (at_work.width(), at_work.height()) == size)
    page = at_work.settings.widget()
    assert page.width() <= at_work.settings.viewport().width()
    assert page.minimumSizeHint().width() <= at_work.settings.viewport().width()


def test_actions_from_other_threads_are_done_on_the_main_thread(qtbot):
    main_thread = MainThread()
    done = []
    main_thread.dispatch(lambda: done.append(1))
    assert done == []
    qtbot.waitUntil(lambda: done == [1])


def test_the_command_palette_opens_by_its_shortcut_and_runs_what_is_typed(at_work, theme, qtbot):
    at_work.activateWindow()
    qtbot.waitUntil(at_work.isActiveWindow)
    qtbot.keyClick(at_work, Qt.Key.Key_P, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    palette = at_work.findChild(CommandPalette)
    assert palette is not None
    qtbot.keyClicks(palette.search, "dark")
    qtbot.keyClick(palette.search, Qt.Key.Key_Return)
    assert theme.colours is DARK


def test_no_column_of_the_layer_table_is_narrower_than_its_title(at_work, session):
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())  # brings a column out
    session.scans.scan = Scan(key="", points=tuple(scan_points()))  # and another one
    session.scans.changed.emit("")
    session.measure_latency()  # and two more
    header = at_work.layers.view.horizontalHeader()
    columns = [column for column in range(header.count()) if not header.isSectionHidden(column)]
    assert len(columns) == header.count()
    assert [column for column in columns if header.sectionSize(column) < header.sectionSizeHint(column)] == []


def test_the_measured_change_of_a_layer_is_in_sight_without_scrolling(at_work, session, qtbot):
    at_work.resize(1280, 800)
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    table = at_work.layers.view
    column = at_work.layers._model.column("Change")
    right_edge = table.columnViewportPosition(column) + table.columnWidth(column)
    qtbot.waitUntil(lambda: at_work.width() == 1280)
    assert right_edge <= table.viewport().width()


def test_the_size_of_a_layer_is_in_sight_in_the_smallest_window_and_its_shape_in_the_usual_one(at_work, qtbot):
    table = at_work.layers.view
    for size, title in (((1280, 800), "Shape"), ((960, 620), "Size"), ((1280, 800), "Shape")):
        at_work.resize(*size)
        qtbot.waitUntil(lambda size=size: at_work.width() == size[0])
        column = at_work.layers._model.column(title)
        right_edge = table.columnViewportPosition(column) + table.columnWidth(column)
        QCoreApplication.sendPostedEvents()
        assert right_edge <= table.viewport().width(), title


def test_what_no_scan_tells_of_is_not_predicted_to_cost_nothing(at_work, session, engine):
    card = at_work.summary.accuracy
    session.scans.scan = Scan(key="", points=tuple(point for point in scan_points() if point.layer == "stem"))
    engine.leaves = (Preview,)
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert "≈" not in card.value.text()
    assert card.detail.text() == "before this edit  ·  measuring …"
    session.edit_layers(["stem"], "Quantize", quantize=QuantizeSettings(weight_bits=4))
    assert card.detail.text().endswith(", 1 not scanned  ·  measuring …")


def test_the_accuracy_of_a_setting_is_predicted_at_once_and_replaced_when_measured(at_work, session, engine):
    card = at_work.summary.accuracy
    session.scans.scan = Scan(key="", points=tuple(scan_points()))
    engine.leaves = (Preview,)
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    assert card.value.text() == "98.40 % → ≈ 95.40 %"
    assert card.detail.text() == "predicted: ≈ −3.00 ± 0.50  ·  measuring …"
    assert card.value.property("tone") == "predicted"
    assert card.toolTip().startswith("A prediction, not a measurement")
    engine.leaves = ()
    session.edit_layers(["head"], "Quantize", quantize=QuantizeSettings())
    assert card.value.text() == "98.40 % → 97.60 %"
    assert (card.value.property("tone"), card.toolTip()) == ("", "")


def test_an_error_that_nobody_caught_is_told_as_the_users_mistake_or_else_as_a_bug(window, session):
    def missing(_text: str) -> None:
        raise DataError("digits.npz: no such file or directory.")

    session.notice.connect(missing)
    with pytest.raises(EmitLoopError) as heard:
        session.notice.emit("listen")
    hook = report_bugs_to(window)
    told = list[str]()
    for error in (DataError("digits.npz: no such file or directory."), heard.value, ValueError("a bug")):
        hook(type(error), error, None)
        told.append(window.notice.message.text())
    assert told == ["digits.npz: no such file or directory."] * 2 + [BUG]


@pytest.mark.skipif(sys.platform != "linux", reason="the folder is found by XDG_DATA_HOME")
def test_a_folder_for_preferences_that_cannot_be_made_is_told_in_one_line(tmp_path: Path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    with pytest.raises(
        StudioError, match=r"file/compression-studio: the folder for your preferences .* cannot be made"
    ):
        data_folder()


def test_what_the_last_session_left_is_offered_at_the_start_and_again_when_its_model_is_opened(
    window, session, tmp_path
):
    model = tmp_path / "net.onnx"
    model.touch()
    session.open_model(str(model))
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    session._autosave.finish()
    window.offer_restore()
    assert window.notice.message.text() == "The last session ended with net.onnx open with 1 step taken."
    session.open_model("/models/digits.onnx")
    assert window.notice.isHidden()
    session.open_model(str(model))
    assert not window.notice.isHidden()
    window.notice.action.click()
    assert session.project.settings("head").prune == PruneSettings(ratio=0.5)
    assert window.notice.isHidden()


def test_variants_have_the_interval_of_their_change_in_the_chart_and_the_chosen_one_a_ring(at_work, session):
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    session.keep_variant("Half")
    panel = at_work.variants
    opts = panel.bars.opts
    assert opts["y"][-1] == pytest.approx(97.6)
    assert (opts["top"][-1], opts["bottom"][-1]) == pytest.approx((0.5, 0.5))  # of a drop of 0.8, from 0.3 to 1.3
    assert (opts["top"][0], opts["bottom"][0]) == (0, 0)  # the original does not differ from itself
    panel.table.selectRow(1)
    assert list(panel._ring.getData()[1]) == [97.6]
    assert panel._tip(9.1, 97.6, 1).endswith("97.60, −0.80 ± 0.50 points against the original")
    panel.table.clearSelection()
    assert len(panel._ring.getData()[1]) == 0
