"""What a layer's settings are expected to cost: from the points of a scan, interpolated and added up.

A point tells the distortion ``Σ(y − ŷ)² / Σy²`` of the model's outputs with one method on one layer. Errors of
different origin are taken to be independent, so that distortions add up: over the methods that are combined on one
layer, and over the layers of a recipe.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import exp, log

from studio.evaluation.sensitivity import ScanPoint
from studio.recipe.settings import LayerSettings

#: Distortion beyond which one setting is as useless as any other: four times as much noise as signal.
USELESS = 4.0

#: Distortion below which logarithms are not taken.
_LEAST = 1e-12


class LayerLoss:
    """The expected distortion of one layer's settings.

    Args:
        points: of its scan.
    """

    def __init__(self, points: Iterable[ScanPoint]) -> None:
        curves = dict[str, list[tuple[float, float]]]()
        for point in points:
            strength = strengths(point.settings).get(point.method)
            if strength is not None:
                curves.setdefault(point.method, []).append((strength, log(max(point.distortion, _LEAST))))
        self._curves = {method: sorted(curve) for method, curve in curves.items()}

    def __call__(self, settings: LayerSettings) -> float | None:
        """The sum over the methods; None where the scan knows nothing of one of them.

        Between the points of a method, and a little beyond, the logarithm of the distortion is straight. Scales for
        more than a channel count as if they were the channel's, the least they may cost. Channels are no single
        layer's: see `of_channels`.
        """
        if settings.channels is not None or (settings.rank is not None and settings.rank.parameters is None):
            return None
        wanted = strengths(settings)
        if any(method not in self._curves for method in wanted):
            return None
        losses = (exp(_straight(self._curves[method], strength)) for method, strength in wanted.items())
        return min(sum(losses), USELESS)

    def of_channels(self, ratio: float) -> float | None:
        """The same of a share of the channels that goes, where the points are those of a group; 0 of none."""
        if not ratio or "channels" not in self._curves:
            return 0.0 if not ratio else None
        return min(exp(_straight(self._curves["channels"], ratio)), USELESS)


def strengths(settings: LayerSettings) -> dict[str, float]:
    """By method, a number along which its distortion is a curve; methods that are not used are absent."""
    found = dict[str, float]()
    if settings.quantize is not None:
        found["quantize"] = float(settings.quantize.weight_bits)
    if settings.prune is not None:
        found["prune"] = settings.prune.ratio
    if settings.channels is not None:
        found["channels"] = settings.channels.ratio
    if settings.rank is not None and settings.rank.parameters is not None:
        found["rank"] = settings.rank.parameters
    return found


def _straight(known: Sequence[tuple[float, float]], x: float) -> float:
    """The line through the two known points about `x`, or the two nearest to it."""
    if len(known) == 1:
        return known[0][1]
    pairs = list(pairwise(known))
    (x0, y0), (x1, y1) = next((pair for pair in pairs if x <= pair[1][0]), pairs[-1])
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)
