"""What each method could save on a model at no expected loss: for a first look, before anything is chosen."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from studio.evaluation.candidates import METHODS
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.models.layer import Layer, ModelInfo
from studio.recipe.cost import layer_cost, model_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, QuantizeSettings

#: Noise over signal of the outputs below which a layer alone is taken to cost nothing: 30 dB.
HARMLESS = 1e-3

#: What is harmless by experience, where nothing was looked at.
_EIGHT_BITS = LayerSettings(quantize=QuantizeSettings(weight_bits=8))


@dataclass(frozen=True)
class Harmless:
    """The strongest settings that the weights say cost nothing, each layer alone.

    Attributes:
        settings: by method and layer; a layer that has none that is harmless is absent. Channels stand at the first
            layer of their group.
        unseen: by method, layers that are too large to be looked at in passing.
    """

    settings: Mapping[str, Mapping[str, LayerSettings]]
    unseen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Feasibility:
    """One method on one model.

    Attributes:
        method: ``quantize``, ``prune``, ``rank`` or ``channels``.
        eligible: names of the layers that can take it.
        refused: the others, with the reason in words.
        harmless: the strongest setting that is expected to cost nothing, of the layers that have one and that it
            makes smaller.
        bytes_saved: of the exported file with those settings; None where nothing is known yet.
        macs_saved: for one sample, likewise.
        zeros: weights that become zero, likewise.
        measured: whether a scan told, and not the weights alone.
        unseen: eligible layers of which nothing is known.
    """

    method: str
    eligible: tuple[str, ...]
    refused: Mapping[str, str]
    harmless: Mapping[str, LayerSettings] = field(default_factory=dict)
    bytes_saved: int | None = None
    macs_saved: int | None = None
    zeros: int | None = None
    measured: bool = False
    unseen: tuple[str, ...] = ()


def feasibility(info: ModelInfo, scan: Scan | None = None, found: Harmless | None = None) -> tuple[Feasibility, ...]:
    """A summary of each method.

    Args:
        info: the model.
        scan: what was measured of its layers; it goes before what the weights tell, method by method. Layers are
            judged alone, so that together they may still cost a little.
        found: what the weights tell. Without it only 8-bit weights are expected to be harmless.
    """
    points = defaultdict[str, dict[str, list[ScanPoint]]](lambda: defaultdict(list))
    for point in scan.points if scan is not None else ():
        points[point.method][point.layer].append(point)
    return tuple(_of(method, info, points[method], found) for method in METHODS)


def _of(method: str, info: ModelInfo, points: Mapping[str, list[ScanPoint]], found: Harmless | None) -> Feasibility:
    eligible = {layer.name: layer for layer in info.layers if layer.allows(method)}
    refused = {one.name: one.methods.get(method, "not possible") for one in info.layers if one.name not in eligible}
    plain = Feasibility(method, tuple(eligible), refused)
    if points:
        return _measured(plain, info, eligible, points)
    if found is not None:
        return _told(plain, info, found.settings.get(method, {}), found.unseen.get(method, ()))
    return _told(plain, info, dict.fromkeys(eligible, _EIGHT_BITS), ()) if method == "quantize" else plain


def _measured(
    plain: Feasibility, info: ModelInfo, layers: Mapping[str, Layer], points: Mapping[str, list[ScanPoint]]
) -> Feasibility:
    """What a scan of these layers tells."""
    best = {name: point for name in layers if (point := _strongest(layers[name], plain.method, points.get(name, ())))}
    harmless = {name: point.settings for name, point in best.items()}
    if plain.method == "channels":  # what two groups save of one layer multiplies
        return replace(_told(plain, info, harmless, ()), measured=True)
    return replace(
        plain,
        harmless=harmless,
        bytes_saved=sum(layers[name].bytes - point.bytes for name, point in best.items()),
        macs_saved=sum(layers[name].macs - point.macs for name, point in best.items()),
        zeros=sum(_zeros(layers[name], point.settings) for name, point in best.items()),
        measured=True,
        unseen=tuple(name for name in layers if name not in points),
    )


def _told(plain: Feasibility, info: ModelInfo, told: Mapping[str, LayerSettings], unseen: Iterable[str]) -> Feasibility:
    """What settings save that the weights say are harmless."""
    layers, able = {layer.name: layer for layer in info.layers}, set(plain.eligible)
    harmless = {name: one for name, one in told.items() if name in able and _helps(layers[name], one)}
    cost = model_cost(info, Recipe().with_layers(harmless), {}, info.bytes)
    return replace(
        plain,
        harmless=harmless,
        bytes_saved=sum(layer.bytes - cost.layers[layer.name].bytes for layer in info.layers),
        macs_saved=info.macs - cost.macs,
        zeros=cost.parameters - cost.nonzeros,
        unseen=tuple(unseen),
    )


def _strongest(layer: Layer, method: str, points: Iterable[ScanPoint]) -> ScanPoint | None:
    """The harmless point that leaves least of a layer, None where none leaves less than all of it."""
    harmless = [point for point in points if point.distortion <= HARMLESS]
    if method == "prune":  # zeros are stored: no point is smaller than another
        return max(harmless, key=lambda point: _zeros(layer, point.settings), default=None)
    if method == "channels":  # a point counts what all layers of the group have left
        return max(harmless, key=_removed, default=None)
    smaller = (point for point in harmless if point.bytes < layer.bytes)
    return min(smaller, key=lambda point: point.bytes, default=None)


def _removed(point: ScanPoint) -> float:
    return 0.0 if point.settings.channels is None else point.settings.channels.ratio


def _zeros(layer: Layer, settings: LayerSettings) -> int:
    cost = layer_cost(layer, settings)
    return cost.parameters - cost.nonzeros


def _helps(layer: Layer, settings: LayerSettings) -> bool:
    """Whether a layer has less with these settings; names and scales may take more than its weights save."""
    if settings.prune is not None or settings.channels is not None:
        return True
    return layer_cost(layer, settings).bytes < layer.bytes
