"""The values kept of one batch of samples."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor
from torch.fx.node import map_aggregate

from studio.evaluation.cuts import Cost, choose_cuts


@dataclass(eq=False)
class Kept:
    """Values of one batch within an allowance.

    Attributes:
        allowance: bytes that may be kept.
        samples: in the batch.
        cuts: names of the nodes whose values are kept; None, all that fit, as long as nobody knows what they cost.
        values: by version.
        bytes: that they take.
    """

    allowance: int
    samples: int
    cuts: Collection[str] | None = None
    values: dict[str, Any] = field(default_factory=dict)
    bytes: int = 0

    def choose(self, costs: Mapping[str, Cost]) -> Collection[str]:
        """Chooses what to keep by the costs of one sample, gives back the room that is not used, and names the cuts."""
        self.cuts = choose_cuts(costs, self.allowance / self.samples)
        used = sum(cost.bytes for name, cost in costs.items() if name in self.cuts)
        self.allowance = min(self.allowance, int(used * self.samples))
        return self.cuts

    def has_room(self, value: Any) -> bool:
        """Whether a value can be kept beside the others."""
        return self.bytes + bytes_of(value) <= self.allowance

    def offer(self, name: str, version: str, value: Any) -> None:
        """Keeps a value if it is one of those to keep and there is room."""
        chosen = self.cuts is None or name in self.cuts
        if chosen and version not in self.values and self.has_room(value):
            self.values[version] = value
            self.bytes += bytes_of(value)

    def retain(self, versions: Collection[str]) -> None:
        """Lets go of all values but those of `versions`."""
        self.values = {version: value for version, value in self.values.items() if version in versions}
        self.bytes = sum(bytes_of(value) for value in self.values.values())


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value."""
    found = list[Any]()
    map_aggregate(value, found.append)
    return [leaf for leaf in found if isinstance(leaf, Tensor)]


def bytes_of(value: Any) -> int:
    """Bytes that keeping a value takes; a view keeps all that it is a view of."""
    stores = {x.untyped_storage().data_ptr(): x.untyped_storage().nbytes() for x in tensors_in(value)}
    return sum(stores.values())
