"""The command that trains: a compressed model, another model, or a smaller copy, towards the original."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from studio.cli_engine import ask, new_engine, source_of
from studio.cli_options import Json, ModelPath, Out, RecipePath, RequiredData, Samples, Skeleton, checked
from studio.console import print_answer, print_distilled, say
from studio.distillation.copy_settings import CopySettings
from studio.distillation.folder import forget, has_checkpoint, is_resumable, note_begun
from studio.distillation.processes import helpers, is_helper
from studio.distillation.settings import DistillOutcome, DistillSettings
from studio.distillation.suggested import Suggestion, suggested
from studio.engine.door import Engine
from studio.engine.requests import Assist, CheckData, Distill, Export, MakeCopy, Source
from studio.errors import ExportError, StudioError, TrainingError
from studio.export.report import ExportReport
from studio.export.target import check_target
from studio.progress import Cancelled


def distill(
    model: ModelPath,
    data: RequiredData,
    out_path: Out,
    settings: DistillSettings,
    evaluation: Annotated[
        str | None,
        typer.Option("--eval", metavar="D", help="Held-out data; without it a tenth of --data is held back."),
    ] = None,
    recipe: RecipePath = None,
    student: Annotated[
        str | None, typer.Option(metavar="S", help="Another model to be taught by MODEL; --recipe is then for it.")
    ] = None,
    student_skeleton: Annotated[
        str | None, typer.Option(metavar="FILE", help="The network of --student when that is a checkpoint.")
    ] = None,
    width: Annotated[
        float | None, typer.Option(help="Teach a copy of MODEL that keeps this share of the channels, 0..1.")
    ] = None,
    depth: Annotated[
        float | None, typer.Option(help="Teach a copy of MODEL that keeps this share of its repeated blocks, 0..1.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Weights a copy begins with: new or original (with --width, --depth).")
    ] = "new",
    processes: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processes on this machine that train together, each with such a batch; on several machines: "
            "torchrun … -m studio distill …",
        ),
    ] = 1,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was interrupted.")] = False,
    skeleton: Skeleton = None,
    samples: Samples = None,
    as_json: Json = False,
) -> None:
    """Recover accuracy by distillation from the original, or teach another model, then export it."""
    engine = new_engine()
    for original in filter(None, (model, skeleton, student)):
        check_target(Path(out_path), "onnx", original)
    copy = _copy_settings(student, width, depth, start, settings.seed)
    keeping = _kept_until_done(Path(f"{out_path}.training"), resume)
    with tempfile.TemporaryDirectory() as folder, helpers(processes), keeping as run:
        kept = run or Path(folder)
        if copy is not None:
            student = _made_copy(engine, model, skeleton, copy, kept)
        taught, network = (model, skeleton) if student is None else (student, student_skeleton)
        source, info = source_of(engine, taught, network, recipe, data, data)
        chosen = source.recipe.settings_of(info.layers)
        found = suggested(settings, ask(engine, CheckData(taught, data, network)), info, chosen)
        settings = found.settings
        request = Distill(source, data, evaluation, settings, folder, checkpoints=str(kept), resume=resume)
        if student is not None:
            request = replace(request, teacher=model, teacher_skeleton=skeleton)
        if is_helper():
            ask(engine, Assist(request))
            return
        for note in _suggestions(found):
            say(f"note: {note}")
        outcome = ask(engine, request, stop_in_order=True)
        report = ask(engine, _export(source, outcome, out_path, evaluation or data, samples, settings.seed))
    print_answer(_plain(outcome, report), as_json, lambda: print_distilled(outcome, report))


def _suggestions(found: Suggestion) -> list[str]:
    """What was chosen where no option says so, a line each, as the option that would ask for it."""
    values = {name: getattr(found.settings, name) for name in found.reasons}
    options = {
        name: f"--{name.replace('_', '-')}" + ("" if value is True else f" {value}") for name, value in values.items()
    }
    return [f"suggested {options[name]}: {reason}." for name, reason in found.reasons.items()]


def _copy_settings(
    student: str | None, width: float | None, depth: float | None, start: str, seed: int
) -> CopySettings | None:
    """How a copy is to be made, None where none is asked for.

    Raises:
        TrainingError: two students are asked for.
        StudioError: a value is out of range.
    """
    if width is None and depth is None:
        return None
    if student is not None:
        raise TrainingError("--student names a model, --width and --depth ask for a copy of the teacher: give one.")
    shares = {"width": 1.0 if width is None else width, "depth": 1.0 if depth is None else depth}
    return checked(CopySettings, {**shares, "start": start, "seed": seed})


def _made_copy(engine: Engine, model: str, skeleton: str | None, copy: CopySettings, kept: Path) -> str:
    """Path of the copy, which stays with the run until that is done; a run that goes on finds its own there."""
    path = kept / "student.onnx"
    if not (is_resumable(kept) and path.exists()):
        for note in ask(engine, MakeCopy(model, copy, str(path), skeleton)):
            say(f"note: {note}")
    return str(path)


def _export(source: Source, outcome: DistillOutcome, out: str, data: str, samples: int | None, seed: int) -> Export:
    return Export(replace(source, weights=outcome.weights), out, data, samples, seed)


def _plain(outcome: DistillOutcome, report: ExportReport) -> dict[str, object]:
    """What a script is told."""
    return {
        "metric": {
            "name": outcome.metric,
            "teacher": outcome.teacher,
            "before": outcome.before,
            "after": outcome.after,
            "exported": report.exported.value,
        },
        "epochs": outcome.epochs,
        "seconds": outcome.seconds,
        "device": outcome.device,
        "precision": outcome.precision,
        "warning": outcome.warning,
        "out": report.out,
        "bytes": report.after,
        "verified": report.verified,
    }


@contextmanager
def _kept_until_done(folder: Path, resume: bool) -> Iterator[Path | None]:
    """Keeps the checkpoint in `folder` until the block, training and what is made of it, has come to its end.

    A process that only helps keeps nothing.

    Raises:
        TrainingError: there is one of a run that nobody asked to go on with, or none of one that somebody did.
    """
    if is_helper():
        yield None
        return
    if is_resumable(folder) and not resume:
        raise TrainingError(
            f"{folder} holds a run that was interrupted: --resume goes on with it; remove the folder to begin anew."
        )
    if resume and not is_resumable(folder):
        raise TrainingError(f"{folder}: there is no checkpoint to go on from; start the run anew.")
    note_begun(folder)
    try:
        yield folder
    except (Cancelled, StudioError) as error:
        if not has_checkpoint(folder) and not isinstance(error, Cancelled):
            forget(folder)  # it would fail again
        elif isinstance(error, Cancelled | ExportError):
            say(f"The run is kept in {folder}; the same command with --resume goes on with it.")
        raise
    forget(folder)
