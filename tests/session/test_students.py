"""Students of their own: looked at, taught by the open model, written, and gone on with after a crash."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from studio.distillation.copy_settings import CopySettings, CopySize
from studio.distillation.folder import FILE
from studio.distillation.settings import DistillOutcome, DistillSettings, TrainingPoint
from studio.engine.requests import Distill, Export, MakeCopy, PredictCopy
from studio.errors import TrainingError
from studio.session.jobs import Job
from studio.session.project import Choice
from studio.session.runs import KeptRuns
from studio.session.session import Session

HALF = CopySettings(width=0.5)
OUTCOME = DistillOutcome("w.safetensors", "top1", 90.0, 10.0, 85.0, 1, 6.0)


class Report:
    """As much of an export's report as is read."""

    def __init__(self, out: str) -> None:
        self.out, self.after = out, 4321
        Path(out).write_bytes(b"a model")


def taught(opened: Session, engines: list[Any]) -> tuple[Job, Any, list[Any]]:
    """A copy that is being taught: its job, what the engine was asked, and what was written so far."""
    jobs: list[Job] = []
    written: list[Any] = []
    opened.students.written.connect(lambda path, _project, found: written.append((path, found)))
    opened.students.teach_copy(opened.project, HALF, DistillSettings(), jobs.append)
    asked = engines[0].of(MakeCopy)[0]
    assert opened.students.making
    Path(asked.request.out).parent.mkdir(parents=True)
    Path(asked.request.out).touch()
    asked.answer(())
    assert not opened.students.making
    return jobs[0], engines[-1].of(Distill)[0], written


def test_the_newest_look_at_a_copy_counts(opened: Session, engines: list[Any]):
    students = opened.students
    students.look(opened.project, CopySettings(width=0.25))
    students.look(opened.project, HALF)
    first, second = engines[0].of(PredictCopy)
    assert first.call.is_cancelled
    second.answer(CopySize(600, 500, ()))
    first.answer(CopySize(1, 1, ()))
    assert students.size == CopySize(600, 500, ())
    assert students.bytes(opened.project) == 7500 - 4 * (1600 - 600)


def test_what_cannot_be_copied_says_why(opened: Session, engines: list[Any]):
    opened.students.look(opened.project, HALF)
    engines[0].of(PredictCopy)[0].fail(TrainingError("width: all layers keep their shape."))
    assert (opened.students.size, opened.students.error) == (None, "width: all layers keep their shape.")


def test_a_copy_is_made_taught_by_the_open_model_and_written(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    _, asked, written = taught(opened, engines)
    asked.publish(TrainingPoint(10, 20, 0.5, 1.2, 0.01, None, 3.0))
    request = asked.request
    assert (request.teacher, request.source.recipe.layers) == (opened.project.info.path, {})
    assert (request.train, request.evaluation) == ("train.data.yaml", "test.data.yaml")
    asked.answer(OUTCOME)
    export = engines[-1].of(Export)[0]
    untaught = Path(export.request.source.model)
    assert (untaught.exists(), export.request.source.weights) == (True, "w.safetensors")
    assert not Path(request.checkpoints).exists()
    export.answer(Report(export.request.out))
    assert written == [
        (str(tmp_path / "studio/students/model-student-1.onnx"), "The student has learnt: accuracy 10.00 → 85.00.")
    ]
    assert not untaught.exists()
    student = replace(info, fingerprint=sha256(b"a model").hexdigest())
    (kept,) = KeptRuns(tmp_path / "studio" / "runs").of(student)
    assert (kept.choice, kept.bytes, [point.step for point in kept.points]) == (Choice(), 4321, [10])
    assert len(opened.variants.all) == 1  # the open model is what it was
    assert opened.project.weights is None


def test_cancelling_leaves_nothing_of_a_copy(opened: Session, engines: list[Any]):
    job, asked, _ = taught(opened, engines)
    opened.jobs.cancel(job)
    assert not Path(asked.request.checkpoints).exists()


def test_a_student_is_gone_on_with_after_a_crash_when_its_teacher_is_open(
    opened: Session, engines: list[Any], info: Any, tmp_path: Path
):
    _, asked, _ = taught(opened, engines)
    Path(asked.request.checkpoints, FILE).touch()
    again = Session(opened.jobs._engines, tmp_path / "studio", lambda action: action())
    again.open_model(info.path, test="test.data.yaml", train="train.data.yaml")
    saved = again.recoveries.interrupted(again.project)
    again.recoveries.resume(again.project, saved)
    request = engines[-1].of(Distill)[0].request
    assert (request.resume, request.teacher, request.source) == (True, info.path, asked.request.source)


def test_the_model_of_another_file_is_taught_and_stays_where_it_is(opened: Session, engines: list[Any], tmp_path: Path):
    student = tmp_path / "other.onnx"
    student.touch()
    opened.students.teach(opened.project, str(student), DistillSettings())
    asked = engines[-1].of(Distill)[0]
    assert (asked.request.source.model, asked.request.teacher) == (str(student), opened.project.info.path)
    asked.answer(OUTCOME)
    export = engines[-1].of(Export)[0]
    assert export.request.source.model == str(student)
    export.answer(Report(export.request.out))
    assert student.exists()
