"""How commands ask the engine: with a progress bar, from what their options name."""

from collections.abc import Mapping
from contextlib import nullcontext
from importlib import import_module
from typing import TypeVar

from studio.cli_options import stopping_between_reports
from studio.console import progress_bar, say
from studio.engine.door import Engine
from studio.engine.requests import GuessData, MeasureExportSize, OpenModel, Request, Source
from studio.evaluation.data_guess import is_description
from studio.models.layer import ModelInfo
from studio.progress import Cancelled
from studio.recipe.cost import ModelCost, model_cost
from studio.recipe.factorization import Factorization
from studio.recipe.files import load_recipe
from studio.recipe.recipe import Recipe

Answer = TypeVar("Answer")


def new_engine() -> Engine:
    """The engine in this process, imported only now so that ``studio --help`` is quick."""
    engine: Engine = import_module("studio.engine.inline").InlineEngine()
    return engine


def ask(engine: Engine, request: Request[Answer], *, stop_in_order: bool = False) -> Answer:
    """The answer to `request`, with a progress bar while a person may be watching.

    Args:
        engine: is asked.
        request: what it is asked.
        stop_in_order: an interrupt waits for the next report, where work can be kept.
    """
    stopping = stopping_between_reports if stop_in_order else nullcontext
    try:
        with progress_bar() as bar, stopping(bar) as report:
            return engine.start(request, report=report).result()
    except KeyboardInterrupt as interrupt:  # Typer would end without a word
        raise Cancelled from interrupt


def source_of(
    engine: Engine, model: str, skeleton: str | None, recipe: str | None, data: str | None, calibration: str | None
) -> tuple[Source, ModelInfo]:
    """What the command line asks for; data that also measures stands in for missing calibration data."""
    info = ask(engine, OpenModel(model, skeleton))
    chosen = load_recipe(recipe, info.layers) if recipe is not None else Recipe()
    if recipe is not None and calibration is None and data is not None and chosen.options.data_aware:
        say(
            f"note: the first {chosen.options.calibration_samples} samples of {data} calibrate and also measure; "
            "give --calibration to keep them apart."
        )
    for path in dict.fromkeys((data, calibration)):
        if path is not None and not is_description(path):
            say(f"note: {ask(engine, GuessData(model, path, skeleton)).line}")
    return Source(model, chosen, None, calibration or data, skeleton), info


def cost_of(engine: Engine, info: ModelInfo, recipe: Recipe, factors: Mapping[str, Factorization]) -> ModelCost:
    """What a recipe costs in the exported file."""
    return model_cost(info, recipe, factors, ask(engine, MeasureExportSize(info.path, info.skeleton)))
