"""The recovery ladder: one card a rung, the cheapest first, each a click; and which to take next."""

from collections.abc import Callable

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from studio.distillation.settings import DistillSettings
from studio.evaluation.ladder import RUNGS, Rung
from studio.evaluation.result import Measurement
from studio.gui.labels import label, set_tone
from studio.gui.text import duration_text, in_points, measurement_text, signed_change
from studio.session.ladder import RungState
from studio.session.session import Session


class RungCard(QFrame):
    """One rung: what it would do, what it brought, and a button that takes it.

    Attributes:
        take: takes the rung.
        figures: what was measured on it, or how long it would take.
        reason: why it does not apply; hidden where it does.
    """

    def __init__(self, rung: Rung) -> None:
        super().__init__()
        self.rung = rung
        self._shown: tuple[RungState, bool, str, str] | None = None
        self.setProperty("role", "card")
        self.title = label(rung.title, "heading")
        self.mark = label("", "detail")
        self.take = QPushButton("Distil" if rung.trains else "Take")
        self.take.setAccessibleName(f"{'Start' if rung.trains else 'Take'}: {rung.title}")
        first, *more = rung.what.split(". ", 1)
        what = label(f"{first}." if more else first, "detail", wrap=True)
        what.setToolTip(rung.what if more else "")
        self.figures = label("", wrap=True)
        self.figures.setAccessibleName(f"Measured: {rung.title}")
        self.reason = label("", "reason", wrap=True)
        self.reason.setAccessibleName(f"Why not: {rung.title}")
        top = QHBoxLayout()
        top.setSpacing(8)
        top.addWidget(self.title)
        top.addWidget(self.mark, 1)
        top.addWidget(self.take)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 6, 8, 8)
        layout.setSpacing(2)
        layout.addLayout(top)
        for widget in (what, self.figures, self.reason):
            layout.addWidget(widget)

    def show_state(self, state: RungState, suggested: bool, busy: str, told: str = "") -> None:
        """Shows how the rung stands.

        Args:
            state: of the rung.
            suggested: whether it is the one to take next.
            busy: why it cannot be taken just now; empty where it can.
            told: what stands above all cards and need not be said in this one again.
        """
        if self._shown == (state, suggested, busy, told):
            return
        self._shown = (state, suggested, busy, told)
        again = state.holds and not state.rung.trains
        self.mark.setText("holds now" if state.holds else "suggested" if suggested else "")
        set_tone(self.mark, "good" if suggested and not state.holds else "")
        self.take.setProperty("role", "primary" if suggested else "")
        self.take.style().unpolish(self.take)
        self.take.style().polish(self.take)
        barred = state.barred or busy or ("It holds now." if again else "")
        self.take.setEnabled(not barred)
        self.take.setToolTip(barred or "One step, which is measured and which one undo takes back")
        reason = state.barred or busy
        self.reason.setText(reason)
        self.reason.setVisible(reason not in ("", told))
        self.figures.setText(figures_text(state))
        known = state.metric is not None and state.barred != told  # the original's own figures are no rung's
        self.figures.setVisible(not state.barred or known)


def figures_text(state: RungState) -> str:
    """What was measured, what it brought and what it took; before that, how long it would take."""
    if state.metric is None or state.drop is None:
        expected = state.expected
        about = f"takes about {_seconds(expected)}" if expected is not None else "time known after the first run"
        return f"Not measured  ·  {about}"
    parts = [measurement_text(state.metric), _drop_text(state.drop)]
    if state.brought is not None:
        parts.append(f"brought {signed_change(state.metric.name, -state.brought)}")
    if state.took is not None:
        parts.append(f"took {_seconds(state.took)}")
    return "  ·  ".join(parts)


def _drop_text(drop: Measurement) -> str:
    half = f"{(drop.high - drop.low) / 2:{'.2f' if in_points(drop.name) else '.2g'}}"
    return f"{signed_change(drop.name, drop.value)} ± {half} against the original"


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else duration_text(seconds)


class LadderPanel(QScrollArea):
    """Shows the ladder of the open project; whoever shows it renews it when the session or a job changes.

    Args:
        session: whose project it is.
        training: what a distillation would be asked.
        busy: why no distillation can begin now; empty where one can.

    Signals:
        distil: the user wants to begin a distillation.

    Attributes:
        cards: by key of the rung.
        advice: what to do next, in words.
    """

    distil = Signal()

    def __init__(self, session: Session, training: Callable[[], DistillSettings], busy: Callable[[], str]) -> None:
        super().__init__()
        self._session = session
        self._training = training
        self._busy = busy
        self.advice = label("", wrap=True)
        self.advice.setAccessibleName("What to do next")
        self.cards = {rung.key: RungCard(rung) for rung in RUNGS}
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 0, 12, 0)
        layout.setSpacing(6)
        layout.addWidget(self.advice)
        for card in self.cards.values():
            layout.addWidget(card)
            card.take.clicked.connect(lambda _on=False, rung=card.rung: self._take(rung))
        layout.addStretch(1)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        session.ladder.changed.connect(self.renew)
        self.renew()

    def showEvent(self, event: QShowEvent) -> None:
        """Catches up with what happened while it was out of sight."""
        super().showEvent(event)
        self.renew()

    def renew(self) -> None:
        """Shows every rung as it stands; out of sight it waits until it is seen."""
        project = self._session.project
        if project is None or not self.isVisible():
            return
        advice = self._session.ladder.advice(project)
        self.advice.setText(f"Next: {advice.rung.title}. {advice.why}" if advice.rung else advice.why)
        for state in self._session.ladder.states(project, self._training()):
            busy = self._busy() if state.rung.trains else ""
            self.cards[state.rung.key].show_state(state, state.rung is advice.rung, busy, advice.why)

    def _take(self, rung: Rung) -> None:
        project = self._session.project
        if rung.trains:
            self.distil.emit()
        elif project is not None:
            self._session.ladder.take(project, rung)
