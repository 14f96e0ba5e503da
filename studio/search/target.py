"""What a search is asked for: a target in words, such as ``size=0.25``, and what each kind of budget counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

from studio.errors import SearchError, did_you_mean
from studio.models.layer import ModelInfo
from studio.recipe.cost import LayerCost, ModelCost


@dataclass(frozen=True)
class Meter:
    """Something that a recipe spends, added up over the layers.

    Attributes:
        unit: for messages, behind a number.
        of_layer: what one layer spends.
        of_model: what the whole model spends with a recipe, exactly.
        of_original: what the uncompressed model spends; the second argument is the bytes of its export.
    """

    unit: str
    of_layer: Callable[[LayerCost], float]
    of_model: Callable[[ModelCost], float]
    of_original: Callable[[ModelInfo, int], float]


#: Kinds of budget whose limit is a share of what the original spends. Whatever adds up over the layers fits in here.
METERS: Mapping[str, Meter] = {
    "size": Meter("bytes", lambda la: la.bytes, lambda m: m.bytes, lambda _info, exported: exported),
    "macs": Meter("MACs", lambda la: la.macs, lambda m: m.macs, lambda info, _exported: info.macs),
    "nonzeros": Meter(
        "weights that are not zero",
        lambda la: la.nonzeros,
        lambda m: m.nonzeros,
        lambda info, _exported: info.parameters,
    ),
}

#: The kind whose limit is a loss of accuracy in points: the smallest file within it is sought.
DROP = "drop"

#: The kind whose limit is a time in the runtime: a share of the original's, or milliseconds.
LATENCY = "latency"

KINDS = (*METERS, LATENCY, DROP)

#: What a limit is a share of, in words.
_SHARED = {"macs": "operations", "nonzeros": "weights", LATENCY: "time"}


@dataclass(frozen=True)
class Target:
    """A budget.

    Attributes:
        kind: one of `KINDS`.
        limit: the share of the original that may be spent (0..1); with ``drop`` the points that may be lost, in the
            metric's own unit.
        absolute: the limit is in milliseconds; with ``latency`` alone.
    """

    kind: str
    limit: float
    absolute: bool = False

    @property
    def text(self) -> str:
        """As `parse_target` reads it."""
        return f"{self.kind}={self.limit:g}{'ms' if self.absolute else ''}"

    @property
    def words(self) -> str:
        """For people: ``"8× smaller"``, ``"60 % of the time"``."""
        if self.kind == "size":
            return f"{1 / self.limit:.3g}× smaller"
        if self.kind == DROP:
            return f"smallest, losing at most {self.limit:g}"
        if self.absolute:
            return f"at most {self.limit:g} ms"
        return f"{100 * self.limit:.3g} % of the {_SHARED[self.kind]}"

    @property
    def meter(self) -> Meter:
        """What is counted; a loss of accuracy is bought with bytes, and a time is not counted but measured."""
        return METERS[self.kind if self.kind in METERS else "size"]


def parse_target(text: str) -> Target:
    """Reads a target such as ``size=0.25`` or ``latency=2ms``.

    Raises:
        SearchError: it is none, or out of range.
    """
    kind, separator, number = (part.strip() for part in text.partition("="))
    if not separator or kind not in KINDS:
        raise SearchError(
            f"--target: '{text}' is no target; give one such as size=0.25; kinds: {', '.join(KINDS)}."
            f"{did_you_mean(kind, KINDS)}"
        )
    absolute = kind == LATENCY and number.endswith("ms")
    try:
        limit = float(number.removesuffix("ms") if absolute else number)
    except ValueError:
        raise SearchError(f"--target: '{number}' is no number.") from None
    return checked_target(Target(kind, limit, absolute))


def uncounted(info: ModelInfo, kind: str) -> str:
    """Why a model cannot spend such a budget, as nobody can count it; empty where one can."""
    if kind == "macs" and not info.counts_macs:
        return f"how often each weight is used is not known: {info.lacks.get('train', 'it has no network')}"
    return ""


def checked_target(target: Target) -> Target:
    """The target itself.

    Raises:
        SearchError: its limit is out of range.
    """
    if target.kind == DROP and not target.limit >= 0:
        raise SearchError(f"--target: drop={target.limit:g}: the points that may be lost cannot be negative.")
    if target.absolute and not 0 < target.limit < inf:
        raise SearchError(f"--target: {target.text}: give a time above 0 ms.")
    if target.kind != DROP and not target.absolute and not 0 < target.limit <= 1:
        raise SearchError(
            f"--target: {target.kind}={target.limit:g}: give the share of the original that may remain, above 0 and at "
            "most 1."
        )
    return target
