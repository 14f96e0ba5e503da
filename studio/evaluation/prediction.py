"""What a recipe will probably cost, told from a scan before anything is measured: never a measurement.

Every layer's drop is read from its own curves, straight between two points. What stands there is not the drop of that
point alone, which few samples tell roughly, but the one that the whole scan expects of its distortion. Methods of a
layer and layers of a model are added up, as if none minded what the others lose. Channels count once, at the first
changed layer of those that lose them together. That holds for small drops and errs for large ones.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from studio.evaluation.expected_drop import ExpectedDrop
from studio.evaluation.sensitivity import Scan, ScanPoint
from studio.evaluation.strength import HARMLESS, strength, strength_in
from studio.models.layer import Layer
from studio.recipe.factorization import Factorization
from studio.recipe.settings import LayerSettings


@dataclass(frozen=True)
class Estimate:
    """A drop that is expected.

    Attributes:
        drop: in the unit of the scan's drops (positive: worse).
        spread: how far the scan's own 95 % intervals let it be off to either side, as if errors were independent.
        at_least: whether a setting is stronger than all that was scanned, so that it may well be worse.
    """

    drop: float
    spread: float
    at_least: bool = False

    def __add__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.drop + other.drop, hypot(self.spread, other.spread), self.at_least or other.at_least)


@dataclass(frozen=True)
class Prediction:
    """A recipe's drop.

    Attributes:
        whole: of all changed layers together that the scan tells something of.
        layers: of each of them alone, by name.
        unknown: changed layers, or methods of them, that the scan tells nothing of.
        metric: what the scan measured.
    """

    whole: Estimate
    layers: Mapping[str, Estimate]
    unknown: tuple[str, ...]
    metric: str


class Curves:
    """The curves of a scan, ready to be read at every move of a slider.

    Args:
        scan: at least one point.
    """

    def __init__(self, scan: Scan) -> None:
        self._metric = scan.points[0].metric
        by_curve: dict[tuple[str, str], list[ScanPoint]] = {}
        for point in scan.points:
            by_curve.setdefault((point.layer, point.method), []).append(point)
        expected = ExpectedDrop(scan.points)
        self._curves = {key: _Curve(key[1], points, expected) for key, points in by_curve.items() if key[1] in HARMLESS}
        self._known: dict[tuple[str, LayerSettings, Factorization | None], Estimate | str] = {}

    def predict(
        self, layers: Mapping[str, Layer], settings: Mapping[str, LayerSettings], factors: Mapping[str, Factorization]
    ) -> Prediction:
        """The prediction for a recipe.

        Args:
            layers: of the model, by name.
            settings: of the layers that are changed.
            factors: how layers with a rank are split, as far as it is known.
        """
        found: dict[str, Estimate] = {}
        unknown: list[str] = []
        for name, chosen in _once_a_group(layers, settings):
            estimate = self._of(layers[name], chosen, factors.get(name))
            if isinstance(estimate, Estimate):
                found[name] = estimate
            else:
                unknown.append(f"{name}: {estimate}")
        return Prediction(sum(found.values(), Estimate(0.0, 0.0)), found, tuple(unknown), self._metric)

    def _of(self, layer: Layer, settings: LayerSettings, factors: Factorization | None) -> Estimate | str:
        """A layer's drop, or what of its settings the scan does not know."""
        key = (layer.name, settings, factors)
        if key not in self._known:
            self._known[key] = self._read(layer, settings, factors)
        return self._known[key]

    def _read(self, layer: Layer, settings: LayerSettings, factors: Factorization | None) -> Estimate | str:
        total = Estimate(0.0, 0.0)
        for method in ("channels", "prune", "rank", "quantize"):
            if getattr(settings, method) is None:
                continue
            curve = self._curves.get(((layer.group or layer.name) if method == "channels" else layer.name, method))
            place = strength_in(layer, method, settings, factors) if method in HARMLESS else None
            if curve is None or place is None:
                return method
            total += curve.at(place)
        return total


def _once_a_group(
    layers: Mapping[str, Layer], settings: Mapping[str, LayerSettings]
) -> Iterator[tuple[str, LayerSettings]]:
    """The settings of each layer, without the channels that an earlier layer has told of."""
    told = set[str | None]()
    for name, chosen in settings.items():
        group = layers[name].group
        known = group is not None and chosen.channels is not None and group in told
        left = chosen.model_copy(update={"channels": None}) if known else chosen
        if chosen.channels is not None:
            told.add(group)
        if not left.is_empty:
            yield name, left


class _Curve:
    """Drops along the strength of one method, from where it is harmless."""

    def __init__(self, method: str, points: Sequence[ScanPoint], expected: ExpectedDrop) -> None:
        told = {strength(method, point.settings) or 0.0: point.distortion for point in points}
        known = [(place, expected(told[place]), expected.spread(told[place])) for place in sorted(told)]
        self._places, self._drops, self._halves = np.array([(HARMLESS[method], 0.0, 0.0), *known]).T

    def at(self, place: float) -> Estimate:
        drop, half = (float(np.interp(place, self._places, values)) for values in (self._drops, self._halves))
        return Estimate(drop, half, bool(place > self._places[-1]))
