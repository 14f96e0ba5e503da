"""When a candidate of a scan need not be measured any further."""

from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.result import Result

#: A share metric's drop is known well enough when half its interval is narrower than this many points …
NARROW = 2.0

#: … or than this share of the drop itself: how bad a hopeless setting is matters to nobody.
RELATIVE = 0.3


def is_decided(result: Result) -> bool:
    """Whether the paired interval of the drop is narrow beside what it has to tell.

    Metrics that are not shares (mean squared error) have no scale of their own: only the relative width decides.
    """
    drop = result.drop
    if drop is None:
        return False
    half = (drop.high - drop.low) / 2
    narrow = NARROW if METRIC_KINDS[result.metric.name].unit == "%" else 0.0
    return half <= max(narrow, RELATIVE * abs(drop.value))
