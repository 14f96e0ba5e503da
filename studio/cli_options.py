"""What commands share: options that are made from the fields of a settings class, and interrupts that lose nothing."""

import inspect
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from threading import Event
from types import FrameType, NoneType
from typing import Annotated, Any, TypeVar, get_args

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from studio.errors import StudioError
from studio.progress import Cancelled, Progress, Report
from studio.recipe.settings import Settings

Chosen = TypeVar("Chosen", bound=Settings)

ModelPath = Annotated[str, typer.Argument(metavar="MODEL", help="An .onnx or .pt2 file, or a checkpoint.")]
Skeleton = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="The .onnx or .pt2 network that takes the weights when MODEL is a checkpoint; without it the weights "
        "alone are opened.",
    ),
]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the code of MODEL, a TorchScript program, once to open it: trust its origin."),
]
InputShape = Annotated[
    list[str] | None,
    typer.Option(
        "--input-shape", metavar="SIZES", help="With --trust: one sample's sizes, as 3x32x32, for each input."
    ),
]
DataPath = Annotated[
    str | None, typer.Option("--data", metavar="D", help="A .data.yaml file, or data themselves, to measure on.")
]
RequiredData = Annotated[
    str, typer.Option("--data", metavar="D", help="A .data.yaml file, or a folder or file of data.")
]
RecipePath = Annotated[str | None, typer.Option("--recipe", metavar="R", help="A recipe file.")]
Calibration = Annotated[str | None, typer.Option("--calibration", metavar="D", help="Data that the methods fit to.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Measure at most this many samples.")]
Seed = Annotated[int, typer.Option(help="Fixes the order of the samples.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
Out = Annotated[str, typer.Option("--out", metavar="FILE", help="The file to write.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="F", help="onnx, or safetensors of weights alone; chosen by the model if left out."
    ),
]

#: What stands for "none" where a field may be empty.
NONE = "none"


def with_settings(settings: type[Settings]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command one option for each field of a settings class, from the field's own metadata.

    The command receives them as one checked value, its parameter ``settings``; fields that are suggested by the data
    are set in it only where they are given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [one for one in inspect.signature(command).parameters.values() if one.name != "settings"]
        options = [_option(name, field) for name, field in settings.model_fields.items()]

        @wraps(command)
        def run(**given: Any) -> None:
            values = {name: given.pop(name) for name in settings.model_fields}
            chosen = {name: value for name, value in values.items() if value is not None}
            command(**given, settings=checked(settings, chosen))

        parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *options)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


def checked(settings: type[Chosen], values: dict[str, Any]) -> Chosen:
    """Checks the values of options against the settings' own ranges.

    Raises:
        StudioError: a value is out of range.
    """
    values = {name: _read(settings.model_fields[name], value) for name, value in values.items()}
    try:
        return settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        option = str(first["loc"][0]).replace("_", "-") if first["loc"] else "options"
        raise StudioError(f"--{option}: {first['msg']} (given: {first['input']!r}).") from error


@contextmanager
def stopping_between_reports(report: Report) -> Iterator[Report]:
    """Turns an interrupt into `Cancelled` out of the next report, where work ends in order; a second one is plain."""
    asked = Event()
    before = signal.getsignal(signal.SIGINT)

    def interrupted(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    def report_or_stop(progress: Progress) -> None:
        if asked.is_set():
            raise Cancelled
        report(progress)

    signal.signal(signal.SIGINT, interrupted)
    try:
        yield report_or_stop
    finally:
        signal.signal(signal.SIGINT, before)


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    """The option of one field; what may be empty is written as a number or ``none``."""
    listed = [value for value in get_args(field.annotation) if isinstance(value, str | int)]
    empty = NoneType in get_args(field.annotation)
    default = NONE if empty and field.default is None else str(field.default) if empty else field.default
    kind: Any = str if listed or empty else field.annotation
    if isinstance(field.default, tuple):
        kind, default = list[str], list(field.default)
    extra = field.json_schema_extra
    by_data = extra.get("suggested") if isinstance(extra, dict) else None
    if by_data:
        kind, default = kind | None, None
    words = " ".join(filter(None, (field.description, f"One of {', '.join(map(str, listed))}." if listed else "")))
    shown = str(by_data) if by_data else True
    metavar = f"NUMBER|{NONE}" if empty and not listed else None
    annotation = Annotated[kind, typer.Option(help=words, metavar=metavar, show_default=shown)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _read(field: FieldInfo, value: Any) -> Any:
    """What an option's text stands for."""
    if isinstance(value, list):
        return tuple(value)
    if NoneType not in get_args(field.annotation) or not isinstance(value, str):
        return value
    if value.lower() == NONE:
        return None
    try:
        return int(value) if value.lstrip("-").isdigit() else float(value)
    except ValueError:
        return value  # the settings say what is wrong with it
