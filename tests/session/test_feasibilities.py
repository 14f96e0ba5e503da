"""What a model could save: asked for on opening, renewed by a scan, and taken as one step."""

from typing import Any

from studio.engine.door import Lane
from studio.engine.requests import FindHarmless
from studio.evaluation.feasibility import Feasibility, Harmless
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings
from studio.session.session import Session

EIGHT = LayerSettings(quantize=QuantizeSettings(weight_bits=8))


def of(session: Session, method: str) -> Feasibility:
    assert session.project is not None
    return next(one for one in session.feasibilities.of(session.project) if one.method == method)


def test_the_weights_are_looked_at_in_the_background_as_soon_as_a_model_is_open(opened: Session, engines: list[Any]):
    [asked] = engines[0].of(FindHarmless)
    assert asked.lane is Lane.BACKGROUND
    assert opened.feasibilities.looking
    assert of(opened, "rank").bytes_saved is None
    asked.answer(Harmless({"quantize": {"a": EIGHT}}))
    assert not opened.feasibilities.looking
    assert list(of(opened, "quantize").harmless) == ["a"]
    assert of(opened, "rank").bytes_saved == 0


def test_another_model_ends_the_looking_at_the_last(opened: Session, engines: list[Any], info: Any):
    opened.open_model(info.path)
    first, second = engines[0].of(FindHarmless)
    assert first.call.is_cancelled
    first.answer(Harmless({"quantize": {"a": EIGHT}}))
    assert opened.feasibilities.looking
    assert not second.call.is_cancelled


def test_what_is_harmless_is_taken_as_one_step_beside_what_is_chosen_already(opened: Session, engines: list[Any]):
    engines[0].of(FindHarmless)[0].answer(Harmless({"quantize": {"a": EIGHT, "b": EIGHT}}))
    half = PruneSettings(ratio=0.5)
    opened.edit_layers(["a"], "Prune", prune=half)
    project = opened.project
    assert project is not None
    opened.feasibilities.take(project, of(opened, "quantize"))
    assert project.settings("a").model_dump(include={"prune", "quantize"}) == {
        "prune": half.model_dump(),
        "quantize": QuantizeSettings(weight_bits=8).model_dump(),
    }
    assert project.settings("b").quantize == QuantizeSettings(weight_bits=8)
    assert project.history.undo_label == "Fewer bits at no expected loss"
    opened.undo()
    assert project.settings("b").is_empty


def test_layers_that_are_kept_or_locked_stay_as_they_are(opened: Session, engines: list[Any]):
    engines[0].of(FindHarmless)[0].answer(Harmless({"quantize": {"a": EIGHT, "b": EIGHT}}))
    opened.edit_layers(["a"], "Keep", keep=True)
    project = opened.project
    assert project is not None
    opened.searches.lock(project, ["b"], True)
    opened.feasibilities.take(project, of(opened, "quantize"))
    assert project.settings("a").quantize is None
    assert project.settings("b").quantize is None
