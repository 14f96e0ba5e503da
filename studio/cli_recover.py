"""The command that measures the recovery ladder: what each way to carry a recipe out brings, and what to do next."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from studio.cli_engine import ask, new_engine, source_of
from studio.cli_options import Calibration, Json, ModelPath, RequiredData, Samples, Seed, Skeleton
from studio.console import plain_metric, print_answer, print_ladder
from studio.engine.door import Engine
from studio.engine.requests import Preview, Source
from studio.errors import RecipeError
from studio.evaluation.ladder import (
    NOT_COMPRESSED,
    RUNGS,
    Advice,
    Footing,
    Rung,
    advice,
    carried_out,
    standing,
    why_not,
)
from studio.evaluation.result import Result, drop_of
from studio.recipe.files import save_recipe


@dataclass(frozen=True)
class Tried:
    """A rung as it was measured.

    Attributes:
        rung: which.
        barred: why it was not measured; empty where it was, and for training, which is only named.
        result: what was measured, None where nothing was.
        seconds: that it took, fitting and measuring.
    """

    rung: Rung
    barred: str
    result: Result | None = None
    seconds: float | None = None


def recover(
    model: ModelPath,
    recipe: Annotated[str, typer.Option("--recipe", metavar="R", help="A recipe file.")],
    data: RequiredData,
    calibration: Calibration = None,
    out_path: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the recipe as the suggested rung carries it out.")
    ] = None,
    skeleton: Skeleton = None,
    samples: Samples = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Measure what each rung of the recovery ladder brings a recipe, and suggest the next one; training is only named.

    A fit tells nothing of the next, so every rung is measured anew, on the same samples.
    """
    engine = new_engine()
    source, info = source_of(engine, model, skeleton, recipe, data, calibration)
    on = Footing(info, source.recipe, source.recipe.settings_of(info.layers), source.calibration is not None, True)
    if not on.changed:
        raise RecipeError(f"{recipe}: {NOT_COMPRESSED[0].lower()}{NOT_COMPRESSED[1:]}")
    tried = [_tried(engine, rung, on, source, data, samples, seed) for rung in RUNGS]
    drops = {one.rung.key: drop_of(one.result) for one in tried if one.result is not None}
    now, own = standing(on), drop_of(ask(engine, Preview(source, data, samples, seed)))
    next_ = advice(on, drops, own)
    if out_path is not None:
        save_recipe(carried_out(source.recipe, next_.rung or now or RUNGS[0]), out_path)
    plain = _plain(tried, now, next_, out_path)
    print_answer(plain, as_json, lambda: print_ladder(plain["rungs"], next_.why, Path(model).name))


def _tried(engine: Engine, rung: Rung, on: Footing, source: Source, data: str, samples: int | None, seed: int) -> Tried:
    barred = why_not(rung, on)
    if barred or rung.trains:
        return Tried(rung, barred)
    began = time.monotonic()
    chosen = replace(source, recipe=carried_out(source.recipe, rung))
    result = ask(engine, Preview(chosen, data, samples, seed))
    return Tried(rung, "", result, time.monotonic() - began)


def _plain(tried: list[Tried], now: Rung | None, next_: Advice, out_path: str | None) -> dict[str, Any]:
    """What a script is told."""
    rungs = [
        {
            "rung": one.rung.key,
            "title": one.rung.title,
            "applies": one.barred or "ok",
            "holds": one.rung is now,
            "metric": plain_metric(one.result.metric) if one.result else None,
            "drop": plain_metric(drop_of(one.result)) if one.result else None,
            "seconds": one.seconds,
        }
        for one in tried
    ]
    suggested = {"rung": next_.rung.key if next_.rung else None, "why": next_.why}
    return {"rungs": rungs, "next": suggested, "out": out_path}
