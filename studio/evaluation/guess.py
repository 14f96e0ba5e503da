"""Guessing how undescribed data become a model's input: by their structure, and by measuring what it does not tell."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from studio.evaluation.data import Dataset, open_described
from studio.evaluation.data_guess import DataGuess, Tried
from studio.evaluation.description import DataDescription
from studio.evaluation.evaluate import measure
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.metrics import METRICS
from studio.evaluation.normalisations import CIFAR, IMAGENET, PLAIN, Normalisation, fitted, of_images, own, rank
from studio.evaluation.reference import Reference
from studio.evaluation.result import Result
from studio.evaluation.runtime import predict_of
from studio.evaluation.structure import Structure, structure_of
from studio.evaluation.text_structure import outputs_of
from studio.models.model import Model
from studio.progress import Progress, Report, silent

#: Samples that decide, fewer where they are so large that they take more than `LARGEST_BLOCK` bytes as floats.
DECIDING = 256
LARGEST_BLOCK = 64 << 20

#: Windows of text that decide, each of many tokens.
TEXTS = 16

#: Samples that a mean and deviation are fitted to: two numbers take few.
FITTING = 128

#: Samples of the baseline.
BASELINE = 1000

#: Share of right answers below which the usual ways to normalise are taken to have failed.
POOR = 50.0


def guess_data(path: Path, model: Model, report: Report = silent) -> DataGuess:
    """Guesses the description of a folder or file.

    Args:
        path: a folder of images, arrays, a table or a text.
        model: what the samples are for.
        report: receives progress; may raise `Cancelled`.

    Raises:
        DataError: nothing there fits the model, or it cannot be read.
    """
    report(Progress(0, None, f"Looking at {path.name}"))
    found = structure_of(path, model.info)
    described, tried, reasons = _measured(found, model, report)
    data = open_described(found.place, described, model.info)
    result = baseline(data, model, report)
    return DataGuess(
        str(found.place),
        described,
        (*found.reasons, *reasons),
        tuple(tried),
        result.metric,
        len(data),
        data.labelled,
    )


def baseline(data: Dataset, model: Model, report: Report = silent) -> Result:
    """The original on the first `BASELINE` samples."""
    predict = predict_of(model)
    reference = None if METRIC_KINDS[data.metric].against == "labels" else Reference(predict)
    return measure(predict, data, reference=reference, samples=BASELINE, blocks=(), report=report)


def _measured(found: Structure, model: Model, report: Report) -> tuple[DataDescription, Sequence[Tried], Sequence[str]]:
    """What of several possible descriptions the model answers best to."""
    if found.described.kind == "tokens":
        return _best(found, model, report)
    best, tried, reasons = _normalised(found, found.described, model, report)
    for other in found.others:
        also, worth, why = _normalised(found, other, model, report)
        if worth and tried and worth[0].value > tried[0].value:
            best, tried, reasons = (
                also,
                worth,
                [*why, "Its folders in the order of their names do better than by number."],
            )
    return best, tried, reasons


def _best(found: Structure, model: Model, report: Report) -> tuple[DataDescription, Sequence[Tried], Sequence[str]]:
    """Of several tokenizers the one whose text surprises the model least, or that it answers best to."""
    if not found.others:
        return found.described, (), ()
    worth, sign = [], 1.0
    for described in (found.described, *found.others):
        data = open_described(found.place, described, model.info)
        count = TEXTS if data.metric == "perplexity" else DECIDING
        value = baseline(data.take(range(min(count, len(data)))), model, report).metric.value
        sign = -1.0 if METRIC_KINDS[data.metric].higher_is_better else 1.0
        worth.append((value, described))
    value, described = min(worth, key=lambda one: sign * one[0])
    names = ", ".join(f"{one.tokenizer} {number:.4g}" for number, one in worth)
    return described, (), (f"Of the possible tokenizers '{described.tokenizer}' does best ({names}).",)


def _normalised(
    found: Structure, described: DataDescription, model: Model, report: Report
) -> tuple[DataDescription, Sequence[Tried], list[str]]:
    """The description with the way to normalise that the model answers best to, or the usual one without labels."""
    data = open_described(found.place, described, model.info)
    stored, labels = _block(data)
    if stored is None:
        return described, (), []
    channel = _channel(described, model)
    ways = _ways(described, stored, channel)
    if len(ways) == 1:
        return ways[0].write(described), (), []
    if labels is None or METRIC_KINDS[data.metric].against == "original":
        way = _usual(ways, stored, channel)
        return (
            way.write(described),
            (),
            [f"Normalised {way.name}: without labels nothing tells how the model was trained, so please check."],
        )
    report(Progress(0, None, "Trying the usual ways to normalise"))
    metric, predict = METRICS[data.metric], predict_of(model)
    order, tried = rank(predict, stored, channel, ways, labels, metric)
    trainable = not model.info.runtime  # a mean and deviation are fitted by gradients
    if metric.name == "top1" and tried[0].value < POOR and described.kind == "tensor" and trainable:
        report(Progress(0, None, "Fitting a mean and deviation"))
        start = next((way for way in order if len(way.mean) == 1 and way.std != (1.0,)), PLAIN)
        ways = [*order, fitted(model.graph, stored[:FITTING], start, labels[:FITTING])]
        order, tried = rank(predict, stored, channel, ways, labels, metric)
    return order[0].write(described), tried, [_why(tried, data, len(stored), outputs_of(model.info))]


def _why(tried: Sequence[Tried], data: Dataset, count: int, outputs: int | None) -> str:
    unit = f" {METRIC_KINDS[data.metric].unit}".rstrip()
    best = tried[0]
    said = f"Normalised {best.name}: {data.metric} {best.value:.4g}{unit} on {count} samples"
    others = ", ".join(f"{one.name} {one.value:.4g}" for one in tried[1:3])
    line = f"{said}; {others}." if others else f"{said}."
    if any(one.value > best.value for one in tried) and METRIC_KINDS[data.metric].higher_is_better:
        line += " They cannot be told apart on so few, and its answers fit the labels best."
    if data.metric == "top1" and outputs and best.value < 200 / outputs:
        line += " That is hardly better than chance: the labels or the normalisation must be another."
    return line


def _block(data: Dataset) -> tuple[Tensor | None, Tensor | None]:
    """The samples that decide, as they are stored, with their labels; None for a model of several inputs."""
    order = data.order(0)
    first = data.inputs(order[:1])
    if len(first) != 1 or not first[0].is_floating_point():
        return None, None
    count = max(1, min(DECIDING, LARGEST_BLOCK // (4 * first[0].numel())))
    return data.inputs(order[:count])[0].float(), data.labels(order[:count])


def _channel(described: DataDescription, model: Model) -> int:
    """The dimension of the channels in what the model takes."""
    shape = model.info.inputs[0].shape
    last = described.kind == "image" and len(shape) == 4 and shape[1] not in (1, 3) and shape[3] in (1, 3)
    return 3 if last else 1


def _ways(described: DataDescription, stored: Tensor, channel: int) -> list[Normalisation]:
    """Ways to normalise that are usual for data of this kind."""
    if described.kind == "image":
        peak = 255.0 if float(stored.max()) > 1.5 else 1.0
        if float(stored.min()) < 0:
            return [PLAIN]  # normalised already
        return [*of_images(stored.shape[channel], peak), own(stored, channel, peak, apart=True)]
    if described.kind == "table":
        return [PLAIN, own(stored, 1, 1.0, apart=True)]
    return [PLAIN, own(stored, channel, 1.0, apart=False)]


def _usual(ways: Sequence[Normalisation], stored: Tensor, channel: int) -> Normalisation:
    """What is likeliest without labels: ImageNet's for photos, CIFAR's at its size, the data's own for the rest."""
    if len(ways) <= 2:
        return ways[0]
    if stored.shape[channel] == 3:
        known = CIFAR if tuple(stored.shape[2:]) == (32, 32) else IMAGENET
        return next(way for way in ways if way.name == known.name)
    return ways[-1]
