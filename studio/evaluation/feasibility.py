"""What each method could save on a model at no expected loss: for a first look, before anything is chosen."""

from collections.abc import Mapping
from dataclasses import dataclass

from studio.evaluation.candidates import METHODS
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.layer import ModelInfo
from studio.recipe.cost import layer_cost, rest_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings

#: Noise over signal of the outputs below which a layer alone is taken to cost nothing: 30 dB.
HARMLESS = 1e-3

#: What is harmless by experience, where nothing was scanned.
_EIGHT_BITS = LayerSettings(quantize=QuantizeSettings(weight_bits=8))


@dataclass(frozen=True)
class Feasibility:
    """One method on one model.

    Attributes:
        method: ``quantize``, ``prune``, ``rank`` or ``channels``.
        eligible: names of the layers that can take it.
        refused: the others, with the reason in words.
        bytes_saved: of the exported file, each eligible layer at its strongest harmless setting; None where only a
            scan could tell.
        macs_saved: for one sample, likewise.
    """

    method: str
    eligible: tuple[str, ...]
    refused: Mapping[str, str]
    bytes_saved: int | None
    macs_saved: int | None


def feasibility(info: ModelInfo, scan: Scan | None = None) -> tuple[Feasibility, ...]:
    """A summary of each method.

    Args:
        info: the model.
        scan: what was measured of its layers. Without it only 8-bit weights are expected to be harmless. Layers are
            judged alone, so that together they may still cost a little.
    """
    return tuple(_of(method, info, scan) for method in METHODS)


def _of(method: str, info: ModelInfo, scan: Scan | None) -> Feasibility:
    eligible = [layer for layer in info.layers if layer.allows(method)]
    refused = {layer.name: layer.methods.get(method, "not possible") for layer in info.layers if layer not in eligible}
    names = tuple(layer.name for layer in eligible)
    if scan is not None and any(point.method == method for point in scan.points):
        if method == "channels":
            return Feasibility(method, names, refused, *_saved_by_channels(info, scan))
        best = {layer.name: _least(scan.of(layer.name, method), layer.bytes) for layer in eligible}
        chosen = [(info.layer(name), point) for name, point in best.items() if point is not None]
        saved = sum(layer.bytes - point.bytes for layer, point in chosen)
        return Feasibility(method, names, refused, saved, sum(layer.macs - point.macs for layer, point in chosen))
    if method == "quantize":
        saved = sum(max(0, layer.bytes - layer_cost(layer, _EIGHT_BITS).bytes) for layer in eligible)
        return Feasibility(method, names, refused, saved, 0)
    return Feasibility(method, names, refused, None, None)


def _saved_by_channels(info: ModelInfo, scan: Scan) -> tuple[int, int]:
    """Bytes and operations, each group at its largest harmless share: what two groups save of one layer multiplies."""
    harmless = sorted((p for p in scan.points if p.method == "channels" and p.distortion <= HARMLESS), key=_removed)
    narrowed = Recipe().with_layers({point.layer: point.settings for point in harmless}).narrowed(info.layers)
    rest = {layer.name: rest_cost(layer, narrowed[layer.name], LayerSettings()) for layer in info.layers}
    saved = sum(layer.bytes - rest[layer.name].bytes for layer in info.layers)
    return saved, sum(layer.macs - rest[layer.name].macs for layer in info.layers)


def _removed(point: ScanPoint) -> float:
    return 0.0 if point.settings.channels is None else point.settings.channels.ratio


def _least(points: tuple[ScanPoint, ...], size: int) -> ScanPoint | None:
    """The smallest harmless point, None where none is smaller than the layer itself."""
    harmless = [point for point in points if point.distortion <= HARMLESS and point.bytes < size]
    return min(harmless, key=lambda point: point.bytes, default=None)
