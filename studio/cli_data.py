"""The command that guesses how data become a model's input, and what other commands say of data without description."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from studio.cli_engine import ask, new_engine
from studio.cli_options import Json, Skeleton
from studio.console import out, plain_metric, print_answer
from studio.engine.requests import GuessData
from studio.errors import DataError
from studio.evaluation.data_guess import DataGuess, is_description, written_for
from studio.evaluation.description import save_description


def data(
    path: Annotated[str, typer.Argument(metavar="PATH", help="A folder of images, arrays, a table or a text.")],
    model: Annotated[str, typer.Option("--model", metavar="MODEL", help="The model that the data are for.")],
    out_path: Annotated[
        str | None, typer.Option("--out", metavar="FILE", help="Write the description here, as a .data.yaml file.")
    ] = None,
    skeleton: Skeleton = None,
    as_json: Json = False,
) -> None:
    """Guess how data become a model's input, and measure the model on them."""
    if is_description(path):
        raise DataError(f"{path}: is a description already; `studio evaluate` measures with it.")
    guess = ask(new_engine(), GuessData(model, path, skeleton))
    described = guess.described
    if out_path is not None:
        described = written_for(described, Path(guess.place), Path(out_path))
        save_description(described, Path(out_path))
    plain = {
        "description": described.model_dump(mode="json", exclude_defaults=True),
        "reasons": list(guess.reasons),
        "tried": [asdict(one) for one in guess.tried],
        "metric": plain_metric(guess.baseline),
        "samples": guess.samples,
        "labelled": guess.labelled,
        "out": out_path,
    }
    print_answer(plain, as_json, lambda: _print(guess, out_path))


def _print(guess: DataGuess, out_path: str | None) -> None:
    for field, value in guess.described.model_dump(mode="json", exclude_defaults=True).items():
        out.print(f"{field}: {value}", soft_wrap=True)
    out.print()
    for reason in guess.reasons:
        out.print(reason, soft_wrap=True)
    base = guess.baseline
    out.print(f"{base.name} {base.value:.2f} ({base.low:.2f} to {base.high:.2f}, {base.samples:,} samples)")
    if out_path is not None:
        out.print(f"Written to {out_path}.", soft_wrap=True)
