"""The command that scans a model layer by layer."""

import time
from typing import Annotated

import typer

from studio.cli_engine import ask, new_engine, source_of
from studio.cli_options import Calibration, Json, ModelPath, RecipePath, RequiredData, Samples, Seed, Skeleton
from studio.console import print_answer, print_scan, say
from studio.engine.requests import ScanLayers


def scan(
    model: ModelPath,
    data: RequiredData,
    out_path: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Keep the points here; a scan in it is continued.")
    ] = None,
    calibration: Calibration = None,
    layers: Annotated[str, typer.Option(help="Glob of the layers to scan.")] = "*",
    racing: Annotated[
        bool, typer.Option("--racing/--exact", help="Stop each candidate once its interval decides, or measure all.")
    ] = True,
    activations: Annotated[
        bool, typer.Option("--activations", help="Also round each layer's activations alone, its weights as they are.")
    ] = False,
    channels: Annotated[
        bool, typer.Option("--channels/--no-channels", help="Also remove channels of each group of coupled layers.")
    ] = True,
    recipe: RecipePath = None,
    skeleton: Skeleton = None,
    samples: Samples = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure each layer alone at several strengths of each method; of a recipe only the options count."""
    began, engine = time.monotonic(), new_engine()
    source, _info = source_of(engine, model, skeleton, recipe, data, calibration)
    if calibration is None and recipe is None:
        say(f"note: the first samples of {data} calibrate and also measure; give --calibration to keep them apart.")
    request = ScanLayers(
        source, data, samples, seed, layers, racing, out_path, activations=activations, channels=channels
    )
    found = ask(engine, request, stop_in_order=True)
    plain = {
        "points": [point.model_dump(mode="json", exclude_none=True) for point in found.points],
        "left_out": {layer: dict(why) for layer, why in found.left_out.items()},
        "seconds": time.monotonic() - began,
    }
    print_answer(plain, as_json, lambda: print_scan(found))
