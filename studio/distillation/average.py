"""A running average of a student's weights, which does better than the last ones while the rate is high."""

import copy

import torch
from torch import fx


class Average:
    """A student of its own whose parameters follow those of another.

    ``w̄ ← d w̄ + (1 − d) w`` after every step, with ``d = min(decay, (1 + t) / (10 + t))`` at step t, so that the first
    weights are soon forgotten (B. Polyak and A. Juditsky, Acceleration of stochastic approximation by averaging, 1992).

    Attributes:
        graph: the averaged student.
    """

    def __init__(self, graph: fx.GraphModule, decay: float) -> None:
        self.graph = copy.deepcopy(graph)
        self._decay = decay

    @torch.no_grad()
    def follow(self, graph: fx.GraphModule, step: int) -> None:
        """Takes in the weights of `graph` after step `step` (1-based); what does not train is copied."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for mine, theirs in zip(self.graph.parameters(), graph.parameters(), strict=True):
            mine.lerp_(theirs, 1 - decay)
        for kept, given in zip(self.graph.buffers(), graph.buffers(), strict=True):
            kept.copy_(given)
