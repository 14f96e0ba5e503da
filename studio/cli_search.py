"""The command that finds the best recipe under a budget."""

from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from math import ceil
from typing import Annotated, Any

import typer

from studio.cli_engine import ask, new_engine, source_of
from studio.cli_options import Calibration, Json, ModelPath, RecipePath, RequiredData, Seed, Skeleton
from studio.console import figure, out, plain_metric, print_answer, say, table_of
from studio.engine.requests import Search
from studio.errors import RecipeError, did_you_mean
from studio.models.layer import Layer
from studio.recipe.files import save_recipe
from studio.search.as_good import as_good
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.reasons import reasons
from studio.search.target import KINDS, LATENCY, Target, parse_target

SAMPLES = 2048
SCAN_SAMPLES = 1024


def search(
    model: ModelPath,
    data: RequiredData,
    target: Annotated[
        str,
        typer.Option(
            metavar="KIND=LIMIT", help=f"The budget, such as size=0.25 or latency=2ms. Kinds: {', '.join(KINDS)}."
        ),
    ],
    out_path: Annotated[str, typer.Option("--out", metavar="R", help="Write the recipe here.")],
    calibration: Calibration = None,
    recipe: RecipePath = None,
    lock: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Leave these layers as they are (glob; may be repeated).")
    ] = None,
    scan: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep the scan here; one that is in it is continued.")
    ] = None,
    channels: Annotated[
        bool,
        typer.Option("--channels/--no-channels", help="Also remove channels, or leave every layer as wide as it is."),
    ] = True,
    skeleton: Skeleton = None,
    samples: Annotated[int, typer.Option(min=1, help="Measure each recipe on at most this many samples.")] = SAMPLES,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find the best recipe under a budget: scan, choose, measure, and compare with treating all layers alike.

    Of --recipe the options count, and layers that it keeps or locks stay as they are in it.
    """
    wanted, engine = parse_target(target), new_engine()
    source, info = source_of(engine, model, skeleton, recipe, data, calibration)
    if calibration is None and recipe is None:
        say(f"note: the first samples of {data} calibrate and also measure; give --calibration to keep them apart.")
    locked = source.recipe.with_locks(_named(lock or (), info.layers))
    source = replace(source, recipe=locked)
    request = Search(source, data, wanted, samples, seed, min(samples, SCAN_SAMPLES), scan, channels)
    found = ask(engine, request, stop_in_order=True)
    save_recipe(found.best.recipe, out_path)
    plain = {
        **_plain(found.best),
        "out": out_path,
        "original": None if found.original is None else {"metric": plain_metric(found.original)},
        "original_ms": found.original_ms,
        "late": found.late,
        "decided_by": found.decided_by,
        "smaller": None if (smaller := as_good(found, wanted)) is None else _plain(smaller),
        "uniform": None if found.uniform is None else _plain(found.uniform),
        "frontier": [_plain(point) for point in found.frontier],
        "seconds": found.seconds,
    }
    print_answer(plain, as_json, lambda: _print(found, out_path, wanted))


def _named(patterns: Iterable[str], layers: tuple[Layer, ...]) -> list[str]:
    """The layers that the patterns match.

    Raises:
        RecipeError: a pattern matches none.
    """
    found, names = list[str](), [layer.name for layer in layers]
    for pattern in patterns:
        matching = [name for name in names if fnmatchcase(name, pattern)]
        if not matching:
            raise RecipeError(f"--lock: '{pattern}' matches no layer of the model.{did_you_mean(pattern, names)}")
        found += matching
    return found


def _plain(point: FrontierPoint) -> dict[str, Any]:
    """A point as JSON has it."""
    drop = point.drop
    return {
        "kind": point.kind,
        "label": point.label,
        "recipe": point.recipe.plain(),
        "bytes": point.bytes,
        "macs": point.macs or None,
        "spent": point.spent,
        "foreseen_ms": point.foreseen_ms,
        "ms": point.ms,
        "expected_drop": point.expected,
        "likely_drop": point.likely,
        "metric": None if point.metric is None else plain_metric(point.metric),
        "drop": None if drop is None else {"value": drop.value, "low": drop.low, "high": drop.high},
    }


def _print(found: SearchOutcome, path: str, target: Target) -> None:
    """The frontier, and what is offered."""
    table = table_of("recipe", title="Accuracy against size")
    for heading in ("bytes", "MACs", "expected drop", "measured", "drop"):
        table.add_column(heading, justify="right")
    metric = "agreement" if found.original is None else found.original.name
    for point in found.frontier:
        name = f"all layers: {point.label}" if point.kind == "uniform" else point.label
        expected = "–" if point.expected is None else figure(metric, point.expected)
        measured = "–" if point.metric is None else figure(metric, point.metric.value)
        drop = "–" if point.drop is None else figure(metric, point.drop.value)
        marked = f"[bold]{name}[/bold]" if point.key == found.best.key else name
        table.add_row(marked, f"{point.bytes:,}", f"{point.macs:,}" if point.macs else "–", expected, measured, drop)
    out.print(table)
    _print_offer(found, path, target)
    _print_time(found)


def _print_offer(found: SearchOutcome, path: str, target: Target) -> None:
    best, uniform = found.best, found.uniform
    if best.metric is not None and best.drop is not None:
        drop, name = best.drop, best.metric.name
        interval = " to ".join(figure(name, end) for end in (drop.low, drop.high))
        out.print(
            f"{path}: {best.bytes:,} bytes, {name} {figure(name, best.metric.value)}, "
            f"drop {figure(name, drop.value)} ({interval}, {drop.samples:,} samples)"
        )
    if uniform is not None and uniform.drop is not None:
        verdict = (
            "no better was found"
            if uniform.key == best.key
            else f"drop {figure(uniform.drop.name, uniform.drop.value)}"
        )
        out.print(f"best with all layers alike: {uniform.label}, {uniform.bytes:,} bytes, {verdict}")
    for line in reasons(found, target):
        out.print(line)
    smaller = as_good(found, target)
    if smaller is not None and smaller.drop is not None:
        out.print(smaller_text(smaller, target))


def smaller_text(smaller: FrontierPoint, target: Target) -> str:
    """What a recipe saves that the samples cannot tell from the best, and how to ask for that much."""
    name = f"all layers: {smaller.label}" if smaller.kind == "uniform" else smaller.label
    drop = "" if smaller.drop is None else f", drop {figure(smaller.drop.name, smaller.drop.value)}"
    limit = ceil(10_000 * smaller.spent) / 10_000
    asking = "" if target.kind == LATENCY else f"; --target {target.kind}={limit:g} asks for that much"
    within = "within the 95 % interval of the best one's"
    return f"as good and smaller: {name}, {smaller.bytes:,} bytes{drop}, {within}{asking}"


def _print_time(found: SearchOutcome) -> None:
    """What is offered in its runtime, where a time was asked for."""
    best, original = found.best, found.original_ms
    if best.foreseen_ms is not None and best.ms is not None and original:
        out.print(
            f"time: {best.ms:.3g} ms measured, {best.ms / original:.3f} of the original's {original:.3g} ms beside it; "
            f"foreseen {best.foreseen_ms:.3g} ms"
        )
    if found.late:
        out.print("That is longer than the target allows, and no quicker recipe was found.")
