"""Students that are models of their own: made, trained by their teacher, and exported."""

from dataclasses import replace
from pathlib import Path
from typing import Protocol, TypeVar

from studio.distillation.copies import smaller_copy
from studio.distillation.copy_settings import CopySettings
from studio.engine.door import Publish, unpublished
from studio.engine.requests import Export, MakeCopy, Request, StudentReport, TrainStudent
from studio.errors import TrainingError
from studio.export.onnx_file import write_onnx
from studio.export.target import check_target
from studio.files import write_atomically
from studio.models.model import Model
from studio.progress import Report, silent

Answer = TypeVar("Answer")


class Answers(Protocol):
    """What answers requests."""

    def answer(self, request: Request[Answer], report: Report = silent, publish: Publish = unpublished) -> Answer:
        """See `studio.engine.workspace.Workspace.answer`."""
        ...


def make_copy(model: Model, settings: CopySettings, out: Path) -> tuple[str, ...]:
    """Writes a smaller copy of a model to `out`, and tells what could not be made smaller.

    Raises:
        ModelFileError: the model cannot be trained.
        TrainingError: nothing could be made smaller.
        ExportError: the copy has no form in ONNX.
        OSError: the file cannot be written.
    """
    model.info.require("train")
    made = smaller_copy(model, settings)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, lambda path: write_onnx(made.graph, model.info, path, model.free_size))
    return made.notes


def train_student(engine: Answers, request: TrainStudent, report: Report, publish: Publish) -> StudentReport:
    """Makes the student where it is to be a copy, trains it and exports it.

    A copy that is there already is of a run that goes on.

    Raises:
        StudioError: see the requests that it is made of.
    """
    distill = request.distill
    check_target(Path(request.out), "onnx", distill.teacher or distill.source.model)
    notes = tuple[str, ...]()
    if request.copy is not None and not (distill.resume and Path(distill.source.model).exists()):
        if distill.teacher is None:
            raise TrainingError("A copy needs the model that it is made from.")
        notes = engine.answer(
            MakeCopy(distill.teacher, request.copy, distill.source.model, distill.teacher_skeleton), report
        )
    distilled = engine.answer(distill, report, publish)
    trained = replace(distill.source, weights=distilled.weights)
    exported = engine.answer(
        Export(trained, request.out, distill.evaluation or distill.train, seed=distill.settings.seed), report
    )
    return StudentReport(distilled, exported, notes)
