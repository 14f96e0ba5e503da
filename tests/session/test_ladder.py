"""The ladder of a session: what the preview measures is told by rung, with what it took."""

from collections.abc import Callable
from typing import Any

import pytest

from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.engine.requests import Distill
from studio.evaluation.ladder import BIASES, DISTIL, LEAVE, NORMS, REFIT
from studio.evaluation.result import Result
from studio.recipe.settings import PruneSettings
from studio.session.ladder import Ladder, RungState
from studio.session.session import Session

HALF = PruneSettings(ratio=0.5)


class Clock:
    """Tells the time that a test has set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ladder(session: Session, clock: Clock, info: Any) -> Ladder:
    """A ladder with a clock of the test's, of a session with an open model."""
    made = Ladder(session.preview, session.jobs, lambda: session.project, session._choose, clock)
    session.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    return made


def states(ladder: Ladder, session: Session, **settings: Any) -> dict[str, RungState]:
    assert session.project is not None
    told = ladder.states(session.project, DistillSettings(**settings))
    return {state.rung.key: state for state in told}


def test_the_layer_fit_measures_a_rung_on_the_way_to_the_fit_in_sequence(
    ladder: Ladder, session: Session, engines: list[Any], clock: Clock, result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    clock.now = 2.0
    engines[0].previews[-1].answer(result(80.0))
    clock.now = 7.0
    engines[0].previews[-1].answer(result(85.0, fit="sequential"))
    told = states(ladder, session)
    assert told["biases"].metric is not None
    assert (told["biases"].metric.value, told["biases"].took) == (80.0, 2.0)
    assert told["refit"].metric is not None
    assert (told["refit"].metric.value, told["refit"].took, told["refit"].brought) == (85.0, 5.0, 5.0)
    assert [key for key, state in told.items() if state.holds] == ["refit"]
    assert (told["leave"].metric, told["leave"].expected) == (None, 2.0)
    assert session.project is not None
    assert ladder.advice(session.project).rung is DISTIL


def test_taking_a_rung_is_one_step_that_is_measured_and_undone(
    ladder: Ladder, session: Session, engines: list[Any], result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    assert session.project is not None
    before = session.project.recipe
    ladder.take(session.project, LEAVE)
    assert session.project.recipe.options.model_dump().items() >= dict(LEAVE.options).items()
    engines[0].previews[-1].answer(result(70.0))
    assert states(ladder, session)["leave"].drop == result(70.0).drop
    assert ladder.advice(session.project).rung is NORMS
    session.undo()
    assert session.project.recipe == before
    assert states(ladder, session)["leave"].drop == result(70.0).drop


def test_an_edit_of_a_layer_begins_the_ladder_anew_and_undo_brings_it_back(
    ladder: Ladder, session: Session, engines: list[Any], result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    session.edit_layers(["b"], "Prune", prune=HALF)
    assert states(ladder, session)["biases"].metric is None
    session.undo()
    assert states(ladder, session)["biases"].metric is not None


def test_an_edit_that_supersedes_another_is_timed_from_itself(
    ladder: Ladder, session: Session, engines: list[Any], clock: Clock, result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    clock.now = 10.0
    session.edit_layers(["b"], "Prune", prune=HALF)
    clock.now = 11.5
    engines[0].previews[-1].answer(result(80.0))
    assert states(ladder, session)["biases"].took == 1.5


def test_training_takes_as_long_as_its_steps_took_before_that_as_passing_forward_did(
    ladder: Ladder, session: Session, engines: list[Any], clock: Clock, result: Callable[..., Any]
):
    clock.now = 3.0
    engines[0].previews[-1].answer(result(90.0))  # 100 samples, twice forward: 15 ms each
    session.edit_layers(["a"], "Prune", prune=HALF)
    # 100 training samples: 2 steps of 64 an epoch, each of 4 passes of 64 samples
    expected = states(ladder, session, epochs=3, batch_size=64)["distil"].expected
    assert expected == pytest.approx(3 * 2 * 4 * 64 * 0.015)
    session.distill(DistillSettings(epochs=1))
    engines[-1].of(Distill)[0].publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 5.0))
    assert states(ladder, session, epochs=3, batch_size=64)["distil"].expected == pytest.approx(3 * 2 * 0.5)


def test_what_training_brought_stands_beside_the_fits(
    ladder: Ladder, session: Session, engines: list[Any], result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    engines[0].previews[-1].answer(result(82.0, fit="sequential"))
    session.distill(DistillSettings())
    engines[-1].of(Distill)[0].answer(DistillOutcome("w.safetensors", "top1", 90.0, 82.0, 89.0, 1, 6.0))
    engines[0].previews[-1].answer(result(88.0))
    engines[0].previews[-1].answer(result(89.0, fit="sequential"))
    told = states(ladder, session)
    assert told["distil"].holds
    assert (told["distil"].brought, told["distil"].took) == (7.0, 6.0)
    assert told["refit"].barred.startswith("Trained weights")
    assert told["refit"].drop is not None


def test_another_model_has_a_ladder_of_its_own(
    ladder: Ladder, session: Session, engines: list[Any], info: Any, result: Callable[..., Any]
):
    session.edit_layers(["a"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    session.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    session.edit_layers(["a"], "Prune", prune=HALF)
    assert all(state.metric is None for state in states(ladder, session).values())


def test_without_data_only_what_needs_none_applies(
    session: Session, engines: list[Any], info: Any, result: Callable[..., Result]
):
    session.open_model(info.path)
    session.edit_layers(["a"], "Prune", prune=HALF)
    engines[0].previews[-1].answer(result(80.0))
    told = states(session.ladder, session)
    assert [key for key, state in told.items() if not state.barred] == ["leave"]
    assert [key for key, state in told.items() if state.metric is not None] == ["leave"]
    assert {rung.key for rung in (NORMS, BIASES, REFIT) if "no data" in told[rung.key].barred} == {
        "norms",
        "biases",
        "refit",
    }
