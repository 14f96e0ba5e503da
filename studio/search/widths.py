"""Groups of coupled channels as a choice beside the layers', and every layer as it is at every width.

What a layer spends depends on three choices: how many channels the group behind it keeps, how many the group before
it, and its own settings, c(r_out, r_in, s). That is no sum, so that a knapsack of single layers cannot hold it. Here a
group is an item of its own, whose options are the shares of its channels that go, each with the distortion that the
scan found; and a layer has its options once for every combination of the shares of the groups it touches, each with
what the narrower layer spends. A tie between the two says that an option of a layer may be chosen only with the share
it presumes, ``Σ x[layer, options that presume r] = y[group, r]``: products of 0/1 choices written linearly, with
nothing left out, so that the solver's sum is what the recipe spends.

Distortions still add up: those of the groups' shares, and those of the layers' settings as scanned at full width.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

from studio.evaluation.sensitivity import Scan
from studio.models.layer import ChannelGroup, Layer
from studio.recipe.channels import Kept, kept_channels, narrowed
from studio.recipe.settings import ChannelSettings
from studio.search.losses import LayerLoss
from studio.search.problem import Problem

#: Shares of a group's channels that may go, scanned ones and one between them; 0 leaves it whole.
RATIOS = (0.0, 0.125, 0.25, 0.375, 0.5)


@dataclass(frozen=True)
class Width:
    """A group whose channels the search may take.

    Attributes:
        group: the group.
        losses: by number of `RATIOS`, the distortion expected.
        kept: likewise, how many channels of its blocks stay.
    """

    group: ChannelGroup
    losses: Sequence[float]
    kept: Sequence[Kept]


@dataclass(frozen=True)
class Widths:
    """All such groups of a model.

    Attributes:
        layers: of the model.
        all: the groups, in the order of their first layers.
    """

    layers: Sequence[Layer]
    all: Sequence[Width]

    @cached_property
    def _number(self) -> Mapping[str, int]:
        return {width.group.name: number for number, width in enumerate(self.all)}

    def touching(self, layer: Layer) -> list[int]:
        """Numbers of the groups whose channels the layer gives or takes."""
        shares = (*layer.outputs, *layer.inputs)
        return sorted({self._number[share.group] for share in shares if share.group in self._number})

    def versions(self, layer: Layer) -> Iterator[tuple[tuple[int, ...], Layer]]:
        """What is left of a layer with each combination of the shares of the groups it touches, their numbers first."""
        touching = self.touching(layer)
        for shares in product(range(len(RATIOS)), repeat=len(touching)):
            kept = dict[tuple[str, int], int]()
            for number, share in zip(touching, shares, strict=True):
                kept |= self.all[number].kept[share]
            yield shares, narrowed(layer, kept)

    def settings(self, shares: Sequence[int]) -> dict[str, ChannelSettings]:
        """By layer the channels that go, as a recipe has them, for the number of each group's share."""
        return {
            name: ChannelSettings(ratio=RATIOS[share])
            for width, share in zip(self.all, shares, strict=True)
            if share
            for name in width.group.members
        }


def widths_of(problem: Problem, scan: Scan) -> Widths:
    """The groups that were scanned and none of whose layers is held; none where a time is sought.

    Times are measured of layers at their full width.
    """
    layers = problem.info.layers
    found = list[Width]()
    for group in problem.info.groups if problem.times is None else ():
        loss = LayerLoss(scan.of(group.name, "channels")).of_channels
        losses = [loss(ratio) for ratio in RATIOS]
        known = [one for one in losses if one is not None]
        if len(known) == len(RATIOS) and not problem.holds(group.members + group.consumers):
            kept = [kept_channels(layers, {group.name: ChannelSettings(ratio=ratio)}) for ratio in RATIOS]
            found.append(Width(group, known, kept))
    return Widths(layers, found)
