"""The engine in a child process: answers, cancelling, and a worker that dies."""

import os
import signal
import sys
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from threading import Event

import pytest

from studio.engine.door import Lane
from studio.engine.priority import NICENESS
from studio.engine.process import ProcessEngine
from studio.engine.requests import OpenModel, Preview, Source, ViewSpectrum
from studio.errors import EngineStoppedError, ModelFileError
from studio.evaluation.result import Result
from studio.progress import Cancelled, Progress
from studio.recipe.recipe import Recipe
from studio.resources import Sample

pytestmark = pytest.mark.real_window

#: Seconds after which a test gives up on an answer that should have come.
LONG = 120


@pytest.fixture(scope="module")
def engine() -> Iterator[ProcessEngine]:
    engine = ProcessEngine(threads=1)
    yield engine
    engine.close()


def preview(sample: Sample) -> Preview:
    return Preview(Source(str(sample.model), Recipe()), str(sample.test))


def test_the_child_answers_with_values(engine: ProcessEngine, digits: Sample):
    info = engine.start(OpenModel(str(digits.model))).future.result(LONG)
    assert info.layers[0].name == "stem"
    spectrum = engine.start(ViewSpectrum(str(digits.model), "stem")).future.result(LONG)
    assert len(spectrum.singular_values) == info.layers[0].full_rank


def test_the_users_mistake_crosses_the_border_as_itself(engine: ProcessEngine, tmp_path: Path):
    bad = tmp_path / "bad.onnx"
    bad.write_text("not a model", encoding="utf-8")
    with pytest.raises(ModelFileError, match=r"bad\.onnx"):
        engine.start(OpenModel(str(bad))).future.result(LONG)


def test_growing_blocks_are_published_in_order(engine: ProcessEngine, digits: Sample):
    blocks: list[Result] = []
    call = engine.start(preview(digits), lane=Lane.MEASURE, publish=blocks.append)  # type: ignore[arg-type]
    final = call.future.result(LONG)
    counts = [block.metric.samples for block in blocks]
    assert counts == sorted(counts)
    assert counts[-1] == final.metric.samples == 1000


def test_a_cancelled_request_ends_and_the_next_one_is_answered(engine: ProcessEngine, digits: Sample):
    begun = Event()
    call = engine.start(preview(digits), lane=Lane.MEASURE, report=lambda _: begun.set())
    assert begun.wait(LONG)
    call.cancel()
    with pytest.raises(Cancelled):
        call.future.result(LONG)
    assert engine.start(OpenModel(str(digits.model))).future.result(LONG).layers


@pytest.mark.skipif(sys.platform == "win32", reason="asks for a POSIX priority")
def test_the_child_gives_way_to_the_window(engine: ProcessEngine, digits: Sample):
    engine.start(OpenModel(str(digits.model))).future.result(LONG)
    assert engine.process_id is not None
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, engine.process_id) == min(19, ours + NICENESS[Lane.JOB])


@pytest.mark.skipif(sys.platform != "linux", reason="asks for the priority of a thread")
def test_what_is_looked_at_gives_way_to_a_job(engine: ProcessEngine, digits: Sample):
    engine.start(OpenModel(str(digits.model)), lane=Lane.LOOK).future.result(LONG)
    ours, threads = os.getpriority(os.PRIO_PROCESS, 0), Path(f"/proc/{engine.process_id}/task").iterdir()
    found = {os.getpriority(os.PRIO_PROCESS, int(thread.name)) for thread in threads}
    assert found >= {min(19, ours + niceness) for niceness in NICENESS.values()}


@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_killed_worker_fails_its_calls_and_the_next_request_starts_another(digits: Sample):
    stopped: list[str] = []
    engine = ProcessEngine(threads=1, on_stop=stopped.append)
    begun = Event()
    call = engine.start(preview(digits), lane=Lane.MEASURE, report=lambda _: begun.set())
    assert begun.wait(LONG)
    first = engine.process_id
    assert first is not None
    os.kill(first, signal.SIGKILL)
    with pytest.raises(EngineStoppedError, match="exit code -9"):
        call.future.result(LONG)
    assert engine.start(OpenModel(str(digits.model))).future.result(LONG).layers
    assert engine.process_id != first
    assert stopped == ["The engine stopped unexpectedly (exit code -9)."]
    engine.close()


def test_a_closed_engine_fails_what_was_under_way(digits: Sample):
    engine = ProcessEngine(threads=1)
    begun = Event()
    call = engine.start(preview(digits), lane=Lane.MEASURE, report=lambda _: begun.set())
    assert begun.wait(LONG)
    engine.close()
    with pytest.raises(EngineStoppedError):
        call.future.result(LONG)


def test_an_engine_that_is_closed_while_its_child_starts_ends_the_child(
    digits: Sample, monkeypatch: pytest.MonkeyPatch
):
    starting, closed, start = Event(), Event(), SpawnProcess.start

    def slow(process: SpawnProcess) -> None:
        starting.set()
        assert closed.wait(LONG)
        start(process)

    monkeypatch.setattr(SpawnProcess, "start", slow)
    engine = ProcessEngine(threads=1)
    call = engine.start(OpenModel(str(digits.model)))
    assert starting.wait(LONG)
    engine.close()
    closed.set()
    with pytest.raises(EngineStoppedError):
        call.future.result(LONG)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_of_whoever_listens_fails_the_call_and_ends_the_child(engine: ProcessEngine, digits: Sample):
    def broken(_progress: Progress) -> None:
        raise AttributeError("no such slot")

    before = engine.start(OpenModel(str(digits.model))).future.result(LONG)
    first = engine.process_id
    call = engine.start(preview(digits), lane=Lane.MEASURE, report=broken)
    with pytest.raises(EngineStoppedError):
        call.future.result(LONG)
    assert engine.start(OpenModel(str(digits.model))).future.result(LONG) == before
    assert engine.process_id != first
