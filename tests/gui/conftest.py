"""A session whose engine answers at once from a script: real widgets and a real session without torch."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PySide6.QtCore import QCoreApplication, QEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from studio.analysis.views import Spectrum, WeightView
from studio.distillation.copy_settings import CopySize
from studio.distillation.settings import DistillOutcome, TrainingPoint
from studio.engine.door import Call, Lane, unpublished
from studio.engine.requests import (
    CheckData,
    Distill,
    Export,
    FindHarmless,
    GuessData,
    LookAtData,
    MakeCopy,
    MeasureExportSize,
    MeasureLatency,
    OpenModel,
    PredictCopy,
    Preview,
    Request,
    ScanLayers,
    Search,
    TellSamples,
    ViewSpectrum,
    ViewWeights,
)
from studio.evaluation.data_guess import DataGuess, DataView, Tried
from studio.evaluation.description import DataDescription
from studio.evaluation.feasibility import Harmless
from studio.evaluation.result import Measurement, Result
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.export.latency import Latency, Ratio, Timing
from studio.export.report import ExportReport
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.models.layer import METHODS, OK, Layer, ModelInfo, Share, TensorSpec
from studio.progress import silent
from studio.recipe.recipe import Recipe
from studio.recipe.settings import ChannelSettings, LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.resources import Sample
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.session.session import Session

#: Milliseconds after which a test gives up waiting for what should have happened.
LONG = 60_000

SAMPLES = 1000
#: Where distillations leave their weights.
WEIGHTS = "/weights/abc"
SHAPES = {
    "stem": (16, 1, 3, 3),
    "block1.conv1": (16, 16, 3, 3),
    "block1.conv2": (16, 16, 3, 3),
    "block2.conv1": (32, 16, 3, 3),
    "head": (10, 32),
}
#: The layers that lose channels together, and those that take these channels.
MEMBERS, CONSUMERS = ("stem", "block1.conv2"), ("block1.conv1", "block2.conv1")
TWICE = "the layer runs more than once"
TINY = "A single input channel has no rank to cut."


def make_layer(name: str, shape: tuple[int, ...]) -> Layer:
    """A layer that allows everything, except that the stem has no rank to cut and no neighbours to choose from."""
    parameters = int(np.prod(shape)) + shape[0]
    methods = dict.fromkeys(METHODS, OK) | ({"rank": TINY, "n_m": TINY, "activations": TWICE} if name == "stem" else {})
    kind = "conv2d" if len(shape) == 4 else "linear"
    gives, takes = ((Share("stem", 0, 16, 1),) if name in coupled else () for coupled in (MEMBERS, CONSUMERS))
    return Layer(name, kind, shape, 1, True, parameters, 4 * parameters, 196 * parameters, methods, gives, takes)


def model_info(path: str = "/models/digits.onnx") -> ModelInfo:
    """Four convolutions and a linear layer."""
    layers = tuple(make_layer(name, shape) for name, shape in SHAPES.items())
    parameters = sum(layer.parameters for layer in layers)
    macs = sum(layer.macs for layer in layers)
    inputs = (TensorSpec("x", "float32", (None, 1, 14, 14)),)
    outputs = (TensorSpec("y", "float32", (None, 10)),)
    return ModelInfo(path, "onnx", "0" * 64, inputs, outputs, layers, parameters, 4 * parameters + 900, macs)


def spectrum(shape: tuple[int, ...]) -> Spectrum:
    """Singular values that halve every second rank."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    values = 3.0 * 0.5 ** (np.arange(min(rows, columns)) / 2)
    return Spectrum(values, rows * columns / (rows + columns))


def weight_view(compressed: bool) -> WeightView:
    """A bell of 61 bins; compressed to every fourth bin."""
    edges = np.linspace(-0.6, 0.6, 62)
    bell = np.round(400 * np.exp(-(((edges[:-1] + edges[1:]) / 2 / 0.2) ** 2) / 2))
    kept = np.where(np.arange(61) % 4 == 0, 4 * bell, 0.0)
    return WeightView(
        edges,
        bell,
        kept if compressed else None,
        0.5 if compressed else 0.0,
        0.001,
        0.2,
        -0.6,
        0.6,
        21.4 if compressed else None,
        0.083 if compressed else None,
    )


class ScriptedEngine:
    """Answers every request at once, on the caller's thread; `hold` keeps jobs from ending.

    Attributes:
        asked: every request, oldest first.
        calls: the call of each.
        hold: leaves distillations unanswered after their points.
        leaves: kinds of request that are never answered.
        publish: receives what the last request tells on its way.
    """

    def __init__(self) -> None:
        self.asked: list[Request[Any]] = []
        self.calls: list[Call[Any]] = []
        self.hold = False
        self.leaves: tuple[type, ...] = ()
        self.fail: BaseException | None = None
        self.publish: Callable[[object], None] = unpublished

    def start(
        self,
        request: Request[Any],
        *,
        lane: Lane = Lane.LOOK,
        report: Callable[..., None] = silent,
        publish: Callable[[object], None] = unpublished,
    ) -> Call[Any]:
        """See `studio.engine.door.Engine.start`."""
        self.asked.append(request)
        self.publish = publish
        call: Call[Any] = Call()
        self.calls.append(call)
        if self.fail is not None:
            call.future.set_exception(self.fail)
        elif isinstance(request, self.leaves):
            return call
        elif isinstance(request, Distill):
            for step in range(1, 9):
                value = 90.0 + step if step % 2 == 0 else None
                publish(
                    TrainingPoint(
                        step * 10,
                        100,
                        step / 40,
                        2.0 / step,
                        0.01,
                        value,
                        3.0 * step,
                        value and value - 1,
                        value and value + 1,
                    )
                )
            if not self.hold:
                call.future.set_result(DistillOutcome(WEIGHTS, "top1", 98.4, 90.1, 97.9, 1, 12.0))
        elif isinstance(request, ScanLayers):
            for point in scan_points():
                publish(point)
            if not self.hold:
                call.future.set_result(Scan(key=Path(request.keep or "").stem, points=tuple(scan_points())))
        elif isinstance(request, Search):
            for point in frontier(request):
                publish(point)
            if not self.hold:
                call.future.set_result(search_outcome(request))
        else:
            call.future.set_result(answer(request))
        return call

    def close(self) -> None:
        """Nothing is running."""


def answer(request: Request[Any]) -> object:
    """What the script says to a request."""
    if isinstance(request, OpenModel):
        return model_info(request.path)
    if isinstance(request, CheckData):
        return SAMPLES
    if isinstance(request, TellSamples):
        return frozenset(path for path in request.paths if "samples" in Path(path).name)
    if isinstance(request, GuessData):
        return data_guess(request.data)
    if isinstance(request, LookAtData):
        return data_view(request)
    if isinstance(request, MeasureExportSize):
        return model_info().bytes
    if isinstance(request, ViewWeights):
        settings = request.source.recipe.settings_for(model_info().layer(request.layer))
        return weight_view(not settings.is_empty)
    if isinstance(request, FindHarmless):
        return harmless()
    if isinstance(request, ViewSpectrum):
        return spectrum(SHAPES[request.layer])
    if isinstance(request, Preview):
        return result(changed=bool(request.source.recipe.layers), fit=request.source.recipe.options.fit)
    if isinstance(request, Export):
        if "-student-" in request.out:  # whose bytes are read again
            Path(request.out).touch()
        top1 = Measurement("top1", 97.6, 96.5, 98.4, SAMPLES)
        original = Measurement("top1", 98.4, 97.4, 99.0, SAMPLES)
        return ExportReport(request.out, "onnx", 31_476, 9_120, 9_131, 2.4e-6, 17.2, original, top1, top1, True)
    if isinstance(request, MeasureLatency):
        return latency()
    if isinstance(request, PredictCopy):
        return CopySize(round(model_info().parameters * request.settings.width), 480_000, ("depth: no block repeats",))
    if isinstance(request, MakeCopy):
        Path(request.out).parent.mkdir(parents=True)
        Path(request.out).touch()
        return ()
    raise AssertionError(request)


def harmless() -> Harmless:
    """All but the head may have 8 bits, the last block half its rank, and the first group loses a quarter."""
    eight = LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": 8}))
    channels = LayerSettings(channels=ChannelSettings(ratio=0.25, importance="magnitude"))
    return Harmless(
        {
            "quantize": dict.fromkeys([name for name in SHAPES if name != "head"], eight),
            "rank": {"block2.conv1": LayerSettings(rank=RankSettings(rank=8))},
            "channels": {"stem": channels},
        }
    )


def data_guess(path: str) -> DataGuess:
    """Two folders of images; the usual half and half does best."""
    described = DataDescription(
        source=Path(path).name, kind="image", label="folder", scale=255, mean=(0.5,), std=(0.5,), classes=("cat", "dog")
    )
    reasons = ("Its 2 folders are the classes, in the order of their names.",)
    tried = (Tried("from −1 to 1", 98.0), Tried("from 0 to 1", 40.0))
    baseline = Measurement("top1", 98.0, 97.0, 99.0, SAMPLES)
    return DataGuess(f"{path}.data.yaml", described, reasons, tried, baseline, SAMPLES, True)


def data_view(request: LookAtData) -> DataView:
    """Two pictures, whose range follows from the description."""
    pictures = np.stack([np.full((14, 14, 1), shade, np.uint8) for shade in (0, 255)])
    low, high = ((value - request.described.mean[0]) / request.described.std[0] for value in (0.0, 1.0))
    baseline = Measurement("top1", 98.0, 97.0, 99.0, SAMPLES)
    return DataView(SAMPLES, True, "top1", pictures, ("cat", "dog"), (), (), (), low, high, 0.0, baseline)


def latency() -> Latency:
    """Twice as fast as the original: half a millisecond, of which the stem takes 0.15."""
    now, original = Timing(0.5, 0.49, 0.51, 900), Timing(1.0, 0.98, 1.02, 500)
    layers = {"stem": 0.15, "head": 0.25}
    return Latency(now, original, Ratio(2.0, 1.9, 2.1), 1, 1, "ONNX Runtime 1", layers, layers, 0.1, 0.6)


def frontier(request: Search) -> list[FrontierPoint]:
    """Two points as expected, of which the smaller one is measured then, and one of all layers alike."""
    eight, four = (LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": n})) for n in (8, 4))
    base = request.source.recipe
    small, large = base.with_layer("head", four), base.with_layer("head", eight)
    drop, alike = Measurement("top1", 0.4, 0.1, 0.8, SAMPLES), Measurement("top1", 1.5, 1.0, 2.2, SAMPLES)
    top1 = [Measurement("top1", 98.4 - one.value, 97.0, 99.0, SAMPLES) for one in (drop, alike)]
    expected = FrontierPoint("search", "25.0 %", small, 8000, 900, 0.25, 0.01, 0.6)
    return [
        expected,
        FrontierPoint("search", "50.0 %", large, 16000, 900, 0.5, 0.001, 0.1),
        replace(expected, metric=top1[0], drop=drop),
        FrontierPoint("uniform", "4 bit", Recipe(default=four), 7900, 900, 0.25, 0.02, 1.2, top1[1], alike),
    ]


def search_outcome(request: Search) -> SearchOutcome:
    """The measured point is best."""
    _, large, best, uniform = frontier(request)
    return SearchOutcome(best, uniform, Measurement("top1", 98.4, 97.4, 99.0, SAMPLES), (uniform, best, large), 9.0)


def scan_points() -> list[ScanPoint]:
    """The head takes 8 and 4 bit well, half of its weights cost 3 points; the stem minds 4 bit."""
    halved = LayerSettings(prune=PruneSettings(ratio=0.5))
    eight, four = (LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": n})) for n in (8, 4))
    return [
        scan_point("head", "quantize", "4 bit", four, 0.25),
        scan_point("head", "quantize", "8 bit", eight, 0.0),
        scan_point("head", "prune", "50 %", halved, 3.0),
        scan_point("stem", "quantize", "4 bit", four, 1.5),
    ]


def scan_point(layer: str, method: str, setting: str, settings: LayerSettings, drop: float) -> ScanPoint:
    """A drop with half a point to either side."""
    return ScanPoint(
        layer=layer, method=method, setting=setting, settings=settings, bytes=400, macs=768, metric="top1",
        value=98.4 - drop, low=97.0 - drop, high=99.0 - drop, samples=128,
        drop=drop, drop_low=drop - 0.5, drop_high=drop + 0.5, distortion=max(drop, 0.0) / 100,
    )  # fmt: skip


def result(changed: bool, fit: str) -> Result:
    """98.4 % for the original, 97.6 % for anything else."""
    original = Measurement("top1", 98.4, 97.4, 99.0, SAMPLES)
    if not changed:
        return Result(original, original, Measurement("top1", 0.0, 0.0, 0.0, SAMPLES), SAMPLES, True, fit=fit)
    value = Measurement("top1", 97.6, 96.5, 98.4, SAMPLES)
    return Result(value, original, Measurement("top1", 0.8, 0.3, 1.3, SAMPLES), SAMPLES, True, 24.0, fit)


@pytest.fixture
def engine() -> ScriptedEngine:
    """The engine behind `session`."""
    return ScriptedEngine()


@pytest.fixture
def session(engine: ScriptedEngine, tmp_path: Path) -> Iterator[Session]:
    """A session without an open model."""
    made = Session(lambda: engine, tmp_path, lambda action: action())
    yield made
    made.close()


@pytest.fixture
def opened(session: Session) -> Session:
    """A session with the scripted model and its data."""
    session.open_model("/models/digits.onnx", test="digits_test.data.yaml", train="digits_train.data.yaml")
    return session


@pytest.fixture(autouse=True)
def no_leftovers(qapp: QApplication) -> None:
    """Ends the widgets of the test before: they wait for an event loop that these tests never start."""
    QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


@pytest.fixture
def qtbot(qtbot: QtBot) -> QtBot:
    """Waits as long as it may take on a machine that has much else to do."""
    qtbot.waitUntil = partial(qtbot.waitUntil, timeout=LONG)  # type: ignore[method-assign]
    qtbot.waitSignal = partial(qtbot.waitSignal, timeout=LONG)  # type: ignore[method-assign]
    return qtbot


@pytest.fixture(scope="session")
def theme(qapp: QApplication) -> Theme:
    """Light colours."""
    return Theme(qapp, Scheme.LIGHT)


@pytest.fixture
def drawn(theme: Theme, qtbot: QtBot) -> Callable[[], None]:
    """Waits until everything that waits for a turn of its own has been drawn."""
    return lambda: qtbot.waitUntil(lambda: theme.turns.are_over)


@pytest.fixture
def window(session: Session, theme: Theme, qtbot: QtBot, digits: Sample) -> MainWindow:
    """The whole window over `session`, on its start page."""
    made = MainWindow(session, theme, [digits])
    qtbot.addWidget(made)
    made.show()
    return made


@pytest.fixture
def with_files(session: Session, tmp_path: Path) -> Session:
    """A session with an open model whose data are files that exist."""
    test, train = (tmp_path / f"{name}.data.yaml" for name in ("test", "train"))
    for file in (test, train):
        file.touch()
    session.open_model("/models/digits.onnx", test=str(test), train=str(train))
    return session
