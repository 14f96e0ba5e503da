"""The application without a window: what follows from an edit, a crash, a job."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from studio.analysis.views import Spectrum
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.engine.door import Lane
from studio.engine.requests import Distill, OpenModel, TrustProgram, ViewSpectrum, ViewWeights
from studio.errors import EngineStoppedError, ModelFileError, StudioError, TrustNeededError
from studio.evaluation.result import Measurement, Result
from studio.models.layer import ABILITIES, ModelInfo
from studio.recipe.settings import PruneSettings, QuantizeSettings, RankSettings
from studio.session.jobs import JobState
from studio.session.preferences import LONGEST_RECENT, Preferences
from studio.session.preview import PreviewState
from studio.session.session import ENGINE_STOPPED, Change, Session
from tests.session.conftest import ScriptedEngine

MakeResult = Callable[..., Result]
HALF = PruneSettings(ratio=0.5)


def at_once(action: Callable[[], None]) -> None:
    """The dispatch of a program without an event loop."""
    action()


def test_opening_a_model_announces_it_once_data_is_checked_and_measures_it(opened: Session, engines: list[Any]):
    assert opened.project is not None
    assert opened.project.test is not None
    assert opened.project.test.samples == 100
    request = engines[0].previews[-1].request
    assert request.data == "test.data.yaml"
    assert request.source.calibration == "train.data.yaml"


def test_a_closed_session_tells_nobody_what_was_still_on_its_way(tmp_path: Path, info: ModelInfo):
    waiting: list[Callable[[], None]] = []
    scripted = ScriptedEngine(info)
    session = Session(lambda: scripted, tmp_path / "studio", waiting.append)
    session.open_model(info.path, test="test.data.yaml")
    while waiting:
        waiting.pop(0)()
    heard: list[object] = []
    session.weights_viewed.connect(lambda *view: heard.append(view))
    session.view_weights("a")
    scripted.of(ViewWeights)[-1].answer("a view")
    on_its_way = len(waiting)
    session.close()
    scripted.previews[-1].fail(EngineStoppedError("ended"))
    assert on_its_way == 1
    assert len(waiting) == 2
    for action in waiting:
        action()
    assert heard == []
    assert session.preview.status.state is PreviewState.MEASURING


def test_one_edit_is_one_step_one_change_and_one_preview(opened: Session, engines: list[Any]):
    changes: list[Change] = []
    opened.changed.connect(changes.append)
    before = len(engines[0].previews)
    opened.edit_layers(["a", "b"], "Prune", prune=HALF)
    assert [change.kinds for change in changes] == [{"recipe"}]
    assert changes[0].layers == {"a", "b"}
    assert len(engines[0].previews) == before + 1
    assert opened.project is not None
    assert opened.project.settings("b").prune == HALF
    opened.undo()
    assert opened.project.settings("a").is_empty
    opened.redo()
    assert opened.project.settings("a").prune == HALF


def test_a_slider_drag_is_one_step(opened: Session):
    assert opened.project is not None
    for rank in (5, 4, 3):
        opened.edit_layers(["a"], "Rank", merge="rank a", rank=RankSettings(rank=rank))
    opened.finish_edit()
    opened.undo()
    assert opened.project.settings("a").rank is None


def test_the_size_follows_an_edit_without_the_engine(opened: Session, engines: list[Any]):
    assert opened.cost is not None
    asked = len(engines[0].asked)
    before = opened.cost.bytes
    opened.drops.cancel()
    opened.edit_layers(["a"], "8 bit", quantize=QuantizeSettings())
    assert opened.cost.layers["a"].bytes < opened.cost.layers["b"].bytes
    assert opened.cost.bytes != before
    assert len(engines[0].asked) == asked + 1  # the preview, nothing else


def test_a_newer_edit_supersedes_the_preview_under_way(opened: Session, engines: list[Any], result: MakeResult):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    older = engines[0].previews[-1]
    opened.edit_layers(["a"], "Prune", prune=PruneSettings(ratio=0.7))
    newer = engines[0].previews[-1]
    assert older.call.is_cancelled
    older.answer(result(10.0))
    assert opened.preview.result is None
    newer.answer(result(80.0))
    assert opened.preview.result == result(80.0)


def test_a_drag_leaves_one_preview_waiting_however_many_values_it_passes(
    opened: Session, engines: list[Any], result: MakeResult
):
    waiting = []
    for step in range(300):
        opened.edit_layers(["a"], "Prune", merge="ratio a", prune=PruneSettings(ratio=(step + 1) / 400))
        waiting.append(
            sum(not asked.call.future.done() and not asked.call.is_cancelled for asked in engines[0].previews)
        )
    assert set(waiting) == {1}
    last = engines[0].previews[-1]
    assert last.request.source.recipe.layers["a"].prune == PruneSettings(ratio=0.75)
    for passed in engines[0].previews[-300:-1]:  # the engine answers them late
        passed.answer(result(10.0))
    assert opened.preview.result is None
    last.answer(result(80.0))
    assert opened.preview.result == result(80.0)


def test_the_last_result_stays_in_sight_as_the_previous_one_until_a_new_one_is_measured(
    opened: Session, engines: list[Any], result: MakeResult
):
    engines[0].previews[-1].answer(result(90.0))
    opened.edit_layers(["a"], "Prune", prune=HALF)
    assert (opened.preview.result, opened.preview.previous) == (None, result(90.0))
    engines[0].previews[-1].publish(result(80.0, samples=10))
    assert opened.preview.result == result(80.0, samples=10)


def test_growing_blocks_are_shown_as_they_come(opened: Session, engines: list[Any], result: MakeResult):
    preview = engines[0].previews[-1]
    preview.publish(result(88.0, samples=10))
    assert opened.preview.result == result(88.0, samples=10)
    assert opened.preview.status.state is PreviewState.MEASURING
    preview.publish(result(89.0, samples=50))
    assert opened.preview.result == result(89.0, samples=50)


def test_the_sequential_fit_is_measured_after_the_layer_fit_and_replaces_it_when_complete(
    opened: Session, engines: list[Any], result: MakeResult
):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    first = engines[0].previews[-1]
    assert first.request.source.recipe.options.fit == "layer"
    first.answer(result(80.0))
    second = engines[0].previews[-1]
    assert second.request.source.recipe.options.fit == "sequential"
    second.publish(result(85.0, samples=10, fit="sequential"))
    assert opened.preview.result == result(80.0)
    second.answer(result(86.0, fit="sequential"))
    assert opened.preview.result == result(86.0, fit="sequential")
    assert opened.preview.status.state is PreviewState.MEASURED


def test_each_changed_layer_is_measured_alone_once_the_preview_has_settled(
    opened: Session, engines: list[Any], result: MakeResult
):
    assert opened.project is not None
    opened.edit_layers(["a", "b"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    engines[0].previews[-1].answer(result(86.0, fit="sequential"))
    alone = engines[0].previews[-1]
    assert list(alone.request.source.recipe.layers) == ["a"]
    alone.answer(result(88.0))
    drop = opened.drops.of(opened.project, "a")
    assert drop is not None
    assert drop.value == pytest.approx(2.0)
    assert opened.drops.of(opened.project, "b") is None
    assert list(engines[0].previews[-1].request.source.recipe.layers) == ["b"]


def test_without_labels_a_layers_own_drop_is_what_is_missing_from_full_agreement(
    session: Session, engines: list[Any], info: Any
):
    session.open_model(info.path)
    assert session.project is not None
    session.edit_layers(["a"], "Prune", prune=HALF)
    agreed = Result(Measurement("agreement", 97.0, 96.0, 98.0, 100), None, None, 100, labelled=False)
    engines[0].previews[-1].answer(agreed)
    engines[0].previews[-1].answer(agreed)
    assert session.drops.of(session.project, "a") == Measurement("agreement", 3.0, 2.0, 4.0, 100)


def test_a_layers_own_drop_is_measured_anew_when_it_is_carried_out_in_another_way(
    opened: Session, engines: list[Any], result: MakeResult
):
    assert opened.project is not None
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened.edit_options("In the layer fit", fit="layer")
    engines[0].previews[-1].answer(result(80.0))
    engines[0].previews[-1].answer(result(88.0))
    opened.edit_options("Without data", data_aware=False)
    assert opened.drops.of(opened.project, "a") is None
    engines[0].previews[-1].answer(result(70.0))
    alone = engines[0].previews[-1].request.source.recipe
    assert (list(alone.layers), alone.options.data_aware) == (["a"], False)
    opened.undo()
    opened.edit_options("In sequence", fit="sequential")
    known = opened.drops.of(opened.project, "a")
    assert known is not None
    assert known.value == pytest.approx(2.0)


def test_an_engine_that_dies_is_told_and_the_next_edit_is_measured(
    opened: Session, engines: list[Any], result: MakeResult
):
    notices: list[str] = []
    opened.notice.connect(notices.append)
    engines[0].previews[-1].fail(EngineStoppedError("The engine stopped unexpectedly (exit code -9)."))
    assert notices == [ENGINE_STOPPED]
    assert opened.preview.status.state is PreviewState.FAILED
    opened.edit_layers(["a"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    assert opened.preview.result == result(80.0)


def test_a_model_that_cannot_be_opened_leaves_the_open_one_in_place(
    session: Session, info: Any, engines: list[Any], monkeypatch: pytest.MonkeyPatch
):
    session.open_model(info.path)
    project = session.project
    notices: list[str] = []
    session.notice.connect(notices.append)
    monkeypatch.setattr(engines[0], "info", None)
    engines[0].start = lambda request, **_: failing(ModelFileError("bad.onnx: is truncated."))
    session.open_model("bad.onnx")
    assert session.project is project
    assert notices == ["bad.onnx: is truncated."]


def failing(error: Exception) -> Any:
    from studio.engine.door import Call

    call: Call[Any] = Call()
    call.future.set_exception(error)
    return call


def test_a_rank_by_energy_is_costed_once_its_spectrum_is_known(opened: Session, engines: list[Any]):
    import numpy as np

    assert opened.cost is not None
    opened.edit_layers(["a"], "Energy", rank=RankSettings(energy=0.9))
    asked = engines[0].of(ViewSpectrum)[-1]
    asked.answer(Spectrum(np.array([3.0, 1.0, 0.5, 0.1, 0.1, 0.1]), 32 * 24 / 56))
    assert opened.cost is not None
    assert opened.cost.layers["a"].parameters == 2 * (32 + 24) + 32  # 9/10.28 of σ² at rank 1, 10/10.28 at rank 2


def test_what_a_huge_layers_leading_values_do_not_reach_is_asked_for_in_the_background(
    opened: Session, engines: list[Any]
):
    import numpy as np

    leading = Spectrum(np.array([3.0, 1.0]), 32 * 24 / 56, rest=22, rest_energy=1.0)
    opened.view_spectrum("a")
    engines[0].of(ViewSpectrum)[-1].answer(leading)
    opened.edit_layers(["a"], "Energy", rank=RankSettings(energy=0.9))
    assert [asked.request.reach for asked in engines[0].of(ViewSpectrum)] == [0.0]
    assert opened.factors["a"].ranks == (2,)
    opened.edit_layers(["a"], "Energy", rank=RankSettings(energy=0.95))
    opened.edit_layers(["a"], "Energy", rank=RankSettings(energy=0.96))
    first, whole = engines[0].of(ViewSpectrum)
    assert (first.lane, whole.lane, whole.request.reach) == (Lane.LOOK, Lane.BACKGROUND, 1.0)
    assert "a" not in opened.factors
    whole.answer(Spectrum(np.array([3.0, 1.0, *np.full(22, (1 / 22) ** 0.5)]), 32 * 24 / 56))
    assert opened.factors["a"].ranks == (15,)  # 10.56 of 11 are wanted: 10 of two, 13 times 1/22


def test_a_distillation_becomes_a_variant_and_a_step_that_can_be_undone(
    opened: Session, engines: list[Any], tmp_path: Path
):
    assert opened.project is not None
    opened.edit_layers(["a"], "Prune", prune=HALF)
    job = opened.distill(DistillSettings(epochs=1))
    asked = engines[-1].of(Distill)[0]
    asked.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0))
    assert [point.step for point in job.points] == [10]
    assert job.points[0].seconds_left == pytest.approx(3.0)
    asked.answer(DistillOutcome("w.safetensors", "top1", 90.0, 50.0, 85.0, 1, 6.0))
    assert job.state is JobState.DONE
    assert opened.project.weights == "w.safetensors"
    assert opened.project.settings("a").prune == HALF
    assert [variant.name for variant in opened.variants.all] == ["Original", "Distilled 1"]
    assert engines[-1].closed
    opened.undo()
    assert opened.project.weights is None
    opened.redo()
    assert opened.project.weights == "w.safetensors"


def test_a_distillation_that_ends_after_another_model_was_opened_leaves_that_one_alone(
    opened: Session, engines: list[Any], info: Any
):
    opened.distill(DistillSettings())
    distilling = engines[-1]
    opened.open_model(info.path)
    assert opened.project is not None
    distilling.of(Distill)[0].answer(DistillOutcome("w.safetensors", "top1", 90.0, 50.0, 85.0, 1, 6.0))
    assert opened.project.weights is None
    assert [variant.name for variant in opened.variants.all] == ["Original"]


def test_a_cancelled_job_ends_its_worker_and_changes_nothing(opened: Session, engines: list[Any]):
    assert opened.project is not None
    job = opened.distill(DistillSettings())
    opened.jobs.cancel(job)
    assert job.state is JobState.CANCELLED
    assert engines[-1].closed
    engines[-1].of(Distill)[0].answer(DistillOutcome("w.safetensors", "top1", 90.0, 50.0, 85.0, 1, 6.0))
    assert opened.project.weights is None


def test_a_job_that_fails_is_told_with_its_reason(opened: Session, engines: list[Any]):
    notices: list[str] = []
    opened.notice.connect(notices.append)
    job = opened.export("/nowhere/x.onnx")
    engines[-1].asked[-1].fail(StudioError("/nowhere/x.onnx: the folder /nowhere does not exist."))
    assert job.state is JobState.FAILED
    assert notices == ["Export x.onnx failed: /nowhere/x.onnx: the folder /nowhere does not exist."]


def test_distilling_without_training_data_says_what_to_do(session: Session, info: Any):
    session.open_model(info.path)
    with pytest.raises(StudioError, match="Choose training data first"):
        session.distill(DistillSettings())


def test_after_a_crash_the_project_comes_back_with_its_history(opened: Session, engines: list[Any], tmp_path: Path):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened.edit_layers(["b"], "8 bit", quantize=QuantizeSettings())
    opened.undo()
    opened._autosave.finish()
    # no close(): the program died here
    again = Session(lambda: type(engines[0])(engines[0].info), tmp_path / "studio", at_once)
    saved = again.recoverable()
    assert saved is not None
    again.restore(saved)
    assert again.project is not None
    assert again.project.settings("a").prune == HALF
    assert again.project.settings("b").is_empty
    assert again.project.history.redo_label == "8 bit"
    assert again.project.train is not None


def test_the_data_comes_back_after_a_crash_even_before_the_first_edit(
    opened: Session, engines: list[Any], tmp_path: Path
):
    opened._autosave.finish()
    saved = Session(lambda: engines[0], tmp_path / "studio", at_once).recoverable()
    assert saved is not None
    assert (saved.test, saved.train) == ("test.data.yaml", "train.data.yaml")


@pytest.fixture
def checkpoint(session: Session, info: Any, engines: list[Any], tmp_path: Path) -> Any:
    """An open checkpoint; the skeleton and the weights are files that exist."""
    skeleton = tmp_path / "net.onnx"
    skeleton.touch()
    engines[0].info = replace(info, skeleton=str(skeleton))
    session.open_model(info.path, str(skeleton))
    session._autosave.finish()
    return engines[0].info


def test_a_checkpoint_comes_back_with_its_skeleton_after_a_crash(checkpoint: Any, engines: list[Any], tmp_path: Path):
    again = Session(lambda: engines[0], tmp_path / "studio", at_once)
    saved = again.recoverable()
    assert saved is not None
    again.restore(saved)
    assert [asked.request for asked in engines[0].of(OpenModel)] == [
        OpenModel(checkpoint.path, checkpoint.skeleton)
    ] * 2
    Path(checkpoint.skeleton).unlink()
    assert again.recoverable() is None


def test_a_recent_checkpoint_opens_with_the_skeleton_that_it_had(checkpoint: Any, engines: list[Any], tmp_path: Path):
    again = Session(lambda: engines[0], tmp_path / "studio", at_once)
    again.open_recent(checkpoint.path)
    assert engines[0].of(OpenModel)[-1].request == OpenModel(checkpoint.path, checkpoint.skeleton)
    Path(checkpoint.skeleton).unlink()
    again.open_recent(checkpoint.path)
    assert engines[0].of(OpenModel)[-1].request == OpenModel(checkpoint.path)


def test_skeletons_are_forgotten_with_the_recent_files_they_belong_to():
    preferences = Preferences().with_recent("weights.pth", "net.onnx")
    for number in range(LONGEST_RECENT - 1):
        preferences = preferences.with_recent(f"{number}.onnx")
    assert preferences.skeletons == {"weights.pth": "net.onnx"}
    assert preferences.with_recent("last.onnx").skeletons == {}


def test_weights_alone_open_and_offer_to_choose_their_network(session: Session, engines: list[Any], info: ModelInfo):
    missing = []
    session.network_missing.connect(missing.append)
    engines[0].info = replace(info, format="safetensors", inputs=(), lacks=dict.fromkeys(ABILITIES, "weights alone"))
    session.open_model("weights.pth")
    assert missing == ["weights.pth"]
    for start in (session.scan, lambda: session.distill(DistillSettings())):
        with pytest.raises(ModelFileError, match="weights alone"):
            start()


def test_a_project_that_cannot_be_kept_is_told_and_the_edit_holds(opened: Session, tmp_path: Path):
    notices: list[str] = []
    opened.notice.connect(notices.append)
    opened._autosave.finish()
    (tmp_path / "studio" / "autosave.json").unlink()
    (tmp_path / "studio" / "autosave.json").mkdir()
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened._autosave.finish()
    assert notices == [f"{tmp_path / 'studio' / 'autosave.json'}: your work cannot be kept there: Is a directory."]
    assert opened.project is not None
    assert opened.project.settings("a").prune == HALF


def test_preferences_that_cannot_be_kept_are_told_and_hold_until_the_end(opened: Session, info: Any, tmp_path: Path):
    file = tmp_path / "studio" / "preferences.yaml"
    file.unlink()
    file.mkdir()
    notices: list[str] = []
    opened.notice.connect(notices.append)
    opened.open_model(info.path, test="other.data.yaml")
    assert notices == [f"{file}: cannot be written: Is a directory."]
    assert opened.project is not None
    assert opened.project.test is not None
    assert opened.project.test.path == "other.data.yaml"
    opened.set_theme("dark")
    assert opened.preferences.theme == "dark"


def test_what_was_chosen_is_there_again_after_the_window_was_closed(
    opened: Session, engines: list[Any], tmp_path: Path
):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened.close()
    assert engines[0].closed
    for _ in range(2):  # a session that opens nothing leaves it for the next
        again = Session(lambda: type(engines[0])(engines[0].info), tmp_path / "studio", at_once)
        saved = again.recoverable()
        assert saved is not None
        assert [step.label for step in saved.steps] == ["Open", "Prune"]
        again.close()


def test_kept_variants_are_there_again_after_the_window_was_closed(opened: Session, engines: list[Any], tmp_path: Path):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened.keep_variant("Half")
    opened.reset()
    opened.close()
    again = Session(lambda: type(engines[0])(engines[0].info), tmp_path / "studio", at_once)
    saved = again.recoverable()
    assert saved is not None
    again.restore(saved)
    assert [variant.name for variant in again.variants.all] == ["Original", "Half"]
    again.apply_variant(again.variants.all[1])
    assert again.project is not None
    assert again.project.settings("a").prune == HALF
    assert opened.variants.all[1].bytes == again.variants.all[1].bytes > 0


def test_a_project_as_it_was_opened_leaves_nothing_to_restore(opened: Session, engines: list[Any], tmp_path: Path):
    opened.close()
    assert Session(lambda: engines[0], tmp_path / "studio", at_once).recoverable() is None


def test_a_damaged_autosave_is_not_restored(session: Session, tmp_path: Path):
    (tmp_path / "studio").mkdir(exist_ok=True)
    (tmp_path / "studio" / "autosave.json").write_text('{"steps": [}', encoding="utf-8")
    assert session.recoverable() is None


def test_recent_files_and_the_theme_are_kept_from_one_start_to_the_next(opened: Session, info: Any, tmp_path: Path):
    opened.set_theme("dark")
    again = Session(lambda: None, tmp_path / "studio", at_once)  # type: ignore[arg-type, return-value]
    assert again.preferences.theme == "dark"
    assert again.preferences.recent == (info.path,)


def test_a_loaded_recipe_that_does_not_fit_changes_nothing(opened: Session, tmp_path: Path):
    (tmp_path / "r.yaml").write_text("layers: {c: {keep: true}}", encoding="utf-8")
    assert opened.project is not None
    before = opened.project.history.steps
    with pytest.raises(StudioError, match="no layer 'c'"):
        opened.load_recipe(str(tmp_path / "r.yaml"))
    assert opened.project.history.steps == before


def test_a_saved_recipe_loads_as_the_same_settings(opened: Session, tmp_path: Path):
    assert opened.project is not None
    opened.edit_layers(["a"], "Prune", prune=HALF)
    opened.save_recipe(str(tmp_path / "r.yaml"))
    opened.reset()
    assert opened.project.settings("a").is_empty
    opened.load_recipe(str(tmp_path / "r.yaml"))
    assert opened.project.settings("a").prune == HALF


def test_a_program_runs_after_consent_which_is_remembered_and_taken_back(
    session: Session, engines: list[Any], tmp_path: Path
):
    asked: list[tuple[str, str]] = []
    session.trust.needed.connect(lambda *given: asked.append(given))
    start = engines[0].start

    def refusing(request: Any, **rest: Any) -> Any:
        refused = request == OpenModel("net.pt")
        return failing(TrustNeededError("code", "f" * 64)) if refused else start(request, **rest)

    engines[0].start = refusing
    session.open_model("net.pt")
    assert (asked, session.preferences.trusted) == ([("net.pt", "f" * 64)], {})
    session.trust.give("net.pt", "f" * 64)
    session.open_model("net.pt")
    assert len(asked) == 1
    runs = engines[0].of(TrustProgram)
    assert [run.request.fingerprint for run in runs] == ["f" * 64] * 2
    archive = tmp_path / "studio" / "trusted" / f"{'f' * 64}.pt2"
    archive.parent.mkdir(parents=True)
    archive.touch()
    runs[0].answer(str(archive))  # of what was opened before
    assert engines[0].of(OpenModel) == []
    runs[1].answer(str(archive))
    assert engines[0].of(OpenModel)[-1].request == OpenModel("net.pt", str(archive))
    assert session.trust.take_back() == 1
    assert not archive.exists()
    session.open_model("net.pt")
    assert len(asked) == 2
