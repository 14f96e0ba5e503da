"""Which channels of a group matter least."""

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from studio.analysis.inputs import HasRows, layer_at
from studio.compression.fit import Fit
from studio.compression.solver import damped
from studio.models.channels import Channels, Ids

#: What says how a layer's inputs look like.
FitOf = Callable[[str, HasRows], Fit]


def least_by_magnitude(graph: fx.GraphModule, channels: Channels, group: str, counts: Mapping[int, int]) -> set[int]:
    """The channels whose weights are smallest.

    The squared norms of a channel's rows in all layers of the group, each as a share of its layer's.

    Args:
        graph: the model.
        channels: of it.
        group: name of the group.
        counts: by block, how many channels go.
    """
    scores = defaultdict[int, float](float)
    for name, ids in channels.outputs.items():
        norms = layer_at(graph, name).weight.detach().double().flatten(1).square().sum(1)
        for one, share in zip(ids.tolist(), (norms / norms.sum().clamp_min(1e-30)).tolist(), strict=True):
            if channels.blocks.get(one, (None,))[0] == group:
                scores[one] += share
    return _least(scores, channels, group, counts)


def least_by_taylor(gates: Mapping[str, Tensor], channels: Channels, group: str, counts: Mapping[int, int]) -> set[int]:
    """The channels that the loss leans on least, to first order.

    The square of a channel's derivative ``Σ ∂L/∂g`` over all layers of the group, which lose it together, averaged
    over the samples (P. Molchanov et al., arXiv 1906.10771; see `studio.analysis.gradients`).

    Args:
        gates: ``∂L/∂g`` by layer, ``[samples, out]``.
        channels: of the model.
        group: name of the group.
        counts: by block, how many channels go.
    """
    slopes = defaultdict[int, Tensor](lambda: torch.zeros(()))
    for name, ids in channels.outputs.items():
        for place, one in enumerate(ids.tolist()):
            if channels.blocks.get(one, (None,))[0] == group:
                slopes[one] = slopes[one] + gates[name][:, place].double()
    return _least({one: float(slope.square().mean()) for one, slope in slopes.items()}, channels, group, counts)


def _least(scores: Mapping[int, float], channels: Channels, group: str, counts: Mapping[int, int]) -> set[int]:
    """The channels of each block with the lowest scores; of equal ones the first."""
    removed = set[int]()
    for block, count in counts.items():
        members = [one for one in sorted(scores) if channels.blocks[one] == (group, block)]
        removed.update(sorted(members, key=scores.__getitem__)[:count])
    return removed


@torch.no_grad()
def least_for_outputs(
    graph: fx.GraphModule, channels: Channels, group: str, counts: Mapping[int, int], fit_of: FitOf
) -> set[int]:
    """The channels whose removal changes the consumers' outputs least once their other weights have made up for it.

    Backward elimination: the cost of the columns c of a channel is ``tr(W_c ([H⁻¹]_cc)⁻¹ W_cᵀ)``, as a share of the
    consumer's output energy ``tr(W H Wᵀ)`` and summed over consumers; the cheapest channel goes, W and H⁻¹ are
    brought up to date, and so on (Optimal Brain Surgeon for structures: ZipLM, arXiv 2302.04089).

    Args:
        graph: the model.
        channels: of it.
        group: name of the group.
        counts: by block, how many channels go.
        fit_of: what a consumer's inputs look like.
    """
    consumers = [
        _Consumer.of(ids, fit_of(name, layer_at(graph, name)), layer_at(graph, name))
        for name, ids in channels.inputs.items()
        if any(channels.blocks.get(one, (None,))[0] == group for one in ids.tolist())
        and getattr(layer_at(graph, name), "groups", 1) == 1  # a depthwise one has outputs of the group, no sums
    ]
    left = Counter(counts)
    staying = sorted(one for one, block in channels.blocks.items() if block[0] == group)
    removed = set[int]()
    while left.total():
        candidates = [one for one in staying if left[channels.blocks[one][1]] > 0]
        costs = sum((consumer.costs(candidates) for consumer in consumers), torch.zeros(len(candidates)).double())
        one = candidates[int(costs.argmin())]
        for consumer in consumers:
            consumer.remove(one)
        staying.remove(one)
        left[channels.blocks[one][1]] -= 1
        removed.add(one)
    return removed


@dataclass(eq=False)
class _Consumer:
    """A layer that takes channels of the group: its weight and the inverse of its inputs' moment, as they are now."""

    columns: Mapping[int, Tensor]
    weight: Tensor
    inverse: Tensor
    energy: float

    @classmethod
    def of(cls, ids: Ids, fit: Fit, layer: HasRows) -> "_Consumer":
        W = fit.weight[0]
        H = torch.eye(W.shape[1], dtype=W.dtype) if fit.moment is None else damped(fit.moment[0])
        spread = torch.from_numpy(ids).repeat_interleave(layer.weight[0, 0].numel())
        columns = {one: torch.nonzero(spread == one)[:, 0] for one in set(ids.tolist())}
        return cls(columns, W.clone(), torch.linalg.inv(H), float(((W @ H) * W).sum().clamp_min(1e-30)))

    def costs(self, candidates: list[int]) -> Tensor:
        """What the output loses with each of the candidates, ``[candidates]``."""
        costs = torch.zeros(len(candidates)).double()
        by_size = defaultdict[int, list[int]](list)
        for place, one in enumerate(candidates):
            if one in self.columns:
                by_size[len(self.columns[one])].append(place)
        for places in by_size.values():
            columns = torch.stack([self.columns[candidates[place]] for place in places])  # [channels, columns of one]
            blocks = self.inverse[columns[:, :, None], columns[:, None, :]]
            weights = self.weight[:, columns].movedim(1, 0)  # [channels, out, columns of one]
            solved = torch.linalg.solve(blocks, weights.mT)
            costs[places] = (weights.mT * solved).sum((1, 2)) / self.energy
        return costs

    def remove(self, one: int) -> None:
        """Takes a channel away; the other weights make up for it, and its columns keep out of every later step."""
        if one not in self.columns:
            return
        gone = self.columns[one]
        towards = torch.linalg.solve(self.inverse[gone][:, gone], self.inverse[gone])  # [columns of one, n]
        self.weight -= self.weight[:, gone] @ towards
        self.inverse -= self.inverse[:, gone] @ towards
        self.weight[:, gone] = 0
