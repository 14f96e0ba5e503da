"""How long the window's event loop keeps an event waiting, idle and while a scan or a distillation runs.

    python tests/benchmarks/window.py [SECONDS]

A timer of 2 ms in the real window (offscreen, engine in its own process, digits sample) measures how late it comes,
while a script drags a slider, scrolls, selects rows and switches pages. Then a slider is dragged for five seconds,
twice: the last value must be the one that is measured, nothing may wait in the engine, and memory must not grow. At
last the steps a second of a distillation are counted, with and without hands. Goals: p99 of 16 ms, a frame; beside a
distillation at most 50 ms, and 90 % of its steps.
Figures are printed and never asserted; whatever else the machine does is in them.
"""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PySide6.QtCore import QEventLoop, Qt, QTimer
from PySide6.QtWidgets import QSlider
from rich.console import Console
from rich.table import Table

from studio.distillation.settings import DistillSettings, TrainingPoint
from studio.engine.process import ProcessEngine
from studio.gui.app import MainThread, application
from studio.gui.garbage import collect_at_rest
from studio.gui.main_window import MainWindow
from studio.gui.theme import Scheme, Theme
from studio.resources import samples
from studio.session.jobs import Job
from studio.session.session import Session

TICK_MS = 2
MOVE_MS = 16
PATIENCE_S = 120
LONG = DistillSettings(epochs=1000)


class Script:
    """The hand at the window.

    Args:
        window: it works on.
    """

    def __init__(self, window: MainWindow) -> None:
        self._window = window
        self._steps = count()
        self._rows = window.layers.filter.rowCount()
        section = window.settings.sections["prune"]
        self._switch = section.switch
        slider = section.form.findChild(QSlider)  # the first one: n and m have theirs below the ratio
        assert isinstance(slider, QSlider)
        self.slider = slider

    def move(self) -> None:
        """The next of its moves, one at a frame, as by hand: the slider, now and then the wheel, a row or a page."""
        step = next(self._steps)
        if step % 40 == 20:
            self.slider.setSliderDown(False)
            self._window.layers.view.selectRow(step // 40 % self._rows)
        elif step % 60 == 30:
            self._window.tabs.setCurrentIndex(1 + step // 60 % 3)  # the graph is a browser's business
        elif not self.is_ready():
            self.make_ready()
        elif step % 20 >= 15:
            self.scroll(step)
        else:
            self.drag(step)

    def scroll(self, step: int) -> None:
        """Turns the wheel over the table of layers, five times in a row, and back the next time."""
        bar = self._window.layers.view.verticalScrollBar()
        bar.setValue(bar.value() + (bar.singleStep() if step // 20 % 2 else -bar.singleStep()))

    def is_ready(self) -> bool:
        """Whether the layer is pruned, so that there is a slider."""
        return self._switch.isChecked()

    def make_ready(self) -> None:
        """Prunes the layer."""
        self._switch.setChecked(True)

    def drag(self, step: int) -> None:
        """Moves the slider, which is pressed at the first move."""
        self.slider.setSliderDown(True)
        self.slider.setValue(_zigzag(step, self.slider))


def _zigzag(step: int, slider: QSlider) -> int:
    """Up and down between a tenth and nine tenths."""
    low, high = slider.maximum() // 10, 9 * slider.maximum() // 10
    way = step % (2 * (high - low))
    return low + min(way, 2 * (high - low) - way)


def spend(seconds: float, going: Callable[[], bool] = lambda: True) -> None:
    """Lets the window work, no longer than `going`."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    with every(100, lambda: None if going() else loop.quit()):
        loop.exec()


def wait(done: Callable[[], bool]) -> float:
    """Lets the window work until `done`; the seconds that took."""
    began = time.perf_counter()
    while not done():
        if time.perf_counter() - began > PATIENCE_S:
            raise SystemExit("It did not happen in time.")
        spend(0.005)
    return time.perf_counter() - began


@contextmanager
def every(milliseconds: int, action: Callable[[], None]) -> Iterator[None]:
    """Has `action` done again and again meanwhile."""
    timer = QTimer()
    timer.setTimerType(Qt.TimerType.PreciseTimer)
    timer.timeout.connect(action)
    timer.start(milliseconds)
    yield
    timer.stop()


def delays(seconds: float, action: Callable[[], None], going: Callable[[], bool] = lambda: True) -> list[float]:
    """Milliseconds that the timer came late, while `action` is done at every frame; no longer than `going`."""
    late, last = [], time.perf_counter()

    def tick() -> None:
        nonlocal last
        now = time.perf_counter()
        late.append(max(0.0, 1000 * (now - last) - TICK_MS))
        last = now

    with every(TICK_MS, tick), every(MOVE_MS, action):
        spend(seconds, going)
    return late


def resident() -> tuple[float, float]:
    """MB of this process and of its children."""
    own = os.getpid()
    children = Path(f"/proc/{own}/task/{own}/children").read_text().split()
    pages = [int(Path(f"/proc/{process}/statm").read_text().split()[1]) for process in (own, *children)]
    sizes = [page * os.sysconf("SC_PAGE_SIZE") / 1e6 for page in pages]
    return sizes[0], sum(sizes[1:])


def smoothness(session: Session, window: MainWindow, seconds: float) -> Table:
    """Delays with and without jobs."""
    table = Table("meanwhile", title="Delay of the event loop, ms")
    for heading in ("seconds", "events", "p50", "p99", "max"):
        table.add_column(heading, justify="right")

    def add(title: str, action: Callable[[], None], going: Callable[[], bool] = lambda: True) -> None:
        began = time.perf_counter()
        late = delays(seconds, action, going)
        figures = (time.perf_counter() - began, len(late), *np.percentile(late, (50, 99)), max(late))
        table.add_row(
            title, *(f"{figure:{form}}" for figure, form in zip(figures, (".0f", "d", *3 * (".1f",)), strict=True))
        )

    script = Script(window)
    add("nothing, hands off", lambda: None)
    add("nothing, hands on", script.move)
    script.slider.setSliderDown(False)
    for title, start in (
        ("layer scan, hands on", session.scan),
        ("distillation, hands on", lambda: session.distill(LONG)),
    ):
        job = begun(start)
        add(title, script.move, running(job))
        script.slider.setSliderDown(False)
        ended(session, job)
    return table


def begun(start: Callable[[], Job]) -> Job:
    """A job that has told of its first progress."""
    job = start()
    wait(lambda: job.progress is not None or not job.is_running)
    return job


def running(job: Job) -> Callable[[], bool]:
    """Whether a job still runs, to ask again and again."""
    return lambda: job.is_running


def ended(session: Session, job: Job) -> None:
    """Stops a job that still runs."""
    if job.is_running:
        session.jobs.cancel(job)
    wait(lambda: not job.is_running)


def newer(job: Job, point: TrainingPoint) -> Callable[[], bool]:
    """Whether a job has told of another point since."""
    return lambda: job.points[-1] is not point


def training(session: Session, window: MainWindow, seconds: float) -> Table:
    """Steps a second of a distillation, while nobody touches the window and while somebody does, in turns."""
    script, job = Script(window), begun(lambda: session.distill(LONG))
    wait(lambda: bool(job.points))
    rates: dict[str, list[float]] = {"hands off": [], "hands on": []}
    for _ in range(3):
        for title, action in (("hands off", lambda: None), ("hands on", script.move)):
            wait(lambda: is_measured(session))
            first = job.points[-1]
            delays(seconds / 3, action)
            wait(newer(job, first))
            last = job.points[-1]
            rates[title].append((last.step - first.step) / (last.seconds - first.seconds))
            script.slider.setSliderDown(False)
    ended(session, job)
    table = Table("", *rates, "share", title="Training steps a second, three rounds and their medians")
    medians = [float(np.median(found)) for found in rates.values()]
    table.add_row("rounds", *(", ".join(f"{rate:.1f}" for rate in found) for found in rates.values()), "")
    table.add_row("median", *(f"{rate:.1f}" for rate in medians), f"{medians[1] / medians[0]:.0%}")
    return table


def dragging(session: Session, window: MainWindow) -> Table:
    """What five seconds of dragging leave behind; the first time caches fill."""
    table = Table("", "first drag", "second drag", title="A slider dragged for five seconds and let go")
    script, project, columns = Script(window), session.project, []
    assert project is not None
    window.tabs.setCurrentWidget(window.layer)
    script.make_ready()
    steps = count()
    for _ in range(2):
        before, first = resident(), next(steps)
        late = delays(5, lambda: script.drag(next(steps)))
        script.slider.setSliderDown(False)
        chosen, last = project.recipe, script.slider.value()
        answer = answered(session, window)
        settled = wait(lambda: is_measured(session))
        measured, after = value(session), resident()
        script.slider.setValue(last // 2)
        wait(lambda: is_measured(session))
        script.slider.setValue(last)
        single = wait(lambda: is_measured(session))
        same = (project.recipe, value(session)) == (chosen, measured)
        columns.append(
            (
                str(next(steps) - first),
                f"{np.percentile(late, 99):.1f} ms",
                f"{1000 * answer:.0f} ms",
                f"{settled:.2f} s ({single:.2f} s)",
                "yes" if same else "NO",
                *(f"{now - then:+.1f} MB" for then, now in zip(before, after, strict=True)),
            )
        )
    headings = (
        "moves",
        "p99 of the delay",
        "engine answers after",
        "measured after (after one edit)",
        "it is the last value",
        "memory of the window",
        "memory of the engines",
    )
    for heading, *values in zip(headings, *columns, strict=True):
        table.add_row(heading, *values)
    return table


def answered(session: Session, window: MainWindow) -> float:
    """Seconds until the engine has drawn a histogram."""
    seen: list[object] = []
    session.weights_viewed.connect(lambda _name, view: seen.append(view))
    session.view_weights(str(window.selection.current))
    return wait(lambda: bool(seen))


def value(session: Session) -> tuple[object, ...]:
    """What the preview shows, fine enough to tell neighbouring values of the slider apart."""
    result = session.preview.result
    return (result.metric, result.drop, result.sqnr_db) if result is not None else ()


def is_measured(session: Session) -> bool:
    """Whether the fit that an export writes has been measured."""
    project, result = session.project, session.preview.result
    return (
        project is not None
        and result is not None
        and result.finished
        and result.fit == project.recipe.options.fit
        and session.preview.status.state.name == "MEASURED"
    )


def main() -> None:
    """Prints the tables."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 20
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    qt, main_thread = application(), MainThread()
    with TemporaryDirectory() as folder:
        session = Session(ProcessEngine, Path(folder), main_thread.dispatch)
        window = MainWindow(session, Theme(qt, Scheme.LIGHT), list(samples().values()))
        collect_at_rest(session)
        window.show()
        try:
            session.open_sample(samples()["digits"])
            wait(lambda: session.preview.result is not None and session.preview.result.finished)
            Console().print(smoothness(session, window, seconds))
            Console().print(dragging(session, window))
            Console().print(training(session, window, seconds))
        finally:
            window.close()


if __name__ == "__main__":
    main()
