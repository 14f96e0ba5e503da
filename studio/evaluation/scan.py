"""The layer scan: every layer or group of channels alone, at several strengths of each method, on the same samples.

Each candidate differs from the original in one layer, or in those that share channels, so that a replay of the
original runs only what lies behind it; the values are those of full evaluations.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from studio.analysis.calibration import Calibration
from studio.compression.compress import CompressedModel, compress
from studio.evaluation.candidates import Candidate
from studio.evaluation.evaluate import Samples, measure
from studio.evaluation.predict import HasOutputs, Predict
from studio.evaluation.racing import is_decided
from studio.evaluation.reference import Reference
from studio.evaluation.result import Result, distortion_of, drop_of
from studio.evaluation.sensitivity import ScanPoint, candidate_key
from studio.models.model import Model
from studio.progress import Progress, Report, silent
from studio.recipe.cost import layer_cost, rest_cost
from studio.recipe.recipe import Recipe
from studio.recipe.settings import LayerSettings, Options

#: Samples after which a race may be decided; whole batches, so that every value is that of a full evaluation.
RACE = (128, 256, 512, 1024, 2048)


@dataclass(frozen=True, eq=False)
class Course:
    """What all candidates of a scan are measured on.

    Attributes:
        model: the original.
        data: the samples; None takes random input.
        outputs: gives the outputs of a candidate.
        reference: the original's outputs.
        calibration: what the methods fit to, None to fit to the weights alone.
        options: of the recipes.
        samples: at most this many.
        seed: fixes which and in what order.
        racing: whether a candidate may stop early.
    """

    model: Model
    data: Samples | None
    outputs: Callable[[CompressedModel], Predict | HasOutputs]
    reference: Reference
    calibration: Calibration | None
    options: Options
    samples: int | None
    seed: int
    racing: bool


def scan(
    course: Course,
    candidates: Sequence[Candidate],
    *,
    known: Iterable[ScanPoint] = (),
    report: Report = silent,
    publish: Callable[[ScanPoint], None],
) -> list[ScanPoint]:
    """Measures the candidates that are not known yet.

    Args:
        course: what they are measured on.
        candidates: what is tried, in this order.
        known: points of an earlier scan on the same course.
        report: told of every candidate and batch; raising `Cancelled` from it stops the work.
        publish: receives each new point.

    Returns:
        The points of all candidates, in their order.
    """
    found = {point.key: point for point in known}
    missing = [one for one in candidates if candidate_key(one.layer.name, one.settings) not in found]
    for done, candidate in enumerate(missing):
        told = _told(report, done, len(missing), candidate)
        point = measure_alone(course, candidate, told)
        found[point.key] = point
        publish(point)
    return [found[candidate_key(one.layer.name, one.settings)] for one in candidates]


def measure_alone(course: Course, candidate: Candidate, report: Report = silent) -> ScanPoint:
    """One layer, or one group of channels, compressed alone, in the layer fit."""
    options = course.options.model_copy(update={"fit": "layer"})
    recipe = Recipe(options=options).with_layer(candidate.layer.name, candidate.settings)
    compressed = compress(course.model, recipe, calibration=course.calibration, report=report)
    result = measure(
        course.outputs(compressed),
        course.data,
        reference=course.reference,
        model=course.model,
        samples=course.samples,
        seed=course.seed,
        blocks=RACE if course.racing else (),
        enough=is_decided if course.racing else None,
        report=report,
    )
    return _point(candidate, compressed, result)


def _point(candidate: Candidate, compressed: CompressedModel, result: Result) -> ScanPoint:
    layer, metric, drop = candidate.layer, result.metric, drop_of(result)
    size, macs = _cost(candidate, compressed)
    return ScanPoint(
        layer=layer.name,
        method=candidate.method,
        setting=candidate.setting,
        settings=candidate.settings,
        bytes=size,
        macs=macs,
        metric=metric.name,
        value=metric.value,
        low=metric.low,
        high=metric.high,
        samples=metric.samples,
        drop=drop.value,
        drop_low=drop.low,
        drop_high=drop.high,
        distortion=distortion_of(result),
    )


def _cost(candidate: Candidate, compressed: CompressedModel) -> tuple[int, int]:
    """Bytes and operations of the layer, or of all layers that lose channels with it."""
    layer = candidate.layer
    if candidate.settings.channels is None:
        alone = layer_cost(layer, candidate.settings.normalised(), compressed.factors.get(layer.name))
        return alone.bytes, alone.macs
    layers = compressed.model.info.layers
    narrowed = compressed.recipe.narrowed(layers)
    costs = [rest_cost(one, narrowed[one.name], LayerSettings()) for one in layers if narrowed[one.name] != one]
    return sum(cost.bytes for cost in costs), sum(cost.macs for cost in costs)


def _told(report: Report, done: int, total: int, candidate: Candidate) -> Report:
    """Progress in candidates, whatever the work on one of them tells."""
    now = Progress(done, total, f"{candidate.layer.name}: {candidate.method} {candidate.setting}")
    return lambda _progress: report(now)
