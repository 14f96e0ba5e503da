"""The curves of a distillation are drawn now and then while it runs, and whole once it has ended."""

from dataclasses import replace
from math import nan

from studio.distillation.settings import TrainingPoint
from studio.gui.distill_curves import DistillCurves
from studio.gui.main_window import MainWindow
from studio.recipe.settings import PruneSettings
from studio.session.jobs import Job, JobState

FIRST = TrainingPoint(step=1, total_steps=4, epoch=0.0, loss=2.0, learning_rate=0.1, value=None, seconds=0.0)


def job_with(*losses: float) -> Job:
    job = Job(1, "distill", "Distil", done=lambda _: None)
    job.points = [replace(FIRST, step=step, loss=loss) for step, loss in enumerate(losses, 1)]
    return job


def drawn(curves: DistillCurves) -> list[float]:
    return list(curves.loss.getData()[1])


def test_points_that_come_fast_are_drawn_together_a_little_later(theme, qtbot):
    curves = DistillCurves(theme)
    qtbot.addWidget(curves)
    job = job_with(2.0)
    curves.show_job(job)
    assert drawn(curves) == [2.0]
    job.points.append(replace(FIRST, step=2, loss=1.0))
    curves.show_job(job)
    assert drawn(curves) == [2.0]
    qtbot.waitUntil(lambda: drawn(curves) == [2.0, 1.0])


def test_the_end_of_a_job_is_drawn_at_once(theme, qtbot):
    curves = DistillCurves(theme)
    qtbot.addWidget(curves)
    job = job_with(2.0)
    curves.show_job(job)
    job.points.append(replace(FIRST, step=2, loss=1.0))
    job.state = JobState.DONE
    curves.show_job(job)
    assert drawn(curves) == [2.0, 1.0]


def test_before_the_first_step_there_is_a_word_and_no_axis(theme, qtbot):
    curves = DistillCurves(theme)
    qtbot.addWidget(curves)
    curves.show_job(job_with())
    assert "Curves begin with the first step" in curves.empty.text()
    assert [plot.item.isVisible() for plot in (curves._value_plot,)] == [False]
    assert curves._loss_plot.widget.isHidden()
    curves.show_points([FIRST, replace(FIRST, step=2, loss=1.0)])
    assert "none is measured yet" in curves.empty.text()
    assert not curves._loss_plot.widget.isHidden()
    curves.show_points([replace(FIRST, loss=nan, value=90.0, low=89.0, high=91.0)])
    assert curves._loss_plot.widget.isHidden()
    assert curves.empty.isHidden()
    assert curves._value_plot.item.isVisible()


def test_the_training_of_a_variant_is_shown_again_when_it_is_selected_after_reopening(
    session, engine, theme, qtbot, digits, tmp_path, monkeypatch
):
    monkeypatch.setattr("tests.gui.conftest.WEIGHTS", str(tmp_path / "trained.safetensors"))
    (tmp_path / "trained.safetensors").touch()
    window = MainWindow(session, theme, [digits])
    qtbot.addWidget(window)
    window.show()
    data = {"test": "digits_test.data.yaml", "train": "digits_train.data.yaml"}
    session.open_model("/models/digits.onnx", **data)
    session.edit_layers(["head"], "Prune", prune=PruneSettings(ratio=0.5))
    window.distill.form.editors["temperature"].set_value(2.5)
    window.distill.start.click()
    session.open_model("/models/digits.onnx", **data)
    window.variants.table.selectRow(0)
    assert not window.variants.curves.isEnabled()
    window.variants.table.selectRow(1)
    window.variants.curves.click()
    panel = window.distill
    assert panel.curves.isVisible()
    assert list(panel.curves.value.getData()[1]) == [92, 94, 96, 98]
    assert list(panel.curves.interval.opts["top"]) == [1.0] * 4
    assert list(panel.curves.rate.getData()[1]) == [0.01] * 8
    assert panel._state.text() == "Distilled 1  ·  accuracy 90.10 → 97.90."
    assert "Temperature T 2.5" in panel.told.text()
    assert "Momentum" not in panel.told.text()
    assert panel.pause.isHidden()


def test_a_job_that_ended_before_its_first_step_is_not_getting_ready(theme, qtbot):
    curves = DistillCurves(theme)
    qtbot.addWidget(curves)
    job = job_with()
    job.state = JobState.CANCELLED
    curves.show_job(job)
    assert curves.empty.text() == "It ended before its first step."
