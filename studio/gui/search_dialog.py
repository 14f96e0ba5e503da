"""The target of a search, its frontier as it comes, and a point of it to take."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDoubleSpinBox,
    QHBoxLayout,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from studio.errors import StudioError
from studio.gui.frontier_plot import POINT_ROLE, FrontierPlot, metric_of, point_text
from studio.gui.jobs_panel import job_text
from studio.gui.labels import label, placeholder, set_tone
from studio.gui.progress_bar import ProgressBar
from studio.gui.text import bytes_text, in_points, metric_name
from studio.gui.theme import Theme
from studio.search.as_good import as_good
from studio.search.outcome import FrontierPoint
from studio.search.reasons import reasons
from studio.search.target import DROP, LATENCY, Target
from studio.session.jobs import Job, JobState
from studio.session.project import Project
from studio.session.session import Change, Session

_WHY = (
    "A search scans every layer, chooses rank, bits and sparsity for each, and channels where layers share them, "
    "measures the best recipes, and compares them with treating all layers alike. It goes on when this is closed."
)

#: Why no channels go for a time.
_TIMED = "Layers are timed at their full width: a search for a time leaves channels as they are."

#: Share of the original's milliseconds to begin with.
_SHARE = 0.6

#: What is offered beside the best, and why nobody need fear it.
_SMALLER = "As good and smaller"
_WHY_SMALLER = (
    "The smallest recipe whose drop lies within the 95 % interval of the best one's: these samples do not tell them "
    "apart. The best one is nearer to the original's outputs."
)

_EMPTY = "Recipes are listed here as they are found."


@dataclass(frozen=True)
class Wish:
    """A kind of target as the dialog asks for it.

    Attributes:
        kind: of the `Target`.
        text: for the list.
        suffix: behind the number.
        low, high, start, step: of the number.
        limit: the target's limit for the number.
        absolute: the limit is in milliseconds.
    """

    kind: str
    text: str
    suffix: str
    low: float
    high: float
    start: float
    step: float
    limit: Callable[[float], float]
    absolute: bool = False

    def target(self, amount: float) -> Target:
        """What is asked for with a number."""
        return Target(self.kind, self.limit(amount), self.absolute)


WISHES = (
    Wish("size", "A smaller file", " × smaller", 1.1, 100.0, 8.0, 0.5, lambda times: 1 / times),
    Wish(DROP, "The smallest file that loses at most", " points", 0.0, 50.0, 0.5, 0.1, lambda points: points),
    Wish("macs", "Less arithmetic", " % of the operations", 1.0, 99.0, 50.0, 5.0, lambda percent: percent / 100),
    Wish(LATENCY, "A shorter time", " % of the original's time", 1.0, 99.0, 60.0, 5.0, lambda percent: percent / 100),
    Wish(LATENCY, "A time of at most", " ms", 0.001, 100_000.0, 1.0, 0.1, lambda ms: ms, absolute=True),
    Wish("nonzeros", "Fewer weights", " % of them not zero", 1.0, 99.0, 50.0, 5.0, lambda percent: percent / 100),
)


class SearchDialog(QDialog):
    """Starts searches and shows the newest one; closing it stops nothing.

    Attributes:
        kind, amount: the target.
        channels: whether channels may go.
        start, cancel: begin a search, end it.
        found: every point in words; the chosen one has a ring in the plot.
        apply: takes the chosen point's recipe.
        smaller: takes the smallest recipe that is as good as the best; there only where one is.
    """

    def __init__(self, session: Session, theme: Theme, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self.setWindowTitle("Search the best recipe")
        self.resize(900, 560)
        self.kind = QComboBox()
        self.kind.addItems([wish.text for wish in WISHES])
        self.kind.setAccessibleName("What is wanted")
        self.amount = QDoubleSpinBox()
        self.amount.setDecimals(1)
        self.amount.setAccessibleName("How much")
        self.amount.setMinimumSize(170, 26)
        self.channels = QCheckBox("Remove &channels too")
        self.channels.setChecked(True)
        self.start = QPushButton("Search")
        self.start.setProperty("role", "primary")
        self.cancel = QPushButton("Cancel")
        self.apply = QPushButton("Take this recipe")
        self.apply.setProperty("role", "primary")
        self.smaller = QPushButton()
        self.smaller.setToolTip(_WHY_SMALLER)
        self.smaller.setVisible(False)
        self._held = label("", "detail", wrap=True)
        self._reasons = label("", "detail", wrap=True)
        self._state = label("", "detail", wrap=True)
        self._bar = ProgressBar("Progress of the search", thin=True)
        self.plot = FrontierPlot(theme, self.choose)
        self.found = QListWidget()
        self.found.setAccessibleName("Recipes found")
        self._empty = placeholder(_EMPTY, self.found)
        self.found.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.found.setWordWrap(True)
        self.found.setResizeMode(QListWidget.ResizeMode.Adjust)
        self.found.setSpacing(2)
        self._lay_out()
        self.kind.currentIndexChanged.connect(self._offer_amount)
        self.start.clicked.connect(self._search)
        self.cancel.clicked.connect(self._stop)
        self.apply.clicked.connect(self._apply)
        self.smaller.clicked.connect(self._apply_smaller)
        self.found.currentItemChanged.connect(lambda *_: self._draw())
        self.found.itemActivated.connect(self._apply)
        session.changed.connect(self._follow)
        session.searches.changed.connect(self._show_points)
        session.jobs.changed.connect(self._follow_job)
        self._offer_amount()
        self._show_points()

    @property
    def chosen(self) -> FrontierPoint | None:
        """The point that stands chosen."""
        item = self.found.currentItem()
        return None if item is None else cast("FrontierPoint", item.data(POINT_ROLE))

    def choose(self, point: FrontierPoint) -> None:
        """Chooses a point."""
        for row in range(self.found.count()):
            if self.found.item(row).data(POINT_ROLE).key == point.key:
                self.found.setCurrentRow(row)

    def _lay_out(self) -> None:
        asking = QHBoxLayout()
        asking.addWidget(self.kind, 1)
        for widget in (self.amount, self.channels, self.start, self.cancel):
            asking.addWidget(widget)
        results = QHBoxLayout()
        results.addWidget(self.plot.widget, 1)
        results.addWidget(self.found, 1)
        taking = QHBoxLayout()
        taking.addWidget(self.plot.legend, 1)
        taking.addWidget(self.smaller)
        taking.addWidget(self.apply)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.setSpacing(8)
        layout.addWidget(label(_WHY, "detail", wrap=True))
        layout.addLayout(asking)
        layout.addWidget(self._held)
        layout.addWidget(self._state)
        layout.addWidget(self._reasons)
        layout.addWidget(self._bar)
        layout.addLayout(results, 1)
        layout.addLayout(taking)

    def _wish(self) -> Wish:
        return WISHES[self.kind.currentIndex()]

    def _offer_amount(self) -> None:
        wish = self._wish()
        self.amount.setDecimals(3 if wish.absolute else 1)
        self.amount.setRange(wish.low, wish.high)
        self.amount.setSingleStep(wish.step)
        self.amount.setSuffix(wish.suffix)
        result = self._session.preview.result
        if wish.kind == DROP and result is not None and not in_points(result.metric.name):
            self.amount.setDecimals(3)
            self.amount.setSuffix(f" of {metric_name(result.metric.name).lower()}")
        self.amount.setValue(self._start_of(wish))
        self._show_job()

    def _start_of(self, wish: Wish) -> float:
        """The number to begin with: of milliseconds the usual share of what the original was last measured to take."""
        known = self._session.latencies.previous if wish.absolute else None
        return wish.start if known is None else _SHARE * known.original.ms

    def _search(self) -> None:
        project, wish = self._session.project, self._wish()
        if project is None:
            return
        try:
            self._session.searches.start(project, wish.target(self.amount.value()), self.channels.isChecked())
        except StudioError as error:  # a data file is gone
            self._say(str(error), "bad")
        self._show_job()

    def _stop(self) -> None:
        job = self._session.searches.job
        if job is not None:
            self._session.jobs.cancel(job)

    def _apply(self) -> None:
        if self.chosen is not None and self.apply.isEnabled():
            self._session.searches.apply(self.chosen)
            self._say("Taken, as one step that undo takes back.", "good")

    def _apply_smaller(self) -> None:
        point = self._smaller()
        if point is not None:
            self.choose(point)
            self._apply()

    def _smaller(self) -> FrontierPoint | None:
        """The smallest recipe that is as good as the best, once there is a best."""
        searches = self._session.searches
        return None if searches.outcome is None else as_good(searches.outcome, searches.target)

    def _follow(self, _change: Change) -> None:
        self._show_job()

    def _follow_job(self, job: Job) -> None:
        if job.kind in ("search", "scan"):
            self._show_job()

    def _show_points(self) -> None:
        """Lists the points anew; the chosen one stays chosen, or else the best is."""
        searches, before = self._session.searches, self.chosen
        self.found.blockSignals(True)
        self.found.clear()
        done = searches.outcome
        marks = {} if done is None else {done.best.key: "Best"}
        if (smaller := self._smaller()) is not None:
            marks[smaller.key] = _SMALLER
            self.smaller.setText(f"Take the smaller one: {bytes_text(smaller.bytes)}")
        self.smaller.setVisible(smaller is not None)
        for point in told(searches.points, None if done is None else done.best):
            mark = marks.get(point.key, "")
            self.found.addItem(_item(point, metric_of(searches.points), _kind(self._session), mark))
        self.found.blockSignals(False)
        wanted = before or (done.best if done is not None else None)
        if done is not None and (before is None or not before.is_measured):
            wanted = done.best
        if wanted is not None:
            self.choose(wanted)
        if self.chosen is None and done is not None:  # another one for the same share came out better
            self.choose(done.best)
        self._draw()
        self._show_job()

    def _draw(self) -> None:
        searches = self._session.searches
        best = None if searches.outcome is None else searches.outcome.best
        self.plot.show(told(searches.points, best), self.chosen, _kind(self._session))
        self._empty.setVisible(not self.found.count())
        self.apply.setEnabled(self.chosen is not None)
        self.apply.setToolTip(
            "Take its settings for all layers, as one step" if self.chosen is not None else "Choose a point first."
        )

    def _show_job(self) -> None:
        searches, project = self._session.searches, self._session.project
        job, reason = searches.job, searches.why_not(project, self._wish().kind)
        active = job is not None and (job.is_running or job.can_resume)
        self.start.setEnabled(not reason)
        self.start.setToolTip(reason or "Search in the background; what a scan has found is not measured again")
        self.cancel.setVisible(active)
        self.cancel.setToolTip("Stop; what the scan has found stays")
        self._bar.setVisible(job is not None and job.is_running)
        self._bar.show_progress(job.progress if job is not None else None)
        self._held.setText(_held_text(project))
        timed = self._wish().kind == LATENCY
        self.channels.setEnabled(not timed)
        self.channels.setToolTip(_TIMED if timed else "Narrower layers, where that is found to cost less than the rest")
        why = () if searches.outcome is None else reasons(searches.outcome, searches.target)
        self._reasons.setText(" ".join(why))
        self._reasons.setVisible(bool(why))
        if job is not None:
            self._say(_done(self._session) if job.state is JobState.DONE else job_text(job), _tone(job))
        elif reason:
            self._say(reason, "")

    def _say(self, text: str, tone: str) -> None:
        self._state.setText(text)
        set_tone(self._state, tone)


def _held_text(project: Project | None) -> str:
    """How many layers a search leaves alone."""
    if project is None:
        return ""
    layers = project.info.layers
    kept = {name for name, chosen in project.recipe.settings_of(layers).items() if chosen.keep}
    held = len(kept | project.recipe.locked(layers))
    if not held:
        return "No layer is locked: the search decides about all of them."
    return "1 layer is locked or kept." if held == 1 else f"{held} layers are locked or kept and stay as they are."


def told(points: Sequence[FrontierPoint], best: FrontierPoint | None) -> list[FrontierPoint]:
    """The points without those that were tried for the same share and came out no better than another."""
    tried = defaultdict[str, list[FrontierPoint]](list)
    for point in points:
        if point.kind == "search" and point.is_measured:
            tried[point.label].append(point)
    kept = {
        min(alike, key=lambda point: (best is None or point.key != best.key, point.rank)).key
        for alike in tried.values()
    }
    return [point for point in points if point.kind != "search" or not point.is_measured or point.key in kept]


def offer_text(session: Session) -> str:
    """What a search has found, in one line."""
    return f"The search is done. {_done(session)}"


def _done(session: Session) -> str:
    outcome = session.searches.outcome
    if outcome is None:
        return "done"
    best = point_text(outcome.best, kind=_kind(session)).replace("   ", ", ")
    if outcome.late:
        return f"Longer than the target, but the quickest found: {best}."
    if outcome.uniform is None or outcome.uniform.key == outcome.best.key:
        return f"Best: {best}."
    alike = point_text(outcome.uniform, kind=_kind(session)).replace("   ", ", ")
    return f"Best: {best}. For comparison: {alike}."


def _kind(session: Session) -> str:
    """What the newest search was asked for."""
    target = session.searches.target
    return "size" if target is None else target.kind


def _tone(job: Job) -> str:
    return {JobState.DONE: "good", JobState.FAILED: "bad"}.get(job.state, "")


def _item(point: FrontierPoint, metric: str, kind: str, mark: str) -> QListWidgetItem:
    """A line of the list: those worth taking are bold and say so, what is only expected is slanted."""
    item = QListWidgetItem(f"{mark}:  {point_text(point, metric, kind)}" if mark else point_text(point, metric, kind))
    item.setData(POINT_ROLE, point)
    item.setToolTip(item.text())
    font = QFont()
    font.setItalic(not point.is_measured)
    font.setBold(bool(mark))
    item.setFont(font)
    item.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    return item
