"""What opening a file may take: bounds by its size, and a worker that is ended when a file takes more."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from studio.engine import bounds
from studio.engine.bounds import Bounds, Watched, bounds_of, own_memory, unlimited
from studio.engine.process import ProcessEngine
from studio.engine.requests import CheckData, GuessData, OpenModel, Request, TrustProgram, ViewSpectra
from studio.errors import DataError, ModelFileError, StudioError
from studio.resources import Sample

LONG = 120


def test_bounds_grow_with_the_file_and_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounds, "machine_memory", lambda: 100 * 2**30)
    (tmp_path / "net.onnx").write_bytes(bytes(1000))
    (tmp_path / "net.onnx.data").write_bytes(bytes(3000))
    found = bounds_of(OpenModel(str(tmp_path / "net.onnx")))
    assert found == Bounds("net.onnx", ModelFileError, 4 * 2**30 + 16 * 4000, 120 + 4000 / 2**22)


def test_no_file_may_take_the_whole_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounds, "machine_memory", lambda: 2 * 2**30)
    for request in (OpenModel("m"), TrustProgram("m", "kept"), CheckData("m", "d"), GuessData("m", "d")):
        found = bounds_of(request)
        assert found is not None
        assert found.memory == 1.5 * 2**30


def test_only_requests_that_parse_unknown_files_are_bounded():
    assert bounds_of(ViewSpectra("net.onnx")) is None
    guessing = bounds_of(GuessData("net.onnx", "rows.npz"))
    assert guessing is not None
    assert (guessing.kind, guessing.seconds) == (DataError, float("inf"))


@pytest.mark.parametrize(
    ("memory", "seconds", "said"),
    [
        (5_000_000_001, 0.0, "net.onnx: opening it took more than 5 GB of memory and was stopped"),
        (0, 60.1, "net.onnx: opening it took more than 60 seconds and was stopped"),
        (None, 61.0, "net.onnx: opening it took more than 60 seconds"),
    ],
)
def test_what_takes_more_is_named_in_one_line(memory: int | None, seconds: float, said: str):
    error = Bounds("net.onnx", ModelFileError, 5e9, 60.0).excess(memory, seconds)
    assert isinstance(error, ModelFileError)
    assert str(error).startswith(said)
    assert "\n" not in str(error)


@pytest.mark.parametrize("memory", [5_000_000_000, None])
def test_what_stays_within_bounds_goes_on(memory: int | None):
    assert Bounds("net.onnx", ModelFileError, 5e9, 60.0).excess(memory, 60.0) is None


def test_memory_and_time_count_from_when_the_worker_began():
    held, now = iter([300, 900, 1400]), iter([1000.0, 1001.0, 1002.0])
    watched = Watched(Bounds("n", ModelFileError, 1000, 60.0), 7, lambda _process: next(held), lambda: next(now))
    assert watched.excess() is None  # 600 more
    error = watched.excess()  # 1,100 more
    assert error is not None
    assert "memory" in str(error)


def test_time_in_which_nobody_looks_does_not_count():
    now = iter([0.0, 4.0, 4000.0, 4001.0, 4002.0])  # asleep for an hour
    watched = Watched(Bounds("n", ModelFileError, 1000, 10.5), 7, lambda _process: 0, lambda: next(now))
    assert [watched.excess() is None for _ in range(4)] == [True, True, True, False]  # 4, 9, 10 and 11 seconds


def test_on_the_command_line_nothing_is_too_much():
    found = unlimited(TrustProgram("net.pt", "kept"))
    assert found is not None
    assert found.excess(10**15, 1e9) is None
    assert unlimited(ViewSpectra("net.onnx")) is None


def test_a_process_that_is_gone_holds_nothing_that_could_be_told():
    assert own_memory(2**31 - 1) is None


@pytest.fixture
def strict(digits: Sample) -> Iterator[ProcessEngine]:
    """An engine in which every opening takes too much memory, but for that of the sample."""

    def bounded(request: Request[object]) -> Bounds | None:
        known = isinstance(request, OpenModel) and request.path == str(digits.model)
        return None if known else Bounds("net.onnx", ModelFileError, -1, float("inf"))

    engine = ProcessEngine(threads=1, bounds=bounded, memory=lambda _process: 0)
    yield engine
    engine.close()


@pytest.mark.real_window
def test_a_worker_that_takes_too_much_is_ended_and_the_next_request_starts_another(
    strict: ProcessEngine, digits: Sample, two_layers: Path
):
    with pytest.raises(StudioError, match=r"net\.onnx: opening it took more than -1e-09 GB"):
        strict.start(OpenModel(str(two_layers))).future.result(LONG)
    assert strict.start(OpenModel(str(digits.model))).future.result(LONG).layers[0].name == "stem"


class Endless(nn.Module):
    """Gives no answer."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.numel() > 0:
            x = x + 1
        return x


@pytest.mark.real_window
@pytest.mark.skipif(sys.platform == "win32", reason="kills by a POSIX signal")
def test_a_file_that_ends_the_worker_is_named(tmp_path: Path):
    def ended(process: int) -> int:  # asked for what the worker holds, once it has begun with the file
        os.kill(process, signal.SIGSEGV)
        return 0

    torch.jit.script(Endless()).save(path := tmp_path / "net.pt")
    engine = ProcessEngine(threads=1, memory=ended)
    call = engine.start(TrustProgram(str(path), str(tmp_path / "kept"), shapes=((2,),)))
    with pytest.raises(ModelFileError, match=r"^net\.pt: opening it ended the engine's process \(exit code -11\)"):
        call.future.result(LONG)
    engine.close()
