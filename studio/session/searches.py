"""Searches of a session: run as jobs, their frontier shown as its points come, the result there until the next."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from psygnal import Signal

from studio.engine.requests import Search
from studio.errors import SearchError
from studio.evaluation.result import Measurement
from studio.evaluation.sensitivity import ScanPoint
from studio.search.outcome import FrontierPoint, SearchOutcome
from studio.search.target import LATENCY, Target, uncounted
from studio.session.jobs import Job, Jobs
from studio.session.project import Choice, Project
from studio.session.scans import SAMPLES, Scans

#: Samples that each recipe is measured on.
RECIPE_SAMPLES = 2048

Choose = Callable[[Choice, str], object]


class Searches:
    """The newest search of the open project.

    The job that `start` gives can be cancelled, or paused and resumed, as any other; its scan is that of `Scans`, and
    the next search begins with what it found.

    Args:
        scans: where the scan is kept.
        jobs: where searches run.
        choose: takes a choice for the open project, as one step with a label.

    Attributes:
        job: None before the first search of the open model.
        target: what it is asked for.
        outcome: its answer, None until it is there.
        changed: emitted when any of these, or the points, changed.
    """

    changed = Signal()

    def __init__(self, scans: Scans, jobs: Jobs, choose: Choose) -> None:
        self._scans = scans
        self._jobs = jobs
        self._choose = choose
        self._points: dict[str, FrontierPoint] = {}
        self._project: Project | None = None
        self.job: Job | None = None
        self.target: Target | None = None
        self.outcome: SearchOutcome | None = None

    @property
    def points(self) -> tuple[FrontierPoint, ...]:
        """What is known of the frontier, the smallest file first."""
        return tuple(sorted(self._points.values(), key=lambda point: (point.bytes, not point.is_measured)))

    @property
    def original(self) -> Measurement | None:
        """The original's own value, once the search is done."""
        return self.outcome.original if self.outcome is not None else None

    def clear(self) -> None:
        """Forgets the search: another model is open."""
        self._points, self._project = {}, None
        self.job = self.target = self.outcome = None
        self.changed.emit()

    def why_not(self, project: Project | None, kind: str = "") -> str:
        """The reason why no search, or none for this kind of target, can begin now; empty when one can."""
        if project is None:
            return "Open a model first."
        if "scan" in project.info.lacks:
            return f"{project.info.lacks['scan']}."
        if kind == LATENCY and "time" in project.info.lacks:
            return f"{project.info.lacks['time']}."
        if reason := uncounted(project.info, kind):
            return f"{reason}."
        if self.job is not None and self.job.is_running:
            return "A search is running."
        if self.job is not None and self.job.can_resume:
            return "A search is paused: resume or cancel it under Jobs."
        scanning = any(job.kind == "scan" and job.is_running for job in self._jobs.all)
        return "A scan is running: a search begins with what it finds." if scanning else ""

    def start(self, project: Project, target: Target, channels: bool = True) -> Job:
        """Searches the best recipe for `project`; layers that are kept or locked stay as they are.

        Args:
            project: the open one.
            target: what is asked for.
            channels: whether channels may go.

        Raises:
            StudioError: it cannot begin now, or a data file is missing.
        """
        reason = self.why_not(project, target.kind)
        if reason:
            raise SearchError(reason)
        source = replace(project.source(), weights=None)
        data, keep = project.test.path if project.test else None, str(self._scans.file_of(project))
        request = Search(source, data, target, RECIPE_SAMPLES, scan_samples=SAMPLES, keep=keep, channels=channels)
        scan = self._scans.begin(project)
        self.clear()
        self._project, self.target = project, target
        title = f"Search: {target.words}  ·  {Path(project.info.path).name}"
        self.job = self._jobs.start(
            "search",
            title,
            request,
            lambda outcome: self._finished(project, outcome),
            resumption=request,
            published=lambda point: self._add(project, scan, point),
        )
        return self.job

    def apply(self, point: FrontierPoint) -> None:
        """Takes the recipe of a point, as one step.

        Raises:
            SearchError: the model it was found for is no longer open.
        """
        if self._project is None:
            raise SearchError("The model that this was found for is no longer open.")
        kind = f"all layers alike, {point.label}" if point.kind == "uniform" else point.label
        self._choose(Choice(point.recipe), f"Take the recipe found ({kind})")

    def lock(self, project: Project, names: Sequence[str], locked: bool) -> None:
        """Locks layers of the open project against searches, or unlocks them, as one step."""
        what = names[0] if len(names) == 1 else f"{len(names)} layers"
        choice = Choice(project.recipe.with_locks(names, locked), project.weights)
        self._choose(choice, f"{'Lock' if locked else 'Unlock'} {what}")

    def _add(self, project: Project, scan: str, point: FrontierPoint | ScanPoint) -> None:
        if isinstance(point, ScanPoint):
            self._scans.add(scan, point)
        elif project is self._project:
            self._points[point.key] = point
            self.changed.emit()

    def _finished(self, project: Project, outcome: SearchOutcome) -> None:
        if project is self._project:
            self._points = {point.key: point for point in outcome.frontier}
            self.outcome = outcome
            self._scans.load(project)
            self.changed.emit()
