"""How commands ask the engine: with a progress bar, from what their options name."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import wraps
from importlib import import_module
from inspect import Parameter, Signature, signature
from typing import Any, TypeVar

from platformdirs import user_cache_path

from studio.cli_options import InputShape, Trust, stopping_between_reports
from studio.console import progress_bar, say
from studio.engine.bounds import unlimited
from studio.engine.door import Engine
from studio.engine.light import LightEngine
from studio.engine.process import ProcessEngine
from studio.engine.requests import GuessData, MeasureExportSize, OpenModel, Request, Source, TrustProgram
from studio.errors import StudioError
from studio.evaluation.data_guess import is_description
from studio.models.layer import ModelInfo
from studio.progress import Cancelled
from studio.recipe.cost import ModelCost, model_cost
from studio.recipe.factorization import Factorization
from studio.recipe.files import load_recipe
from studio.recipe.recipe import Recipe
from studio.resources import Sample, samples

Answer = TypeVar("Answer")


def new_engine() -> Engine:
    """The engine in this process, imported when it is needed so that ``studio --help`` is quick."""
    return LightEngine(_inline)


def _inline() -> Engine:
    engine: Engine = import_module("studio.engine.inline").InlineEngine()
    return engine


def built_in(name: str) -> Sample:
    """The built-in sample of that name.

    Raises:
        StudioError: there is none.
    """
    known = samples()
    if name not in known:
        raise StudioError(f"--sample: there is no '{name}'; there is {', '.join(known)}.")
    return known[name]


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
    fits = recipe is not None and chosen.options.data_aware and "fit" not in info.lacks
    if calibration is not None and "fit" in info.lacks:
        say(f"note: nothing is fitted to {calibration}: {info.lacks['fit']}.")
    if fits and calibration is None and data is not None:
        say(
            f"note: the first {chosen.options.calibration_samples} samples of {data} calibrate and also measure; "
            "give --calibration to keep them apart."
        )
    if fits and calibration is None and data is None:
        say("note: without data the recipe is carried out by the weights alone; --calibration D fits it to data.")
    for path in dict.fromkeys((data, calibration)):
        if path is not None and not is_description(path):
            say(f"note: {ask(engine, GuessData(model, path, skeleton)).line}")
    return Source(model, chosen, None, calibration or data, skeleton), info


def cost_of(engine: Engine, info: ModelInfo, recipe: Recipe, factors: Mapping[str, Factorization]) -> ModelCost:
    """What a recipe costs in the exported file."""
    return model_cost(info, recipe, factors, ask(engine, MeasureExportSize(info.path, info.skeleton)))


def trusting(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command that takes a skeleton the options ``--trust`` and ``--input-shape`` for TorchScript programs.

    A trusted program runs once, and what it became stands in as the skeleton.
    """

    @wraps(command)
    def run(trust: bool, input_shape: list[str] | None, **given: Any) -> None:
        if trust:
            folder = str(user_cache_path("compression-studio") / "trusted")
            shapes = tuple(_shape(text) for text in input_shape or ())
            given["skeleton"] = _trusted(TrustProgram(given["model"], folder, shapes=shapes))
        command(**given)

    own = list(signature(command).parameters.values())
    added = [Parameter("trust", Parameter.KEYWORD_ONLY, default=False, annotation=Trust)]
    added += [Parameter("input_shape", Parameter.KEYWORD_ONLY, default=None, annotation=InputShape)]
    parameters = [one.replace(kind=Parameter.KEYWORD_ONLY) for one in (*own, *added)]
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    return run


def _trusted(request: TrustProgram) -> str:
    """The archive that a program becomes, in a process of its own: a damaged one may end it."""
    engine = ProcessEngine(bounds=unlimited)
    try:
        return ask(engine, request)
    finally:
        engine.close()


def takes_model(command: Callable[..., None]) -> bool:
    """Whether a command opens a model of any kind."""
    return {"model", "skeleton", "as_json"} <= signature(command).parameters.keys()


def _shape(text: str) -> tuple[int, ...]:
    """The numbers of a shape such as ``3x32x32``.

    Raises:
        StudioError: it is none.
    """
    sizes = text.lower().replace("×", "x").split("x")
    if not all(size.isdigit() and int(size) > 0 for size in sizes):
        raise StudioError(f"--input-shape: '{text}' is no shape; write one sample's sizes as 3x32x32.")
    return tuple(map(int, sizes))
