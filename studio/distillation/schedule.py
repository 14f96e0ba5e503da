"""How the learning rate goes over a run."""

import math

#: Share of a run in which the rate rises: the first steps of a freshly compressed model have the largest gradients.
WARM_UP = 0.05


def learning_rate(step: int, total: int, peak: float) -> float:
    """The rate of optimizer step `step` (0-based) of `total`: a straight rise to `peak`, then half a cosine to zero.

    I. Loshchilov and F. Hutter, SGDR: stochastic gradient descent with warm restarts, arXiv 1608.03983 (no restarts).
    """
    rising = max(1, round(WARM_UP * total))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
