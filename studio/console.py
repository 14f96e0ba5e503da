"""What the command line prints: one JSON object on standard output, or tables and lines for a person.

Progress goes to standard error, and only while a person may be watching.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar
from rich.table import Column, Table

from studio.analysis.views import Spectrum
from studio.distillation.settings import DistillOutcome
from studio.evaluation.feasibility import Feasibility
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.evaluation.result import WEIGHT_ERROR, Measurement, Result
from studio.evaluation.sensitivity import Scan
from studio.export.latency import Latency, Timing
from studio.export.report import ExportReport
from studio.models.layer import Layer, ModelInfo
from studio.progress import Progress, Report

# names of files and layers stand as they are: what looks like markup or an emoji in them is none
errors = Console(stderr=True, highlight=False, markup=False, emoji=False)
out = Console(highlight=False, markup=False, emoji=False)
if not out.is_terminal:
    out.width = 200  # a file has no edge to break lines at


def keep_output_for_answers() -> None:
    """Has what libraries print on their own (the solver of searches does) go to standard error from now on.

    Standard output is for one JSON object or one table; native code knows it only by its number.
    """
    sys.stdout.flush()
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(ours, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def say(text: str) -> None:
    """A line on standard error."""
    errors.print(text, soft_wrap=True)


@contextmanager
def progress_bar() -> Iterator[Report]:
    """Shows the progress of one request; gives the `Report` that feeds it."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with ProgressBar(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def report(progress: Progress) -> None:
            bar.update(task, description=progress.message, completed=progress.done, total=progress.total)

        yield report


def plain_layer(layer: Layer, counts_macs: bool) -> dict[str, Any]:
    """A layer as JSON has it; null for operations that are not known."""
    return {
        "name": layer.name,
        "kind": layer.kind,
        "shape": list(layer.shape),
        "params": layer.parameters,
        "bytes": layer.bytes,
        "macs": layer.macs if counts_macs else None,
        "methods": dict(layer.methods),
    }


def plain_feasibility(one: Feasibility) -> dict[str, Any]:
    """What a method could save, as JSON has it."""
    harmless = {name: settings.model_dump(exclude_unset=True) for name, settings in one.harmless.items()}
    return {**vars(one), "refused": dict(one.refused), "harmless": harmless}


def plain_metric(measured: Measurement) -> dict[str, Any]:
    """A measurement as JSON has it."""
    return {
        "name": measured.name,
        "value": measured.value,
        "low": measured.low,
        "high": measured.high,
        "samples": measured.samples,
    }


def plain_spectrum(name: str, seen: Spectrum) -> dict[str, Any]:
    """A layer's singular values as JSON has them; ranks that they do not reach are the largest that may be needed."""
    return {
        "name": name,
        "singular_values": [float(value) for value in seen.singular_values],
        "full_rank": seen.full_rank,
        "energy_found": float(seen.energy[len(seen.singular_values) - 1]),
        "rank90": seen.rank_for(0.90),
        "rank99": seen.rank_for(0.99),
        "break_even_rank": seen.break_even_rank,
    }


def print_answer(plain: Mapping[str, Any], as_json: bool, show: Callable[[], None]) -> None:
    """Prints a command's answer: `plain` as JSON, null where a number is not finite, or what `show` prints."""
    if as_json:
        sys.stdout.write(json.dumps(_finite(plain), allow_nan=False) + "\n")
    else:
        show()


def _finite(plain: Any) -> Any:
    """Plain values as JSON can have them: it knows neither infinities nor NaN."""
    if isinstance(plain, Mapping):
        return {name: _finite(value) for name, value in plain.items()}
    if isinstance(plain, list | tuple):
        return [_finite(value) for value in plain]
    return None if isinstance(plain, float) and not isfinite(plain) else plain


def figure(metric: str, value: float) -> str:
    """A metric's value, or a drop of it: percents and points with two digits, others with the digits they have."""
    kind = METRIC_KINDS.get(metric)
    return f"{value:.2f}" if kind is None or kind.unit == "%" else f"{value:.4g}"


def table_of(*headings: str, title: str | None = None) -> Table:
    """A table whose names break where the terminal is narrow; nothing of them is left out."""
    return Table(*(Column(heading, overflow="fold") for heading in headings), title=title)


def print_layers(info: ModelInfo, found: Sequence[Feasibility]) -> None:
    """The layer table, and what each method could save."""
    table = table_of("layer", "kind", "shape", title=Path(info.path).name)
    for heading in ("parameters", "bytes", "MACs"):
        table.add_column(heading, justify="right")
    for layer in info.layers:
        shape = "×".join(map(str, layer.shape))
        macs = f"{layer.macs:,}" if info.counts_macs else "–"
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}", f"{layer.bytes:,}", macs)
    out.print(table)
    macs = f"{info.macs:,} MACs" if info.counts_macs else "MACs not known"
    count = len(info.layers)
    out.print(f"{count} layer{'s' if count != 1 else ''}, {info.parameters:,} parameters, {info.bytes:,} bytes, {macs}")
    if info.runtime:
        out.print(info.lacks["train"], soft_wrap=True)
    elif not info.has_network:
        how = "layers are told by names and shapes; --skeleton FILE gives the network"
        out.print(f"weights alone: {how}" if info.needs_skeleton else info.lacks["measure"], soft_wrap=True)
    for one in found:
        out.print(f"{one.method}: {len(one.eligible)} of {len(info.layers)} layers; {_saves(one)}", soft_wrap=True)


def _saves(one: Feasibility) -> str:
    """What a method could save."""
    if one.bytes_saved is None:
        return "--savings looks at the weights to tell what it saves"
    told = [f"{one.bytes_saved:,} bytes", f"{one.macs_saved:,} MACs", f"{one.zeros:,} weights set to zero"]
    saved = [text for text in told if not text.startswith("0 ")]
    if not saved:
        return "none of them expected to cost nothing"
    return f"{len(one.harmless)} of them expected to cost nothing, saving {', '.join(saved)}"


#: Ranks that the table tells, with the energy that they keep.
_RANKS = (("rank90", 0.90), ("rank99", 0.99))


def print_spectra(rows: list[dict[str, Any]]) -> None:
    """Ranks of each layer."""
    table = table_of("layer")
    for heading in ("full rank", "rank for 90 %", "rank for 99 %", "break-even"):
        table.add_column(heading, justify="right")
    for row in rows:
        ranks = (f"{'' if row['energy_found'] >= share else '≤ '}{row[key]}" for key, share in _RANKS)
        table.add_row(row["name"], str(row["full_rank"]), *ranks, f"{row['break_even_rank']:.1f}")
    out.print(table)
    if any(len(row["singular_values"]) < row["full_rank"] for row in rows):
        out.print("≤: beyond the leading values that --quick computes; without it the rank is exact", soft_wrap=True)


def print_scan(scan: Scan) -> None:
    """Each layer's drop at every setting, a table a method."""
    layers = list(dict.fromkeys(point.layer for point in reversed(scan.points)))
    for method in dict.fromkeys(point.method for point in scan.points):
        settings = list(dict.fromkeys(point.setting for point in scan.points if point.method == method))
        table = table_of("layer", title=f"Drop of each layer alone: {method}")
        for setting in settings:
            table.add_column(setting, justify="right")
        for layer in layers:
            drops = {point.setting: figure(point.metric, point.drop) for point in scan.of(layer, method)}
            table.add_row(layer, *(drops.get(setting, "–") for setting in settings))
        out.print(table)


def print_ladder(rungs: Sequence[Mapping[str, Any]], why: str, title: str) -> None:
    """Each rung with what it measured, and what to do next."""
    metric = next((rung["metric"]["name"] for rung in rungs if rung["metric"]), "metric")
    table = table_of("rung", title=f"Recovery of {title}")
    for heading in (metric, "drop", "seconds"):
        table.add_column(heading, justify="right")
    table.add_column("applies")
    for rung in rungs:
        name = f"{rung['rung']} (now)" if rung["holds"] else rung["rung"]
        seconds = "–" if rung["seconds"] is None else f"{rung['seconds']:.1f}"
        applies = "yes" if rung["applies"] == "ok" else rung["applies"]
        table.add_row(name, _interval(metric, rung["metric"]), _interval(metric, rung["drop"]), seconds, applies)
    out.print(table)
    out.print(f"next: {why}", soft_wrap=True)


def _interval(metric: str, measured: Mapping[str, Any] | None) -> str:
    if measured is None:
        return "–"
    value, low, high = (figure(metric, measured[part]) for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def print_result(result: Result, size: int) -> None:
    """A measurement beside the original's."""
    metric = result.metric
    if metric.name == WEIGHT_ERROR:
        sqnr = "" if result.sqnr_db is None else f", {result.sqnr_db:.1f} dB"
        out.print(
            f"weight error {metric.value:.2f} %{sqnr} (of {metric.samples:,} weights; there is no network to run)"
        )
        out.print(f"{size:,} bytes")
        return
    value, low, high = (figure(metric.name, part) for part in (metric.value, metric.low, metric.high))
    out.print(f"{metric.name} {value} ({low} to {high}, {metric.samples:,} samples)")
    if result.original is not None and result.drop is not None:
        original, drop = figure(metric.name, result.original.value), result.drop
        value, low, high = (figure(metric.name, part) for part in (drop.value, drop.low, drop.high))
        out.print(f"original {original}, drop {value} ({low} to {high})")
    out.print(f"{size:,} bytes")


def print_latency(found: Latency) -> None:
    """Milliseconds of the whole and of each layer, the longest first."""
    table = table_of("layer", title=f"{found.runtime}, {found.threads} threads, batch {found.batch}")
    for heading in ("ms", "share", "original, ms"):
        table.add_column(heading, justify="right")
    for name in sorted(found.layers, key=lambda name: -found.layers[name]):
        before = found.original_layers.get(name)
        known = "–" if before is None else f"{before:.4f}"
        table.add_row(name, f"{found.layers[name]:.4f}", f"{100 * (found.share(name) or 0):.1f} %", known)
    table.add_row("outside the layers", f"{found.rest:.4f}", "", f"{found.original_rest:.4f}")
    out.print(table)
    out.print(f"latency {_timing(found.now)}; original {_timing(found.original)}")
    faster = found.faster
    out.print(f"{faster.value:.2f} times as fast as the original ({faster.low:.2f} to {faster.high:.2f})")
    if found.memory is not None and found.original_memory is not None:
        out.print(f"{found.memory:,} bytes in memory with one batch; original {found.original_memory:,}")


def _timing(timing: Timing) -> str:
    return f"{timing.ms:.3f} ms ({timing.low:.3f} to {timing.high:.3f}, {timing.runs:,} runs)"


def print_report(report: ExportReport) -> None:
    """What an export came to."""
    out.print(f"{report.out}: {report.before:,} → {report.after:,} bytes (predicted {report.predicted:,})")
    name = report.preview.name
    preview, exported = (figure(name, one.value) for one in (report.preview, report.exported))
    where = "" if report.original is not None or name == WEIGHT_ERROR else " on random input"
    out.print(f"{name}{where}: preview {preview}, exported {exported}; largest difference {report.max_error:.2g}")


def print_distilled(outcome: DistillOutcome, report: ExportReport) -> None:
    """What a distillation and its export came to."""
    teacher, before, after = (
        figure(outcome.metric, value) for value in (outcome.teacher, outcome.before, outcome.after)
    )
    epochs = f"{outcome.epochs} epoch{'s' if outcome.epochs != 1 else ''}"
    out.print(
        f"{outcome.metric}: original {teacher}, before {before}, after {after} "
        f"({epochs}, {outcome.seconds:.0f} s on {outcome.device} in {outcome.precision})"
    )
    if outcome.warning:
        out.print(outcome.warning, soft_wrap=True)
    print_report(report)


def print_steps(steps: list[dict[str, Any]], folder: str) -> None:
    """What each step of the demonstration found."""
    for step in steps:
        figures = ", ".join(f"{name} {_shown(value)}" for name, value in step.items() if name != "step")
        out.print(f"{step['step']}: {figures}", soft_wrap=True)
    out.print(f"Everything is in {folder}.")


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {_shown(inner)}" for name, inner in value.items())
    if isinstance(value, float):
        return f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
