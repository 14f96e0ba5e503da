"""Distillations that are paused, resumed, and offered again after a crash."""

from pathlib import Path
from typing import Any

import pytest

from studio.distillation.folder import FILE, is_resumable
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.engine.requests import Distill
from studio.errors import EngineStoppedError, MemoryShortError, StudioError
from studio.progress import Cancelled
from studio.recipe.settings import PruneSettings
from studio.session.jobs import JobState
from studio.session.preview import PreviewState
from studio.session.session import Session

HALF = PruneSettings(ratio=0.5)
OUTCOME = DistillOutcome("w.safetensors", "top1", 90.0, 50.0, 85.0, 1, 6.0)


def distil(opened: Session, engines: list[Any]) -> tuple[Any, Any, Path]:
    """A distillation under way: the job, what the engine was asked, and its folder with a checkpoint."""
    opened.edit_layers(["a"], "Prune", prune=HALF)
    job = opened.distill(DistillSettings(epochs=4))
    asked = engines[-1].of(Distill)[0]
    folder = Path(asked.request.checkpoints)
    (folder / FILE).touch()
    return job, asked, folder


def crashed(session: Session, engines: list[Any], info: Any, tmp_path: Path) -> Session:
    """Another session over what the first one left."""
    again = Session(session.jobs._engines, tmp_path / "studio", lambda action: action())
    again.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    return again


def test_a_paused_distillation_keeps_its_checkpoint_and_goes_on_from_there(opened: Session, engines: list[Any]):
    job, asked, folder = distil(opened, engines)
    asked.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0))
    opened.jobs.pause(job)
    assert (job.state, asked.call.is_cancelled, engines[-1].closed) == (JobState.PAUSING, True, False)
    asked.fail(Cancelled())
    assert (job.state, engines[-1].closed, folder.exists()) == (JobState.PAUSED, True, True)

    opened.jobs.resume(job)
    second = engines[-1].of(Distill)[0]
    assert second is not asked
    assert (second.request.resume, second.request.checkpoints) == (True, str(folder))
    assert (job.state, [point.step for point in job.points]) == (JobState.RUNNING, [10])
    second.publish(TrainingPoint(0, 20, 0.0, 2.0, 0.01, None, 0.0))
    second.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0))
    assert [point.step for point in job.points] == [0, 10]
    second.answer(OUTCOME)
    assert job.state is JobState.DONE
    assert not folder.exists()


def test_a_run_that_is_paused_before_its_worker_has_done_anything_goes_on_even_after_a_crash(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    job, asked, folder = distil(opened, engines)
    (folder / FILE).unlink()
    opened.jobs.pause(job)
    asked.fail(Cancelled())
    assert job.state is JobState.PAUSED
    assert is_resumable(folder)

    again = crashed(opened, engines, info, tmp_path)
    assert again.project is not None
    saved = again.recoveries.interrupted(again.project)
    assert saved is not None
    assert again.recoveries.resume(again.project, saved).is_running
    assert engines[-1].of(Distill)[0].request.resume


def test_a_worker_that_died_before_the_first_checkpoint_leaves_a_run_to_go_on_with(opened: Session, engines: list[Any]):
    _, asked, folder = distil(opened, engines)
    (folder / FILE).unlink()
    asked.fail(EngineStoppedError("The engine stopped unexpectedly (exit code -9)."))
    assert opened.project is not None
    saved = opened.recoveries.interrupted(opened.project)
    assert saved is not None
    assert saved.folder == str(folder)


def test_beside_a_training_a_drag_is_measured_once_the_hand_lets_go(opened: Session, engines: list[Any]):
    job, _, _ = distil(opened, engines)
    before = len(engines[0].previews)
    for ratio in (0.6, 0.7, 0.8):
        opened.edit_layers(["a"], "Prune", merge="ratio a", prune=PruneSettings(ratio=ratio))
        assert opened.preview.status.state is PreviewState.HELD
    assert len(engines[0].previews) == before
    assert engines[0].previews[-1].call.is_cancelled
    opened.finish_edit()
    assert [asked.request.source.recipe.layers["a"].prune for asked in engines[0].previews[before:]] == [
        PruneSettings(ratio=0.8)
    ]
    opened.finish_edit()
    assert len(engines[0].previews) == before + 1
    opened.jobs.cancel(job)
    opened.edit_layers(["a"], "Prune", merge="ratio a", prune=PruneSettings(ratio=0.9))
    assert (len(engines[0].previews), opened.preview.status.state) == (before + 2, PreviewState.MEASURING)


def test_cancelling_forgets_the_checkpoint_even_of_a_paused_run(opened: Session, engines: list[Any]):
    job, asked, folder = distil(opened, engines)
    opened.jobs.pause(job)
    asked.fail(Cancelled())
    opened.jobs.cancel(job)
    assert (job.state, folder.exists()) == (JobState.CANCELLED, False)


def test_after_a_crash_a_distillation_is_offered_and_goes_on(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    _, _, folder = distil(opened, engines)
    again = crashed(opened, engines, info, tmp_path)
    assert again.project is not None

    saved = again.recoveries.interrupted(again.project)
    assert saved is not None
    assert (saved.settings.epochs, saved.train) == (4, "train.data.yaml")
    again.recoveries.resume(again.project, saved)
    assert again.recoveries.interrupted(again.project) is None
    asked = engines[-1].of(Distill)[0].request
    assert (asked.resume, asked.source.recipe.settings_for(info.layers[0]).prune) == (True, HALF)
    engines[-1].of(Distill)[0].answer(OUTCOME)
    assert again.variants.all[-1].choice.recipe.settings_for(info.layers[0]).prune == HALF
    assert not folder.exists()


def test_an_interrupted_distillation_can_be_discarded(opened: Session, engines: list[Any], info: Any, tmp_path: Path):
    _, _, folder = distil(opened, engines)
    again = crashed(opened, engines, info, tmp_path)
    assert again.project is not None
    saved = again.recoveries.interrupted(again.project)
    assert saved is not None
    again.recoveries.discard(saved)
    assert (again.recoveries.interrupted(again.project), folder.exists()) == (None, False)


def test_closing_keeps_what_a_running_distillation_has_done(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    distil(opened, engines)
    opened.close()
    assert engines[-1].closed
    again = crashed(opened, engines, info, tmp_path)
    assert again.project is not None
    assert again.recoveries.interrupted(again.project) is not None


def test_a_run_without_a_checkpoint_or_with_a_damaged_note_is_not_offered(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    _, _, folder = distil(opened, engines)
    again = crashed(opened, engines, info, tmp_path)
    assert again.project is not None
    (folder / "run.json").write_text("{")
    assert again.recoveries.interrupted(again.project) is None


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_failed_run_is_kept_only_where_it_can_go_on(opened: Session, engines: list[Any], checkpoint: bool):
    job, asked, folder = distil(opened, engines)
    if not checkpoint:
        (folder / FILE).unlink()
    asked.fail(StudioError("The engine stopped."))
    assert job.state is JobState.FAILED
    assert folder.exists() is checkpoint
    assert opened.project is not None
    assert (opened.recoveries.interrupted(opened.project) is not None) is checkpoint


def test_a_run_that_memory_was_short_for_is_offered_again_in_smaller_parts(opened: Session, engines: list[Any]):
    job, asked, folder = distil(opened, engines)
    asked.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0, parts=4))
    asked.fail(MemoryShortError("short"))
    assert (job.state, job.can_retry, job.error, folder.exists()) == (JobState.FAILED, True, "short", True)

    opened.jobs.retry(job)

    second = engines[-1].of(Distill)[0].request
    assert (second.resume, second.checkpoints, second.settings.accumulate) == (True, str(folder), 8)
    assert second.settings.batch_size == asked.request.settings.batch_size
    assert (job.state, job.can_retry, job.error) == (JobState.RUNNING, False, None)
    engines[-1].of(Distill)[0].answer(OUTCOME)
    assert (job.state, folder.exists()) == (JobState.DONE, False)
    run = opened.variants.all[-1].run
    assert run is not None
    assert ([point.step for point in run.points], run.settings.accumulate) == ([10], 8)


def test_without_a_checkpoint_it_begins_anew_and_single_samples_cannot_be_parted(opened: Session, engines: list[Any]):
    job, asked, folder = distil(opened, engines)
    (folder / FILE).unlink()
    asked.fail(MemoryShortError("short"))
    opened.jobs.retry(job)
    again = engines[-1].of(Distill)[0]
    assert (again.request.resume, again.request.settings.accumulate) == (False, 2)

    again.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0, parts=128))
    again.fail(MemoryShortError("short"))
    assert (job.state, job.can_retry) == (JobState.FAILED, False)
    assert not folder.exists()
