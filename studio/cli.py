"""The command line: one thin function a command, over the same engine requests as the window.

``--json`` prints one JSON object on standard output; everything else goes to standard error. Exit status 0 done,
2 the user's input (one clear line), 130 cancelled, 1 a bug. The engine and the window are imported by name when a
command needs them, so that ``studio --help`` is quick and the window's process never loads torch.
"""

import logging
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from studio import __version__
from studio.analysis.views import Spectrum
from studio.cli_data import data as guess_data
from studio.cli_distill import distill
from studio.cli_engine import ask, built_in, cost_of, new_engine, source_of, takes_model, trusting
from studio.cli_latency import WithLatency, latency, latency_of
from studio.cli_options import (
    Calibration,
    DataPath,
    Format,
    Json,
    ModelPath,
    Out,
    RecipePath,
    Samples,
    Seed,
    Skeleton,
    with_settings,
)
from studio.cli_recover import recover
from studio.cli_scan import scan
from studio.cli_search import search
from studio.console import (
    keep_output_for_answers,
    out,
    plain_feasibility,
    plain_layer,
    plain_metric,
    plain_spectrum,
    print_answer,
    print_layers,
    print_report,
    print_result,
    print_spectra,
    print_steps,
    progress_bar,
    say,
)
from studio.distillation.settings import DistillSettings
from studio.engine.requests import (
    Export,
    FindHarmless,
    OpenModel,
    Preview,
    ViewSpectra,
    ViewSpectrum,
)
from studio.errors import RecipeError, StudioError, did_you_mean
from studio.evaluation.feasibility import feasibility
from studio.evaluation.result import Measurement, Result
from studio.progress import Cancelled

cli = typer.Typer(
    name="studio",
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@cli.callback()
def version(
    show: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Compress neural networks layer by layer, with measured accuracy. Without a command, opens the window."""
    if show:
        out.print(__version__)
        raise typer.Exit


@cli.command()
def app(
    model: Annotated[str | None, typer.Argument(help="A model to open.")] = None,
    sample: Annotated[str | None, typer.Option(help="A built-in sample to open: digits or text.")] = None,
    skeleton: Skeleton = None,
) -> None:
    """Open the window."""
    if model is not None and not Path(model).exists():
        raise StudioError(f"{model}: there is no such file, and no such command.{did_you_mean(model, _commands())}")
    if skeleton is not None and model is None:
        raise StudioError("--skeleton: name the checkpoint too, whose weights the network takes.")
    if skeleton is not None and not Path(skeleton).exists():
        raise StudioError(f"--skeleton: there is no file '{skeleton}'.")
    if sample is not None:
        built_in(sample)
    if not _has_display():
        raise StudioError("There is no display to open a window on. `studio demo` and the other commands need none.")
    raise typer.Exit(import_module("studio.gui.app").run(model=model, sample=sample, skeleton=skeleton))


@cli.command()
def inspect(
    model: ModelPath,
    skeleton: Skeleton = None,
    savings: Annotated[
        bool, typer.Option("--savings", help="Look at the weights: what could each method save at no expected loss?")
    ] = False,
    as_json: Json = False,
) -> None:
    """List the layers and what can be done to each."""
    engine = new_engine()
    info = ask(engine, OpenModel(model, skeleton))
    found = feasibility(info, found=ask(engine, FindHarmless(model, skeleton)) if savings else None)
    plain = {
        "model": {
            "format": info.format,
            "bytes": info.bytes,
            "params": info.parameters,
            "macs": info.macs if info.counts_macs else None,
        },
        "lacks": dict(info.lacks),
        "layers": [plain_layer(layer, info.counts_macs) for layer in info.layers],
        "groups": [asdict(group) for group in info.groups],
        "feasibility": [plain_feasibility(one) for one in found],
    }
    print_answer(plain, as_json, lambda: print_layers(info, found))


@cli.command()
def spectrum(
    model: ModelPath,
    layer: Annotated[str | None, typer.Option(help="One layer; without it all of them.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Of huge layers compute the leading values alone.")] = False,
    skeleton: Skeleton = None,
    as_json: Json = False,
) -> None:
    """Show the singular values of layers."""
    reach = 0.0 if quick else 1.0
    engine = new_engine()
    info = ask(engine, OpenModel(model, skeleton))
    names = [known.name for known in info.layers]
    if layer is not None and layer not in names:
        raise RecipeError(f"--layer: the model has no layer '{layer}'.{did_you_mean(layer, names)}")
    if layer is not None:
        seen: Mapping[str, Spectrum] = {layer: ask(engine, ViewSpectrum(model, layer, skeleton, reach))}
    else:
        seen = ask(engine, ViewSpectra(model, skeleton, reach))
    rows = [plain_spectrum(name, seen[name]) for name in names if name in seen]
    print_answer({"layers": rows}, as_json, lambda: print_spectra(rows))


@cli.command()
def evaluate(
    model: ModelPath,
    data: DataPath = None,
    recipe: RecipePath = None,
    calibration: Calibration = None,
    skeleton: Skeleton = None,
    samples: Samples = None,
    seed: Seed = 0,
    with_latency: WithLatency = False,
    as_json: Json = False,
) -> None:
    """Measure a model, or what a recipe makes of it; without data by agreement on random input, or by its weights."""
    engine = new_engine()
    source, info = source_of(engine, model, skeleton, recipe, data, calibration)
    result = ask(engine, Preview(source, data, samples, seed))
    plain: dict[str, Any] = {"metric": plain_metric(result.metric), "bytes": info.bytes}
    if not result.labelled and result.sqnr_db is not None:
        plain["sqnr_db"] = result.sqnr_db
    if recipe is not None:
        plain["bytes"] = cost_of(engine, info, source.recipe, result.factors).bytes
        plain["original"] = {"metric": plain_metric(_original(result)), "bytes": info.bytes}
    plain |= latency_of(engine, source) if with_latency else {}
    print_answer(plain, as_json, lambda: print_result(result, plain["bytes"]))


@cli.command()
def compress(
    model: ModelPath,
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="A recipe file.")],
    out_path: Out,
    data: DataPath = None,
    calibration: Calibration = None,
    format_: Format = None,
    skeleton: Skeleton = None,
    samples: Samples = None,
    seed: Seed = 0,
    with_latency: WithLatency = False,
    as_json: Json = False,
) -> None:
    """Apply a recipe, write the file and prove that it behaves as predicted."""
    engine = new_engine()
    source, info = source_of(engine, model, skeleton, recipe, data, calibration)
    report = ask(engine, Export(source, out_path, data, samples, seed, format_))
    cost = cost_of(engine, info, source.recipe, report.factors)
    plain: dict[str, Any] = {
        "out": report.out,
        "bytes": {"before": report.before, "predicted": report.predicted, "after": report.after},
        "metric": {
            "name": report.preview.name,
            "before": report.original.value if report.original else None,
            "preview": report.preview.value,
            "exported": report.exported.value,
            "samples": report.preview.samples,
        },
        "params": cost.parameters,
        "nonzeros": cost.nonzeros,
        "macs": cost.macs if info.counts_macs else None,
        "layers": [
            {
                "name": name,
                "bytes": layer.bytes,
                "params": layer.parameters,
                "nonzeros": layer.nonzeros,
                "macs": layer.macs if info.counts_macs else None,
                "settings": source.recipe.settings_for(info.layer(name)).model_dump(mode="json", exclude_none=True),
                "notes": list(layer.notes),
            }
            for name, layer in cost.layers.items()
        ],
        "verified": report.verified,
    }
    plain |= latency_of(engine, source) if with_latency else {}
    print_answer(plain, as_json, lambda: print_report(report))


@cli.command()
def export(
    model: ModelPath,
    out_path: Out,
    recipe: RecipePath = None,
    format_: Format = None,
    data: DataPath = None,
    calibration: Calibration = None,
    skeleton: Skeleton = None,
    samples: Samples = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Write one format and verify it, on data or on random input."""
    engine = new_engine()
    source, _info = source_of(engine, model, skeleton, recipe, data, calibration)
    report = ask(engine, Export(source, out_path, data, samples, seed, format_))
    plain = {"out": report.out, "bytes": report.after, "verified": report.verified}
    print_answer(plain, as_json, lambda: print_report(report))


@cli.command()
def demo(
    folder: Annotated[str, typer.Option("--out", metavar="DIR", help="Where the results go.")] = "studio-demo",
    sample: Annotated[str, typer.Option(help="The built-in sample: digits or text.")] = "digits",
    as_json: Json = False,
) -> None:
    """Do the whole main job on a built-in sample: compress, distil briefly, export, verify, screenshot."""
    steps = import_module("studio.demo").run(new_engine(), built_in(sample), Path(folder), progress_bar)
    plain = {"steps": steps, "out": folder}
    print_answer(plain, as_json, lambda: print_steps(steps, folder))


cli.command()(with_settings(DistillSettings)(distill))
cli.command()(recover)
cli.command()(scan)
cli.command("data")(guess_data)
cli.command()(latency)
cli.command()(search)


for command in cli.registered_commands:
    if command.callback is not None and takes_model(command.callback):
        command.callback = trusting(command.callback)


def run() -> None:
    """The program's entry: the command line in a process of its own."""
    keep_output_for_answers()
    main()


def main() -> None:
    """Runs the command line; the exit status tells how it went."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    arguments = sys.argv[1:]
    opens_window = not arguments or arguments[0] not in (*_commands(), "--help", "--version")
    try:
        cli(["app", *arguments] if opens_window else arguments)
    except StudioError as error:
        say(f"error: {error}")
        sys.exit(2)
    except (Cancelled, KeyboardInterrupt):
        say("cancelled")
        sys.exit(130)


def _commands() -> list[str]:
    return [command.name or command.callback.__name__ for command in cli.registered_commands if command.callback]


def _has_display() -> bool:
    """Whether Qt would find somewhere to show a window; it ends the process where it does not."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))


def _original(result: Result) -> Measurement:
    return result.original or result.metric
