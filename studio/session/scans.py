"""Layer scans of a session: run as jobs, shown as their points come, and there again after opening."""

from collections.abc import Mapping
from pathlib import Path

from psygnal import Signal

from studio.engine.requests import ScanLayers
from studio.errors import DataError, StudioError
from studio.evaluation.sensitivity import Scan, ScanPoint, load_scan, scan_key
from studio.files import make_folder
from studio.recipe.recipe import Recipe
from studio.recipe.settings import Options
from studio.session.jobs import Job, Jobs
from studio.session.project import Project

#: Samples of a scan unless the caller says otherwise.
SAMPLES = 1024


class Scans:
    """The scan of the open project.

    The window connects to `changed` and draws `scan`: `Scan.of` gives the points of a layer's curves, `worst`
    the heat of its cell. `load` is called when a project or its data is opened, `follow` after every edit, `start` by a
    button; the job it gives can be cancelled as any other, or paused and resumed, and the next `start` goes on where it
    was.

    Args:
        folder: of the session; points are kept in ``scans`` below it.
        jobs: where scans run.

    Attributes:
        scan: the points of the open project so far; None before the first.
        changed: emitted with the name of the layer that has a new point; empty for all.
    """

    changed = Signal(str)

    def __init__(self, folder: Path, jobs: Jobs) -> None:
        self._folder = folder / "scans"
        self._jobs = jobs
        self.scan: Scan | None = None
        self._index: _Index | None = None
        self._options: Options | None = None

    @property
    def worst(self) -> Mapping[str, float]:
        """The largest drop of every layer that has a point."""
        return self._indexed(self.scan).worst if self.scan is not None else {}

    @property
    def largest(self) -> float:
        """The largest drop of all; 0 where none is."""
        return self._indexed(self.scan).largest if self.scan is not None else 0.0

    def _indexed(self, scan: Scan) -> "_Index":
        if self._index is None or self._index.scan is not scan:
            self._index = _Index(scan)
        return self._index

    def load(self, project: Project) -> None:
        """Brings back the scan that was kept of the project with its present data and options, if there is one."""
        self._options = project.recipe.options
        try:
            self.scan = _kept(self._file(_key(project)))
        except StudioError:  # a data file is gone: nothing was measured on what is there now
            self.scan = None
        self.changed.emit("")

    def follow(self, project: Project) -> None:
        """Does so again where the options are others now: what was measured with the last ones tells nothing then."""
        last, self._options = self._options, project.recipe.options
        if last is None or not _are_alike(last, self._options):
            self.load(project)

    def start(self, project: Project) -> Job:
        """Scans the project, or goes on with its scan.

        Raises:
            StudioError: a data file is missing, or the model cannot be scanned.
        """
        project.info.require("scan")
        key, source = self.begin(project), project.source(recipe=Recipe(options=project.recipe.options))
        path = self.file_of(project)
        learnt = project.calibration is not None and project.recipe.options.data_aware
        request = ScanLayers(source, _data(project), samples=SAMPLES, keep=str(path), activations=learnt)
        return self._jobs.start(
            "scan",
            f"Scan {Path(project.info.path).name}",
            request,
            self._finished,
            resumption=request,
            published=lambda point: self.add(key, point),
        )

    def begin(self, project: Project) -> str:
        """Goes over to the scan that is kept of the project, or to an empty one, for points to come; gives its key.

        Raises:
            StudioError: a data file is missing.
        """
        key = _key(project)
        self.scan = _kept(self._file(key)) or Scan(key=key)
        self.changed.emit("")
        return key

    def file_of(self, project: Project) -> Path:
        """Where the project's scan is kept.

        Raises:
            StudioError: a data file is missing, or the folder cannot be made.
        """
        make_folder(self._folder)
        return self._file(_key(project))

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.json"

    def add(self, key: str, point: ScanPoint) -> None:
        """Takes in a point, unless another project is open meanwhile or the point is known."""
        scan = self.scan
        if scan is not None and scan.key == key and point.key not in self._indexed(scan).keys:
            self.scan = scan.with_point(point)
            self._indexed(scan).add(self.scan, point)
            self.changed.emit(point.layer)

    def _finished(self, scan: Scan) -> None:
        if self.scan is not None and self.scan.key == scan.key:
            self.scan = scan
            self.changed.emit("")


class _Index:
    """What the table asks of a scan for every cell, kept as points come."""

    def __init__(self, scan: Scan) -> None:
        self.keys: set[tuple[str, str]] = set()
        self.worst: dict[str, float] = {}
        self.largest = 0.0
        for point in scan.points:
            self.add(scan, point)
        self.scan = scan

    def add(self, scan: Scan, point: ScanPoint) -> None:
        """Goes over to `scan`, which has one more point."""
        self.scan = scan
        self.keys.add(point.key)
        if point.method == "channels":
            return  # several layers lose them, of which this one stands for all
        self.worst[point.layer] = max(self.worst.get(point.layer, point.drop), point.drop)
        self.largest = max(self.largest, point.drop)


def _are_alike(one: Options, other: Options) -> bool:
    """Whether a scan is the same with both; its fit is always that of each layer alone."""
    return one is other or one.model_copy(update={"fit": other.fit}) == other  # asked at every move of a slider


def _data(project: Project) -> str | None:
    return project.test.path if project.test else None


def _key(project: Project) -> str:
    calibration = project.calibration.path if project.calibration else None
    options = project.recipe.options
    return scan_key(project.info.fingerprint, _data(project), calibration, options, SAMPLES, 0, racing=True)


def _kept(path: Path) -> Scan | None:
    """The scan in a file; one that cannot be read is measured anew."""
    if not path.exists():
        return None
    try:
        return load_scan(path)
    except DataError:
        path.unlink()
        return None
