"""The preview lane: measures the newest choice, supersedes older ones, and settles in two fits.

After an edit the layer fit is measured at once, in growing blocks. When it is done and the recipe asks for the
sequential fit, that one is measured too and takes its place: it is what an export writes.

Beside a training a drag is measured once the hand lets go. What is measured at every move of a slider is nearly all
thrown away, and the core it takes is one the training then lacks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from psygnal import Signal

from studio.engine.door import Call, Lane
from studio.engine.requests import Preview
from studio.evaluation.result import Result
from studio.progress import Progress
from studio.session.asking import Asker
from studio.session.project import Project


class PreviewState(StrEnum):
    """What the shown result is worth."""

    EMPTY = "nothing measured yet"
    HELD = "measured once you let go"
    MEASURING = "measuring"
    MEASURED = "measured"
    FAILED = "failed"


@dataclass(frozen=True)
class PreviewStatus:
    """State of the lane, with the progress of the work under way or the reason of a failure in words."""

    state: PreviewState
    message: str = ""
    progress: Progress | None = None


class PreviewLane:
    """Measures a project's current choice.

    Attributes:
        result: the newest result of the newest choice; None until its first block is measured.
        previous: the last result of an older choice of the same model, to show as such meanwhile.
        status: what is going on.
        changed: emitted when either of them changed.
    """

    changed = Signal()

    def __init__(self, asker: Asker, failed: Callable[[BaseException], str]) -> None:
        self._asker = asker
        self._failed = failed
        self._call: Call[Result] | None = None
        self._held: Callable[[], None] | None = None
        self.result: Result | None = None
        self.previous: Result | None = None
        self.status = PreviewStatus(PreviewState.EMPTY)

    def measure(self, project: Project, settled: Callable[[], None]) -> None:
        """Begins measuring the project's choice, in place of whatever was being measured.

        Args:
            project: what to measure.
            settled: called when everything there is to measure has been measured.
        """
        self._make_way()
        self._ask(project, "layer", settled)

    def hold(self, project: Project, settled: Callable[[], None]) -> None:
        """Measures the project's choice, as `measure` does, once `release` is called; until then nothing."""
        self._make_way()
        self._held = lambda: self.measure(project, settled)
        self.status = PreviewStatus(PreviewState.HELD)
        self.changed.emit()

    def release(self) -> None:
        """Measures what is held, if anything is."""
        if self._held is not None:
            self._held()

    def cancel(self) -> None:
        """Stops measuring; the last result stays."""
        self._held = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def clear(self) -> None:
        """Stops measuring and forgets what was measured: another model."""
        self.cancel()
        self.result = self.previous = None
        self.status = PreviewStatus(PreviewState.EMPTY)
        self.changed.emit()

    def _make_way(self) -> None:
        """Stops measuring an older choice; its result is the one before."""
        self.cancel()
        self.previous = self.result or self.previous
        self.result = None

    def _ask(self, project: Project, fit: str, settled: Callable[[], None]) -> None:
        wanted = project.recipe.options.fit
        settling = self.result is not None
        data = project.test.path if project.test else None

        def measured(result: Result) -> None:
            self._show(PreviewState.MEASURED, result)
            if fit != wanted and project.calibration is not None and project.changed_layers():
                self._ask(project, wanted, settled)
            else:
                settled()

        def failed(error: BaseException) -> None:
            self.status = PreviewStatus(PreviewState.FAILED, self._failed(error))
            self.changed.emit()

        self.status = PreviewStatus(PreviewState.MEASURING)
        self.changed.emit()
        self._call = self._asker.ask(
            Preview(project.source(fit=fit), data),
            measured,
            failed,
            lane=Lane.MEASURE,
            progress=self._progress,
            published=lambda result: self._block(result, settling),
        )

    def _block(self, result: Result, settling: bool) -> None:
        """Shows a growing block; the complete layer fit stays in place until the sequential one is complete too."""
        if not settling:
            self._show(PreviewState.MEASURING, result)

    def _progress(self, progress: Progress) -> None:
        self.status = PreviewStatus(PreviewState.MEASURING, progress.message, progress)
        self.changed.emit()

    def _show(self, state: PreviewState, result: Result) -> None:
        self.result = result
        self.status = PreviewStatus(state)
        self.changed.emit()
