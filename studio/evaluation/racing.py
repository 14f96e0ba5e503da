"""When a candidate of a scan need not be measured any further.

Settings are ranked by the distortion of the model's outputs, which a search adds up and reads drops from. Every sample
tells of it, while only the few that flip tell of a drop: distortions of a hundred samples rank settings whose drops a
thousand samples do not tell apart. So a candidate has its place early, and its drop is known roughly; what a distortion
costs is told by the drops of all candidates together (`studio.evaluation.expected_drop`).
"""

import math

from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.result import Result

#: A candidate has its place when half its distortion's interval is at most this share of it: settings a method or a
#: layer apart differ by factors.
PLACED = 0.3

#: A share metric's drop is known well enough when half its interval is narrower than this many points …
NARROW = 4.0

#: … or than this share of the drop itself: how bad a hopeless setting is matters to nobody.
RELATIVE = 0.3

#: What a race's points depend on, beside their samples.
RULE = (PLACED, NARROW, RELATIVE)


def is_decided(result: Result) -> bool:
    """Whether the distortion tells the candidate's place, and the paired interval of the drop what it roughly costs.

    Outputs that are not finite have the last place, however few were seen. Metrics that are not shares (mean squared
    error) have no scale of their own: only the relative width decides.
    """
    drop, spread = result.drop, result.distortion_spread
    placed = spread is None or spread <= PLACED or result.sqnr_db == -math.inf
    if drop is None or not placed:
        return False
    half = (drop.high - drop.low) / 2
    narrow = NARROW if METRIC_KINDS[result.metric.name].unit == "%" else 0.0
    return half <= max(narrow, RELATIVE * abs(drop.value))
