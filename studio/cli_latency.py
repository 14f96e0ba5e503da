"""The command that times a model, and the same figures beside what other commands measure."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from studio.cli_engine import ask, new_engine, source_of
from studio.cli_options import Calibration, DataPath, Json, ModelPath, RecipePath, Skeleton, with_settings
from studio.console import print_answer, print_latency
from studio.engine.door import Engine
from studio.engine.requests import MeasureLatency, Source
from studio.export.latency import Latency, LatencySettings

WithLatency = Annotated[bool, typer.Option("--latency", help="Also time it in ONNX Runtime, as `studio latency` does.")]


@with_settings(LatencySettings)
def latency(
    model: ModelPath,
    settings: LatencySettings,
    recipe: RecipePath = None,
    data: DataPath = None,
    calibration: Calibration = None,
    skeleton: Skeleton = None,
    as_json: Json = False,
) -> None:
    """Time a model, or what a recipe makes of it beside the original, in ONNX Runtime and layer by layer."""
    engine = new_engine()
    source, _info = source_of(engine, model, skeleton, recipe, data, calibration)
    found = ask(engine, MeasureLatency(source, settings))
    print_answer(plain_latency(found), as_json, lambda: print_latency(found))


def latency_of(engine: Engine, source: Source) -> dict[str, Any]:
    """The key ``latency`` of another command's answer, as `studio latency` measures without options."""
    return {"latency": plain_latency(ask(engine, MeasureLatency(source, LatencySettings())))}


def plain_latency(found: Latency) -> dict[str, Any]:
    """A latency as JSON has it: milliseconds, layers in the order in which they take most."""
    names = sorted({**found.layers, **found.original_layers}, key=lambda name: -found.layers.get(name, 0.0))
    return {
        "latency": asdict(found.now),
        "original": asdict(found.original),
        "faster": asdict(found.faster),
        "threads": found.threads,
        "batch": found.batch,
        "runtime": found.runtime,
        "layers": [
            {
                "name": name,
                "ms": found.layers.get(name),
                "share": found.share(name),
                "original_ms": found.original_layers.get(name),
            }
            for name in names
        ],
        "rest": {"ms": found.rest, "original_ms": found.original_rest},
    }
