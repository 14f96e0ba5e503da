"""An engine that answers only when the test says so, and a session on top of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from studio.engine.door import Call, Lane
from studio.engine.requests import CheckData, MeasureExportSize, OpenModel, Preview, Request
from studio.evaluation.result import Measurement, Result
from studio.models.layer import METHODS, OK, Layer, ModelInfo, TensorSpec
from studio.session.session import Session


@dataclass
class Asked:
    """One request with the call that waits for its answer."""

    request: Request[Any]
    call: Call[Any]
    report: Callable[[Any], None]
    publish: Callable[[Any], None]
    lane: Lane

    def answer(self, value: object) -> None:
        self.call.future.set_result(value)

    def fail(self, error: BaseException) -> None:
        self.call.future.set_exception(error)


@dataclass
class ScriptedEngine:
    """Keeps every request; opening, data checks and sizes are answered at once, the rest by the test."""

    info: ModelInfo
    asked: list[Asked] = field(default_factory=list)
    closed: bool = False

    def start(self, request: Request[Any], *, lane: Lane, report: Any = None, publish: Any = None) -> Call[Any]:
        asked = Asked(request, Call(), report, publish, lane)
        self.asked.append(asked)
        known = {OpenModel: self.info, CheckData: 100, MeasureExportSize: 7500}
        if type(request) in known:
            asked.answer(known[type(request)])
        return asked.call

    def close(self) -> None:
        self.closed = True

    def of(self, kind: type) -> list[Asked]:
        """Every request of one kind, oldest first."""
        return [asked for asked in self.asked if isinstance(asked.request, kind)]

    @property
    def previews(self) -> list[Asked]:
        return self.of(Preview)


def layer(name: str) -> Layer:
    return Layer(name, "linear", (32, 24), 1, True, 800, 3200, 768, dict.fromkeys(METHODS, OK))


@pytest.fixture
def info(tmp_path: Path) -> ModelInfo:
    path = tmp_path / "model.onnx"
    path.touch()
    spec = (TensorSpec("x", "float32", (None, 24)),)
    return ModelInfo(str(path), "onnx", "f" * 64, spec, spec, (layer("a"), layer("b")), 1600, 7000, 1536)


@pytest.fixture
def engines(info: ModelInfo) -> list[ScriptedEngine]:
    """Every engine the session has made: the interactive one first, then one for each job."""
    return []


@pytest.fixture
def session(tmp_path: Path, info: ModelInfo, engines: list[ScriptedEngine]) -> Session:
    def make() -> ScriptedEngine:
        engines.append(ScriptedEngine(info))
        return engines[-1]

    return Session(make, tmp_path / "studio", lambda action: action())


@pytest.fixture
def opened(session: Session, info: ModelInfo) -> Session:
    session.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    return session


@pytest.fixture
def result() -> Callable[..., Result]:
    def make(value: float, samples: int = 100, fit: str = "layer") -> Result:
        metric = Measurement("top1", value, value - 1, value + 1, samples)
        original = Measurement("top1", 90.0, 89.0, 91.0, samples)
        drop = Measurement("drop", 90.0 - value, 89.0 - value, 91.0 - value, samples)
        return Result(metric, original, drop, 100, labelled=True, fit=fit)

    return make
