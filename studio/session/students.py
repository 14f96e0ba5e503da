"""Students of their own: a smaller copy of the open model or another file, taught by it and written as a model."""

from collections.abc import Callable
from hashlib import file_digest
from itertools import count
from pathlib import Path

from psygnal import Signal

from studio.distillation.copy_settings import CopySettings, CopySize
from studio.distillation.settings import DistillSettings
from studio.engine.door import Call
from studio.engine.requests import Export, MakeCopy, PredictCopy, Source
from studio.errors import StudioError
from studio.export.report import ExportReport
from studio.files import make_folder
from studio.recipe.recipe import Recipe
from studio.session.asking import Asker
from studio.session.jobs import Job, Jobs
from studio.session.project import Project
from studio.session.recoveries import Recoveries, SavedRun
from studio.session.runs import KeptRuns, TrainedRun

#: Bytes of a weight: copies are written in float32.
_BYTES = 4

Begun = Callable[[Job], object]


class Students:
    """Foretells the size of copies, has students taught, and writes what they have become.

    Args:
        folder: where finished students are written.
        asker: of the interactive engine.
        jobs: where students are written.
        recoveries: where they are taught.
        runs: where their curves are kept, to be there when they are opened.
        failed: is told why a copy could not be made.

    Attributes:
        size: of the copy that was looked at last; None until it is known.
        making: whether a copy is being made, which is then taught.
        error: why there is none, empty where there is, or will be.
        changed: emitted when any of them changed.
        written: emitted with the path of a student that has learnt, the project that taught it, and what it learnt.
    """

    changed = Signal()
    written = Signal(str, Project, str)

    def __init__(
        self,
        folder: Path,
        asker: Asker,
        jobs: Jobs,
        recoveries: Recoveries,
        runs: KeptRuns,
        failed: Callable[[BaseException], None],
    ) -> None:
        self._folder = folder
        self._asker = asker
        self._jobs = jobs
        self._recoveries = recoveries
        self._runs = runs
        self._failed = failed
        self._looking: Call[CopySize] | None = None
        self.size: CopySize | None = None
        self.error = ""
        self.making = False
        recoveries.taught.connect(self._write)

    def look(self, project: Project, settings: CopySettings) -> None:
        """Asks how large a copy would be, in place of whatever was asked before."""
        if self._looking is not None:
            self._looking.cancel()
        self.size, self.error = None, ""

        def known(size: CopySize) -> None:
            self.size = size
            self.changed.emit()

        def unknown(error: BaseException) -> None:
            if not isinstance(error, StudioError):
                self._failed(error)
            self.error = str(error) or type(error).__name__
            self.changed.emit()

        self.changed.emit()
        request = PredictCopy(project.info.path, settings, project.info.skeleton)
        self._looking = self._asker.ask(request, known, unknown)

    def bytes(self, project: Project) -> int | None:
        """Predicted bytes of the copy's file: that of the original without the weights that go."""
        if self.size is None:
            return None
        whole = project.export_size or project.info.bytes
        return whole - _BYTES * (project.info.parameters - self.size.parameters)

    def teach_copy(self, project: Project, copy: CopySettings, settings: DistillSettings, begun: Begun) -> None:
        """Makes a copy and has the open model teach it; `begun` receives the job.

        Raises:
            StudioError: the model cannot be trained.
        """
        project.info.require("train")
        folder = self._recoveries.new_folder()
        path = str(folder / "student.onnx")

        def made(_notes: tuple[str, ...]) -> None:
            self._make(False)
            begun(self._recoveries.start(project, settings, path, folder))

        def failed(error: BaseException) -> None:
            self._make(False)
            self._failed(error)

        self._make(True)
        request = MakeCopy(project.info.path, copy, path, project.info.skeleton)
        self._asker.ask(request, made, failed)

    def teach(self, project: Project, path: str, settings: DistillSettings) -> Job:
        """Has the open model teach the one in a file.

        Raises:
            StudioError: there is no training data, or the model cannot be trained.
        """
        return self._recoveries.start(project, settings, path)

    def _make(self, making: bool) -> None:
        self.making = making
        self.changed.emit()

    def _write(self, project: Project, saved: SavedRun, run: TrainedRun) -> None:
        """Writes a student with what it has learnt; a copy leaves the folder of its run, which goes with the run."""
        make_folder(self._folder)
        out, student = self._free(project), Path(saved.model)
        copied = student.parent == Path(saved.folder)
        if copied:
            student = student.replace(out.with_suffix(".untaught.onnx"))
        outcome = run.outcome
        found = f"The student has learnt: {run.brought}."

        def done(report: ExportReport) -> None:
            if copied:
                student.unlink(missing_ok=True)
            with Path(report.out).open("rb") as file:
                self._runs.keep(file_digest(file, "sha256").hexdigest(), run.model_copy(update={"bytes": report.after}))
            told = f"{found} {outcome.warning}".strip()
            self.written.emit(report.out, project, told)

        source = Source(str(student), Recipe(), outcome.weights)
        request = Export(source, str(out), saved.evaluation or saved.train)
        self._jobs.start("student", f"Write {out.name}", request, done)

    def _free(self, project: Project) -> Path:
        """A name that no student has yet."""
        stem = Path(project.info.path).stem
        names = (self._folder / f"{stem}-student-{number}.onnx" for number in count(1))
        return next(path for path in names if not (path.exists() or path.with_suffix(".untaught.onnx").exists()))
