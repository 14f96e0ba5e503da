"""Why a search offers what it offers, in words."""

from studio.search.outcome import Decided, FrontierPoint, SearchOutcome
from studio.search.target import DROP, Target

_CHOSEN: dict[Decided, str] = {
    "drop": "Chosen against all layers alike by the measured drops, whose intervals lie apart.",
    "distortion": "Chosen against all layers alike by the distortion of the outputs: the drops' intervals overlap, so "
    "that the samples do not tell.",
    "target": "All layers alike lose more than the target allows.",
}


def reasons(outcome: SearchOutcome, target: Target | None) -> tuple[str, ...]:
    """What decided, one sentence each.

    Args:
        outcome: of the search.
        target: what it was asked for.
    """
    chosen = () if outcome.decided_by is None else (_CHOSEN[outcome.decided_by],)
    if target is None or target.kind != DROP:
        return chosen
    return (_within(outcome.best, target.limit), *chosen)


def _within(best: FrontierPoint, limit: float) -> str:
    """How a drop is held against its limit: neither lucky samples nor a mild distortion alone will do."""
    drop, likely = best.drop.value if best.drop is not None else 0.0, best.likely or 0.0
    return (
        f"Held against {limit:g}: a drop of {drop:.3g} on the samples and of {likely:.3g} that the distortion of the "
        "outputs lets one expect; the larger counts."
    )
