"""How numbers read in the window: bytes, counts, percents, metrics and settings as short English text."""

import math

from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.prediction import Estimate
from studio.evaluation.result import WEIGHT_ERROR, Measurement
from studio.export.latency import Ratio, Timing
from studio.recipe.factorization import Factorization
from studio.recipe.settings import LayerSettings, PruneSettings, QuantizeSettings, RankSettings

#: Typographic minus: as wide as the plus sign, so columns of differences line up.
MINUS = "−"

_METRIC_NAMES = {name: kind.title for name, kind in METRIC_KINDS.items()} | {
    "sqnr": "Output SQNR",
    WEIGHT_ERROR: "Weight error",
}
_PERCENT_METRICS = frozenset(name for name, kind in METRIC_KINDS.items() if kind.unit == "%") | {WEIGHT_ERROR}

#: What the units of sizes count, and how many of one stay readable.
_BYTES = {"kB": 1e3, "MB": 1e6}
_LONGEST = 1e5

_KIND_NAMES = {"linear": "Linear", "embedding": "Embedding"}


def bytes_text(count: int) -> str:
    """Bytes in the decimal unit that leaves one to three digits before the point: ``"12.3 kB"``."""
    size = float(abs(count))
    sign = MINUS if count < 0 else ""
    if size < 1000:
        return f"{sign}{size:.0f} B"
    for unit in ("kB", "MB"):
        size /= 1000
        if size < 999.95:
            return f"{sign}{size:.1f} {unit}"
    return f"{sign}{size / 1000:,.2f} GB"


def one_unit(before: str, after: str) -> str:
    """Two figures with what became of the first, the unit told once where they share it: ``"501.3 → 60.9 kB"``."""
    unit = f" {after.rsplit(' ', 1)[-1]}"
    return f"{before.removesuffix(unit)} → {after}"


def two_sizes(before: int, after: int) -> str:
    """Two sizes in the unit of the second, as long as that leaves the first one readable: ``"2,630 → 813.1 kB"``."""
    second = bytes_text(after)
    unit = second.rsplit(" ", 1)[-1]
    if bytes_text(before).endswith(f" {unit}") or unit not in _BYTES or before >= _LONGEST * _BYTES[unit]:
        return one_unit(bytes_text(before), second)
    return f"{before / _BYTES[unit]:,.0f} → {second}"


def saved_text(before: int, after: int) -> str:
    """What a change of size means, with its sign: ``"−12.3 kB"`` when smaller, ``"+1.0 kB"`` when larger."""
    difference = after - before
    return f"+{bytes_text(difference)}" if difference > 0 else bytes_text(difference) if difference else "no change"


def count_text(count: int) -> str:
    """A whole number with thousands separators: ``"269,722"``."""
    return f"{count:,}".replace("-", MINUS)


def short_count(count: float) -> str:
    """A large count with three significant digits and its prefix: ``"41.2 M"``."""
    for limit, divisor, prefix in ((1e9, 1e9, " G"), (1e6, 1e6, " M"), (1e4, 1e3, " k")):
        if count >= limit:
            return f"{count / divisor:.3g}{prefix}"
    return f"{count:,.0f}"


def percent_text(share: float, digits: int = 1) -> str:
    """A share of one as percent: ``0.237`` → ``"23.7 %"``."""
    return f"{100 * share:.{digits}f} %".replace("-", MINUS)


def ratio_text(original: int, current: int) -> str:
    """How much smaller: ``"3.8× smaller"``."""
    if original <= 0 or current <= 0 or original == current:
        return "unchanged"
    smaller = original > current
    ratio = original / current if smaller else current / original
    return f"{ratio:.{2 if ratio < 2 else 1}f}× {'smaller' if smaller else 'larger'}"


def metric_name(name: str) -> str:
    """A metric's name for people."""
    return _METRIC_NAMES.get(name, name)


def metric_value(name: str, value: float) -> str:
    """A metric's value in its unit: ``"97.30 %"``, ``"31.2 dB"``."""
    if name in _PERCENT_METRICS:
        return f"{value:.2f} %"
    return f"{value:.1f} dB" if name == "sqnr" else f"{value:#.4g}".rstrip(".")


def measurement_text(measurement: Measurement) -> str:
    """A value with half the width of its 95 % interval: ``"97.30 ± 0.25 %"``."""
    half = (measurement.high - measurement.low) / 2
    if measurement.name == WEIGHT_ERROR:  # all weights were compared: there is nothing to estimate
        return metric_value(measurement.name, measurement.value)
    if measurement.name in _PERCENT_METRICS:
        return f"{measurement.value:.2f} ± {half:.2f} %"
    return f"{metric_value(measurement.name, measurement.value)} ± {half:.2g}"


def drop_text(drop: Measurement) -> str:
    """What a paired drop does to the value: ``"−0.70 ± 0.30 points"``; a larger error gets a plus sign."""
    half = (drop.high - drop.low) / 2
    change = change_of_value(drop.name, drop.value)
    sign = "" if change == 0 else MINUS if change < 0 else "+"
    if drop.name in _PERCENT_METRICS:
        return f"{sign}{abs(drop.value):.2f} ± {half:.2f} points"
    if not 0 < half < math.inf:
        return f"{sign}{abs(drop.value):.3g} ± {half:.2g}"
    digits = max(0, 1 - math.floor(math.log10(half)))  # the value to the digits that its interval leaves it
    return f"{sign}{abs(drop.value):.{digits}f} ± {half:.{digits}f}"


def drop_short(drop: Measurement) -> str:
    """A drop without its interval, for narrow columns: ``"−0.70"``; a weight error is none and stays as it is."""
    if drop.name == WEIGHT_ERROR:
        return measurement_text(drop)
    return signed_change(drop.name, drop.value)


def sentence(reason: str) -> str:
    """A reason as a sentence of its own."""
    return f"{reason[:1].upper()}{reason[1:].rstrip('.')}."


def change_of_value(metric: str, drop: float) -> float:
    """What a drop does to the metric's value: it falls, or rises where a lower one is better, as a perplexity."""
    kind = METRIC_KINDS.get(metric)
    return -drop if kind is None or kind.higher_is_better else drop


def in_points(metric: str) -> bool:
    """Whether changes of the metric are points of a percentage."""
    return metric in _PERCENT_METRICS


def change_title(metric: str) -> str:
    """What an axis of changes is called: ``"change, points"``, ``"change of perplexity"``."""
    return "change, points" if in_points(metric) else f"change of {metric_name(metric).lower()}"


def signed_change(metric: str, drop: float) -> str:
    """What a drop does to the value, for narrow columns: ``"−0.70"`` points, or ``"+0.031"`` of a perplexity."""
    change = change_of_value(metric, drop)
    if metric not in _PERCENT_METRICS:
        return f"{change:+.3g}".replace("-", MINUS) if change else "0"
    return f"{change:+.2f}".replace("-", MINUS) if abs(change) >= 0.005 else "0.00"


def predicted_short(metric: str, estimate: Estimate) -> str:
    """A change that is expected, for narrow columns: ``"≈ −0.70"``."""
    return f"≈ {signed_change(metric, estimate.drop)}"


def predicted_text(metric: str, estimate: Estimate) -> str:
    """A change that is expected: ``"≈ −0.70 ± 0.30"``, ``… or worse`` beyond what was scanned."""
    spread = f"{estimate.spread:.2f}" if metric in _PERCENT_METRICS else f"{estimate.spread:.2g}"
    return f"{predicted_short(metric, estimate)} ± {spread}{' or worse' if estimate.at_least else ''}"


def points_text(count: int) -> str:
    """How many points there are: ``"1 point"``, ``"180 points"``."""
    return f"{count:,} point{'s' if count != 1 else ''}"


def duration_text(seconds: float) -> str:
    """A duration to the precision that matters: ``"45 s"``, ``"3 min 20 s"``, ``"2 h 5 min"``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def milliseconds_text(milliseconds: float) -> str:
    """A time with three significant digits: ``"512 µs"``, ``"12.3 ms"``, ``"1.25 s"``."""
    if milliseconds < 0.9995:
        return f"{1000 * milliseconds:.3g} µs"
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms" if milliseconds >= 100 else f"{milliseconds:#.3g} ms"
    return f"{milliseconds / 1000:,.2f} s"


def timing_text(timing: Timing) -> str:
    """A time with its interval and the runs it is from: ``"512 µs (508 µs … 519 µs), 1,200 runs"``."""
    ends = " … ".join(milliseconds_text(end) for end in (timing.low, timing.high))
    return f"{milliseconds_text(timing.ms)} ({ends}), {count_text(timing.runs)} runs"


def faster_text(faster: Ratio) -> str:
    """How fast beside the original: ``"1.80× faster"``; equally fast where the interval leaves that open."""
    if faster.low <= 1 <= faster.high:
        return "equally fast"
    return f"{faster.value:.2f}× faster" if faster.value > 1 else f"{1 / faster.value:.2f}× slower"


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape as ``"16 × 3 × 3 × 3"``."""
    return " × ".join(str(size) for size in shape)


def kind_text(kind: str) -> str:
    """A layer kind for people: ``conv2d`` → ``"Conv 2d"``."""
    return _KIND_NAMES.get(kind, kind.replace("conv_transpose", "Conv transpose ").replace("conv", "Conv ", 1))


def settings_chips(settings: LayerSettings) -> tuple[str, ...]:
    """What is chosen for a layer, one short text a method: ``("50 %", "r48", "4b g32")``, ``("−25 % ch", "3b")``."""
    if settings.keep:
        return ("kept",)
    chips = []
    if settings.channels is not None:
        chips.append(f"{MINUS}{100 * settings.channels.ratio:.3g} % ch")
    if settings.prune is not None:
        chips.append(_sparsity(settings.prune))
    if settings.rank is not None:
        chips.append(_thinness(settings.rank))
    if settings.quantize is not None:
        activations = " a8" if settings.quantize.activation_bits else ""
        chips.append(f"{_stored(settings.quantize)}{activations}")
    return tuple(chips)


def factors_text(factors: Factorization) -> str:
    """How a layer was split: ``"as k×1, 1×k of rank 36"``."""
    form = {"matrix": "its matrix", "spatial": "k×1, 1×k", "tucker": "Tucker"}[factors.form]
    return f"as {form} of rank {' and '.join(map(str, factors.ranks))}"


def _thinness(settings: RankSettings) -> str:
    if settings.parameters is not None:
        return f"{100 * settings.parameters:.4g} % P"
    return f"r{settings.rank}" if settings.rank is not None else f"{100 * (settings.energy or 0):.4g} % E"


def _sparsity(settings: PruneSettings) -> str:
    return f"{settings.n}:{settings.m}" if settings.kind == "n_m" else f"{100 * settings.ratio:.3g} %"


def _stored(settings: QuantizeSettings) -> str:
    """The bits, with the granularity as a suffix; one scale per channel is the usual case and goes without."""
    if settings.weight_bits == 16:
        return settings.float_format
    zero = "" if settings.symmetric else " asym"
    return (
        f"{settings.weight_bits}b{zero}"
        + {"tensor": " tensor", "channel": "", "group": f" g{settings.group_size}"}[settings.granularity]
    )
