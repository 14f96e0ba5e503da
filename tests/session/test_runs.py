"""Distillations stay with their model: settings and curves are there again after it is opened anew."""

import json
from dataclasses import replace
from math import inf, isnan, nan
from pathlib import Path
from typing import Any

from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.engine.requests import Distill
from studio.recipe.recipe import Recipe
from studio.recipe.settings import PruneSettings, QuantizeSettings
from studio.session.jobs import JobState
from studio.session.runs import KeptRuns, TrainedRun
from studio.session.session import Session

HALF = PruneSettings(ratio=0.5)
POINTS = (
    TrainingPoint(10, 20, 0.5, 1.25, 0.01, None, 3.0),
    TrainingPoint(20, 20, 1.0, 0.75, 0.0, 88.0, 6.0, 87.0, 89.0),
)


def outcome(tmp_path: Path) -> DistillOutcome:
    weights = tmp_path / "w.safetensors"
    weights.touch()
    return DistillOutcome(str(weights), "top1", 90.0, 50.0, 88.0, 1, 6.0)


def distilled(session: Session, engines: list[Any], given: DistillOutcome) -> None:
    session.edit_layers(["a"], "Prune", prune=HALF)
    session.distill(DistillSettings(epochs=1, temperature=2.0))
    asked = engines[-1].of(Distill)[0]
    for point in POINTS:
        asked.publish(point)
    asked.answer(given)


def test_a_distillation_is_there_again_with_its_settings_and_curves(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    distilled(opened, engines, outcome(tmp_path))
    opened.close()
    again = Session(opened.jobs._engines, tmp_path / "studio", lambda action: action())
    again.open_model(info.path)
    original, variant = again.variants.all
    assert (variant.name, variant.parent, variant.run.points) == ("Distilled 1", original.id, POINTS)
    assert (variant.run.settings.epochs, variant.run.settings.temperature) == (1, 2.0)
    assert variant.bytes > 0
    again.apply_variant(variant)
    assert again.project is not None
    assert again.project.weights == str(tmp_path / "w.safetensors")
    assert again.project.settings("a").prune == HALF


def test_its_size_is_that_of_what_was_trained_whatever_was_edited_meanwhile(
    opened: Session, engines: list[Any], tmp_path: Path
):
    opened.edit_layers(["a"], "4 bit", quantize=QuantizeSettings(weight_bits=4))
    assert opened.cost is not None
    trained = opened.cost.bytes
    opened.distill(DistillSettings())
    opened.reset()
    engines[-1].of(Distill)[0].answer(outcome(tmp_path))
    assert opened.cost.bytes > trained
    assert opened.variants.all[-1].bytes == trained


def test_what_it_brought_has_the_digits_of_its_metric():
    percent = DistillOutcome("w", "top1", 90.0, 50.0, 88.125, 1, 6.0)
    perplexity = DistillOutcome("w", "perplexity", 2.7678, 2.7778, 2.7672, 1, 6.0, warning="Stopped.")
    recipe, settings = Recipe(), DistillSettings()
    told = [TrainedRun(recipe=recipe, settings=settings, outcome=one, points=()).found for one in (percent, perplexity)]
    assert told == ["Distilled: accuracy 50.00 → 88.12.", "Distilled: perplexity 2.778 → 2.767. Stopped."]


def test_the_next_distillation_has_the_next_number(opened: Session, engines: list[Any], info: Any, tmp_path: Path):
    distilled(opened, engines, outcome(tmp_path))
    opened.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    distilled(opened, engines, outcome(tmp_path))
    assert [variant.name for variant in opened.variants.all] == ["Original", "Distilled 1", "Distilled 2"]


def test_a_run_whose_weights_are_gone_or_of_another_model_is_not_brought_back(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    distilled(opened, engines, outcome(tmp_path))
    kept = KeptRuns(tmp_path / "studio" / "runs")
    assert len(kept.of(info)) == 1
    assert kept.of(replace(info, fingerprint="e" * 64)) == []
    (tmp_path / "w.safetensors").unlink()
    assert kept.of(info) == []


def test_a_file_of_runs_that_is_damaged_is_passed_over_and_names_its_version(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    distilled(opened, engines, outcome(tmp_path))
    file = tmp_path / "studio" / "runs" / f"{info.fingerprint}.json"
    assert json.loads(file.read_text())["studio_runs"] == 1
    file.write_text(file.read_text()[:-20])
    opened.open_model(info.path)
    assert [variant.name for variant in opened.variants.all] == ["Original"]


def test_a_run_that_cannot_be_kept_fails_with_the_reason_and_ends_its_worker(
    opened: Session, engines: list[Any], tmp_path: Path
):
    (tmp_path / "studio" / "runs").touch()
    notices = list[str]()
    opened.notice.connect(notices.append)
    distilled(opened, engines, outcome(tmp_path))
    job = opened.jobs.all[-1]
    told = f"{tmp_path / 'studio' / 'runs'}: the folder cannot be made: File exists."
    assert (job.state, job.error, engines[-1].closed) == (JobState.FAILED, told, True)
    assert notices == [f"{job.title} failed: {told}"]


def test_losses_that_are_no_numbers_survive_the_file(info: Any, tmp_path: Path):
    kept = KeptRuns(tmp_path)
    points = tuple(replace(POINTS[0], loss=loss) for loss in (nan, inf))
    kept.keep(
        info.fingerprint,
        TrainedRun(recipe=Recipe(), settings=DistillSettings(), outcome=outcome(tmp_path), points=points),
    )
    first, second = kept.of(info)[0].points
    assert isnan(first.loss)
    assert second.loss == inf
