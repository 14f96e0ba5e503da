"""A smaller recipe than the best that the samples cannot tell from it.

A search for a size spends all that it may, as long as the distortion of the outputs falls. Where a recipe that spends
less loses no more than the best may lose itself, many would rather have that one.
"""

from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.target import DROP, Target

#: Of what the best spends a recipe has to save this share at least; less is not worth a choice.
LEAST_SAVED = 0.05


def as_good(outcome: SearchOutcome, target: Target | None) -> FrontierPoint | None:
    """The recipe that spends least of those whose drop lies within the paired 95 % interval of the best one's drop.

    As where a drop is asked for, the drop is the measured one or the one that the distortion lets one expect, whichever
    is more: a few samples that happened to come out right make no recipe as good as another.

    Args:
        outcome: of the search.
        target: what it was asked for.

    Returns:
        None where there is no such recipe, and where the target is a drop: the best is the smallest then.
    """
    best = outcome.best
    if best.drop is None or outcome.late or (target is not None and target.kind == DROP):
        return None
    most, within = (1 - LEAST_SAVED) * best.spent, best.drop.high
    found = [
        point
        for point in outcome.frontier
        if point.is_measured and point.spent <= most and point.bytes <= best.bytes and point.judged <= within
    ]
    return min(found, key=lambda point: (point.spent, point.rank), default=None)
