"""The curves of a distillation are drawn now and then while it runs, and whole once it has ended."""

from dataclasses import replace

from studio.distillation.settings import TrainingPoint
from studio.gui.distill_curves import DistillCurves
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
