"""A model of four linear layers, a scan of it, and a way to measure that adds distortions up exactly."""

import math
from collections.abc import Mapping

import pytest

from studio.evaluation.result import Measurement, Result
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.layer import METHODS, OK, Layer, ModelInfo, TensorSpec
from studio.progress import Report
from studio.recipe.cost import layer_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings
from studio.search.losses import LayerLoss

NAMES = ("a", "b", "c", "d")

#: How much each layer minds: the second most, the last hardly.
MINDS = {"a": 1.0, "b": 8.0, "c": 0.5, "d": 0.1}


def bits(count: int) -> LayerSettings:
    return LayerSettings(quantize=QuantizeSettings.model_validate({"weight_bits": count}))


def zeros(ratio: float) -> LayerSettings:
    return LayerSettings(prune=PruneSettings(ratio=ratio))


def rank(share: float) -> LayerSettings:
    return LayerSettings(rank=RankSettings(parameters=share))


#: Each strength with the distortion that it gives a layer of weight one.
STRENGTHS = {
    "quantize": [(bits(8), 1e-5), (bits(4), 1e-3), (bits(3), 4e-3)],
    "prune": [(zeros(0.3), 1e-3), (zeros(0.5), 3e-3), (zeros(0.7), 2e-2)],
    "rank": [(rank(0.75), 2e-3), (rank(0.5), 8e-3), (rank(0.25), 3e-2)],
}


@pytest.fixture
def info() -> ModelInfo:
    layers = tuple(
        Layer(name, "linear", (64, 96), 1, True, 6208, 24832, 6144, dict.fromkeys(METHODS, OK)) for name in NAMES
    )
    spec = (TensorSpec("x", "float32", (None, 96)),)
    total = sum(layer.parameters for layer in layers)
    return ModelInfo("model.onnx", "onnx", "f" * 64, spec, spec, layers, total, 4 * total + 700, 4 * 6144)


@pytest.fixture
def scan(info: ModelInfo) -> Scan:
    """A drop of a hundred points for a distortion of one."""
    points = [
        point(layer, method, settings, MINDS[layer.name] * distortion)
        for layer in info.layers
        for method, strengths in STRENGTHS.items()
        for settings, distortion in strengths
    ]
    return Scan(key="k", points=tuple(points))


def point(layer: Layer, method: str, settings: LayerSettings, distortion: float) -> ScanPoint:
    cost, drop = layer_cost(layer, settings.normalised()), 100 * distortion
    return ScanPoint(
        layer=layer.name, method=method, setting="", settings=settings, bytes=cost.bytes, macs=cost.macs, metric="top1",
        value=90 - drop, low=89 - drop, high=91 - drop, samples=128,
        drop=drop, drop_low=drop - 1, drop_high=drop + 1, distortion=distortion,
    )  # fmt: skip


class Additive:
    """Measures recipes as if distortions added up, but for the layers whose distortion it is told to `multiply`.

    Attributes:
        asked: every recipe, oldest first.
    """

    def __init__(self, info: ModelInfo, scan: Scan) -> None:
        self._layers = info.layers
        self._losses = {layer.name: LayerLoss(scan.of(layer.name)) for layer in info.layers}
        self.multiply: Mapping[str, float] = {}
        self.asked: list[Recipe] = []

    def distortion(self, recipe: Recipe) -> float:
        settings = recipe.settings_of(self._layers)
        losses = {name: self._losses[name](chosen) for name, chosen in settings.items()}
        return sum((loss or 0.0) * self.multiply.get(name, 1.0) for name, loss in losses.items())

    def __call__(self, recipe: Recipe, _report: Report) -> Result:
        self.asked.append(recipe)
        drop = 100 * self.distortion(recipe)
        return Result(
            Measurement("top1", 90 - drop, 89 - drop, 91 - drop, 500),
            Measurement("top1", 90.0, 89.0, 91.0, 500),
            Measurement("top1", drop, drop - 1, drop + 1, 500),
            500,
            labelled=True,
            sqnr_db=None if not drop else _decibels(drop / 100),
        )


def _decibels(distortion: float) -> float:
    return -10 * math.log10(distortion)


@pytest.fixture
def measure(info: ModelInfo, scan: Scan) -> Additive:
    return Additive(info, scan)
