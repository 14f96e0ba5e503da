"""How the learning rate goes over a run."""

import math

from studio.distillation.settings import DistillSettings

#: The rate that one cycle begins with, as a share of the peak.
_BEGINNING = 1 / 25


def learning_rate(step: int, total: int, settings: DistillSettings) -> float:
    """The rate of optimizer step `step` (0-based) of `total`.

    ``cosine``: a straight rise to the peak, then half a cosine to zero (I. Loshchilov and F. Hutter, SGDR: stochastic
    gradient descent with warm restarts, arXiv 1608.03983; no restarts). ``one_cycle``: half a cosine up from a 25th of
    the peak, then half a cosine to zero (L. N. Smith and N. Topin, Super-convergence, arXiv 1708.07120; a `warm_up` of
    0.3 is usual there, the momentum stays).
    """
    peak = settings.learning_rate
    rising = max(1, round(settings.warm_up * total))
    if step >= rising:
        return peak * _half_cosine((step - rising) / max(1, total - rising))
    share = (step + 1) / rising
    if settings.schedule == "cosine":
        return peak * share
    return peak * (_BEGINNING + (1 - _BEGINNING) * (1 - _half_cosine(share)))


def _half_cosine(share: float) -> float:
    """From 1 at 0 to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * share))
