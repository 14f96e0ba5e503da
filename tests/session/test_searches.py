"""Searches of a session: what is asked, the frontier as it comes, and models that are closed meanwhile."""

from dataclasses import replace
from pathlib import Path

import pytest

from studio.engine.requests import ScanLayers, Search
from studio.errors import SearchError
from studio.evaluation.result import Measurement
from studio.models.layer import ModelInfo
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.target import Target
from studio.session.jobs import JobState
from studio.session.session import Session

HALF = Target("size", 0.5)


@pytest.fixture
def ready(session: Session, info: ModelInfo, tmp_path: Path) -> Session:
    paths = [tmp_path / f"{name}.data.yaml" for name in ("test", "train")]
    for path in paths:
        path.touch()
    session.open_model(info.path, test=str(paths[0]), train=str(paths[1]))
    return session


def point(recipe: Recipe | None = None) -> FrontierPoint:
    return FrontierPoint("search", "50.0 %", recipe or Recipe(), 3500, 1536, 0.5, 0.01, 0.4)


def measured(expected: FrontierPoint) -> FrontierPoint:
    drop = Measurement("top1", 0.2, 0.0, 0.5, 100)
    return replace(expected, bytes=3400, metric=Measurement("top1", 89.8, 88.0, 91.0, 100), drop=drop)


def outcome(best: FrontierPoint) -> SearchOutcome:
    return SearchOutcome(best, None, None, (best,), 1.0)


def test_a_search_begins_with_what_the_scan_found_and_shares_its_file(ready, engines):
    ready.scan()
    (scan,) = engines[-1].of(ScanLayers)
    with pytest.raises(SearchError, match="A scan is running"):
        ready.searches.start(ready.project, HALF)
    ready.jobs.cancel(ready.jobs.all[-1])
    ready.searches.start(ready.project, HALF)
    (search,) = engines[-1].of(Search)
    assert search.request.keep == scan.request.keep
    assert search.request.data == scan.request.data
    assert search.request.scan_samples == scan.request.samples


def test_an_expected_point_becomes_a_measured_one(ready, engines):
    job = ready.searches.start(ready.project, HALF)
    (search,) = engines[-1].of(Search)
    search.publish(point())
    assert [p.is_measured for p in ready.searches.points] == [False]
    search.publish(measured(point()))
    assert [p.is_measured for p in ready.searches.points] == [True]
    search.answer(outcome(measured(point())))
    assert ready.searches.outcome is not None
    assert job.state is JobState.DONE


def test_another_model_takes_no_points_of_the_one_before(ready, engines, info):
    ready.searches.start(ready.project, HALF)
    (search,) = engines[-1].of(Search)
    ready.open_model(info.path)
    search.publish(point())
    assert ready.searches.points == ()
    search.answer(outcome(measured(point())))
    assert ready.searches.outcome is None
    with pytest.raises(SearchError, match="no longer open"):
        ready.searches.apply(point())


def test_a_recipe_that_was_found_is_one_step_and_locks_are_kept_on_disk(ready, engines, tmp_path):
    ready.searches.lock(ready.project, ["a"], True)
    ready.searches.start(ready.project, HALF)
    (search,) = engines[-1].of(Search)
    base = search.request.source.recipe
    assert base.locked(ready.project.info.layers) == {"a"}
    four = LayerSettings(quantize=QuantizeSettings(weight_bits=4))
    ready.searches.apply(point(base.with_layer("b", four)))
    assert ready.project.settings("b") == four
    ready.undo()
    assert not ready.project.changed_layers()
    ready.save_recipe(str(tmp_path / "locked.recipe.yaml"))
    ready.reset()
    ready.load_recipe(str(tmp_path / "locked.recipe.yaml"))
    assert ready.project.recipe.locked(ready.project.info.layers) == {"a"}


def test_a_paused_search_goes_on_from_its_scan(ready, engines):
    job = ready.searches.start(ready.project, HALF)
    (search,) = engines[-1].of(Search)
    assert ready.searches.why_not(ready.project) == "A search is running."
    assert job.resumption == search.request
    ready.jobs.cancel(job)
    assert ready.searches.why_not(ready.project) == ""
