"""Latency of the present choice: measured when asked, never shown for another choice."""

from collections.abc import Callable
from typing import Any

import pytest

from studio.engine.requests import Export, MeasureLatency
from studio.errors import ExportError
from studio.export.latency import Latency, LatencySettings, Ratio, Timing
from studio.progress import Progress
from studio.recipe.settings import PruneSettings
from studio.session.preferences import load_preferences
from studio.session.session import Session

HALF = PruneSettings(ratio=0.5)
FOUND = Latency(
    now=Timing(0.5, 0.49, 0.51, 900),
    original=Timing(1.0, 0.98, 1.02, 500),
    faster=Ratio(2.0, 1.9, 2.1),
    threads=1,
    batch=1,
    runtime="ONNX Runtime 1",
    layers={"a": 0.1, "b": 0.3},
    original_layers={"a": 0.4, "b": 0.4},
    rest=0.1,
    original_rest=0.2,
)


@pytest.fixture
def timed(opened: Session, engines: list[Any]) -> Callable[[], None]:
    """Measures the present choice."""

    def measure() -> None:
        opened.measure_latency()
        engines[0].of(MeasureLatency)[-1].answer(FOUND)

    return measure


def current(session: Session) -> Latency | None:
    assert session.project is not None
    return session.latencies.current(session.project)


def test_a_latency_belongs_to_its_choice_and_comes_back_with_undo(opened: Session, timed: Callable[[], None]):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    assert current(opened) is None
    timed()
    assert current(opened) == FOUND
    opened.edit_layers(["b"], "Prune", prune=HALF)
    assert current(opened) is None
    assert opened.latencies.previous == FOUND
    opened.undo()
    assert current(opened) == FOUND


def test_a_measurement_tells_the_original_too(opened: Session, timed: Callable[[], None]):
    opened.edit_layers(["a"], "Prune", prune=HALF)
    timed()
    opened.reset()
    original = current(opened)
    assert original is not None
    assert (original.now, original.faster.value, original.rest) == (FOUND.original, 1.0, 0.2)
    assert original.share("a") == pytest.approx(0.4)
    assert opened.latencies.of(opened.variants.all[0].choice) == original


def test_an_edit_ends_the_measurement_under_way(opened: Session, engines: list[Any]):
    opened.measure_latency()
    asked = engines[0].of(MeasureLatency)[-1]
    asked.report(Progress(1, 2, "Measuring latency"))
    assert opened.latencies.measuring
    assert opened.latencies.progress == Progress(1, 2, "Measuring latency")
    opened.edit_layers(["a"], "Prune", prune=HALF)
    assert asked.call.is_cancelled
    assert not opened.latencies.measuring
    asked.answer(FOUND)
    assert opened.latencies.previous is None


def test_threads_and_batch_are_remembered_and_what_other_ones_gave_does_not_count(
    opened: Session, engines: list[Any], timed: Callable[[], None], tmp_path: Any
):
    timed()
    opened.measure_latency(LatencySettings(threads=2, batch=64))
    assert engines[0].of(MeasureLatency)[-1].request.settings == LatencySettings(threads=2, batch=64)
    assert load_preferences(tmp_path / "studio" / "preferences.yaml").latency.batch == 64
    assert current(opened) is None


def test_why_it_failed_is_kept_until_the_next_try(opened: Session, engines: list[Any]):
    opened.measure_latency()
    engines[0].of(MeasureLatency)[-1].fail(ExportError("no such operator"))
    assert opened.latencies.failure == "no such operator"
    opened.measure_latency()
    assert opened.latencies.failure == ""


def test_an_export_is_timed_afterwards_unless_something_was_edited_meanwhile(opened: Session, engines: list[Any]):
    opened.export("out.onnx")
    engines[1].of(Export)[0].answer(type("Report", (), {"out": "out.onnx"})())
    assert len(engines[0].of(MeasureLatency)) == 1
    opened.export("out.onnx")
    opened.edit_layers(["a"], "Prune", prune=HALF)
    engines[2].of(Export)[0].answer(type("Report", (), {"out": "out.onnx"})())
    assert len(engines[0].of(MeasureLatency)) == 1
