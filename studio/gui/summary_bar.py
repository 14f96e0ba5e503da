"""The numbers at the top, original against current: size, measured accuracy and latency, and what is going on."""

from PySide6.QtGui import QAction
from PySide6.QtWidgets import QGridLayout, QHBoxLayout, QSizePolicy, QToolButton, QWidget

from studio.evaluation.prediction import Prediction
from studio.evaluation.result import WEIGHT_ERROR, Result
from studio.gui.card import Card
from studio.gui.labels import set_tone
from studio.gui.latency_card import LatencyCard
from studio.gui.text import (
    bytes_text,
    change_of_value,
    count_text,
    drop_text,
    measurement_text,
    metric_name,
    metric_value,
    predicted_text,
    ratio_text,
    saved_text,
    short_count,
    two_sizes,
)
from studio.session.preview import PreviewState
from studio.session.session import Session

#: Layers that a tooltip names.
_NAMED = 5

#: What is said of a value that is not measured yet.
_WAITING = {PreviewState.MEASURING: "measuring …", PreviewState.HELD: PreviewState.HELD.value}

#: What a caption does without where it is too long.
_WITH_ORIGINAL = " with the original"

_FITS = {"layer": "layer fit", "sequential": "sequential fit"}


class SummaryBar(QWidget):
    """Shows a session's cost and preview.

    Args:
        session: whose numbers are shown.
        measure_latency: the command that is offered beside the latency.
        actions: commands offered as buttons on the right; the last one is the goal of it all.
    """

    def __init__(self, session: Session, measure_latency: QAction, actions: list[QAction]) -> None:
        super().__init__()
        self._session = session
        self.size_card = Card("Size", 190)
        self.accuracy = Card("Accuracy", 262)
        self.latency = LatencyCard(session, measure_latency)
        self.operations = Card("Operations", 118)
        self._lay_out(actions)
        session.changed.connect(self._show)
        session.preview.changed.connect(self._show)
        self._show()

    def _lay_out(self, actions: list[QAction]) -> None:
        layout = QHBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 4)
        layout.setSpacing(8)
        layout.addWidget(self.size_card, 3)
        layout.addWidget(self.accuracy, 4)
        layout.addWidget(self.latency, 3)
        layout.addWidget(self.operations, 2)
        buttons = QGridLayout()  # two rows: the numbers need the width
        buttons.setSpacing(4)
        for number, action in enumerate(actions):
            button = _button(action, "primary" if action is actions[-1] else "button")
            buttons.addWidget(button, *divmod(number, (len(actions) + 1) // 2))
        layout.addLayout(buttons)

    def _show(self) -> None:
        if self._session.project is None:
            return
        self._show_cost()
        self._show_accuracy()

    def _show_cost(self) -> None:
        project, cost = self._session.project, self._session.cost
        if project is None or cost is None:
            return
        before = project.export_size or project.info.bytes
        changed = before != cost.bytes
        self.size_card.value.setText(two_sizes(before, cost.bytes) if changed else bytes_text(before))
        self.size_card.detail.setText(
            f"{ratio_text(before, cost.bytes)}  ·  {saved_text(before, cost.bytes)}" if changed else "as the original"
        )
        fewer = cost.macs != project.info.macs
        counts = project.info.counts_macs
        self.operations.value.setText(short_count(cost.macs) if counts else "–")
        plain = "MACs / sample" if counts else "not known"
        self.operations.detail.setText(f"of {short_count(project.info.macs)} MACs" if fewer else plain)

    def _show_accuracy(self) -> None:
        project, preview, card = self._session.project, self._session.preview, self.accuracy
        result, status = preview.result, preview.status
        edited = project is not None and bool(project.changed_layers() or project.weights)
        measuring = status.state is PreviewState.MEASURING
        fit = _fit(result, measuring) if edited and result is not None else ""
        caption = _caption(result or preview.previous)
        card.caption.setText("  ·  ".join(filter(None, (caption, fit))), short=caption.replace(_WITH_ORIGINAL, ""))
        expected = self._session.predictions.of(project) if project is not None and result is None else None
        if expected is not None and not expected.layers:
            expected = None  # the scan tells nothing of what was changed: no change is no prediction
        card.setToolTip(prediction_help(expected) if expected is not None else "")
        card.show_progress(measuring, status.progress)
        if status.state is PreviewState.FAILED:
            card.value.setText("not measured")
            card.detail.setText(status.message)
        elif result is None and expected is not None and preview.previous is not None:
            card.value.setText(_predicted_value(expected, preview.previous))
            beside = f", {len(expected.unknown)} not scanned" if expected.unknown else ""
            found = predicted_text(expected.metric, expected.whole)
            card.detail.setText(f"predicted: {found}{beside}  ·  {_WAITING.get(status.state, 'measuring …')}")
        elif result is None and status.state in _WAITING and preview.previous is not None:
            card.value.setText(_value(preview.previous, changed=True))
            card.detail.setText(f"before this edit  ·  {_WAITING[status.state]}")
        elif result is None:
            card.value.setText("…" if measuring else "–")
            card.detail.setText(status.message or ("measuring" if measuring else status.state.value))
        else:
            card.value.setText(_value(result, edited))
            card.detail.setText(_detail(result, edited, measuring))
        failed = status.state is PreviewState.FAILED
        set_tone(card.value, "" if result is not None else "predicted" if expected and not failed else "stale")
        set_tone(card.detail, "bad" if failed else "")


def prediction_help(expected: Prediction) -> str:
    """Where a prediction comes from, and what it leaves out."""
    lines = ["A prediction, not a measurement: the scan's drops of each layer alone, added up."]
    if expected.unknown:
        lines.append("The scan tells nothing of " + ", ".join(expected.unknown[:_NAMED]))
        lines[-1] += f" and {len(expected.unknown) - _NAMED} more." if len(expected.unknown) > _NAMED else "."
    return "\n".join(lines)


def _predicted_value(expected: Prediction, before: Result) -> str:
    """The original's value, and what is expected now."""
    original = before.original or before.metric
    now = original.value + change_of_value(original.name, expected.whole.drop)
    return f"{metric_value(original.name, original.value)} → ≈ {metric_value(original.name, now)}"


def _caption(result: Result | None) -> str:
    if result is None:
        return "Accuracy"
    unlabelled = not result.labelled and result.metric.name != WEIGHT_ERROR
    return metric_name(result.metric.name) + (" (no labels)" if unlabelled else "")


def _fit(result: Result, measuring: bool) -> str:
    """Which fit was measured; no more while its first samples are."""
    if result.metric.name == WEIGHT_ERROR:
        return ""
    return _FITS[result.fit] + (", refining …" if measuring and result.finished else "")


def _value(result: Result, changed: bool) -> str:
    if result.original is None or not changed:
        return measurement_text(result.metric)
    before, after = (metric_value(found.name, found.value) for found in (result.original, result.metric))
    return f"{before} → {after}"


def _detail(result: Result, changed: bool, measuring: bool) -> str:
    if result.metric.name == WEIGHT_ERROR:
        ratio = f"SQNR {result.sqnr_db:.1f} dB  ·  " if result.sqnr_db is not None and changed else ""
        return f"{ratio}of weights, not accuracy"
    parts = []
    if result.drop is not None and changed:
        parts.append(drop_text(result.drop))
    if not result.labelled and result.sqnr_db is not None and result.sqnr_db < float("inf"):
        parts.append(f"output SQNR {result.sqnr_db:.1f} dB")
    samples = count_text(result.metric.samples)
    if measuring and not result.finished:
        parts.append(f"{samples} of {count_text(result.total)} …")
    else:
        parts.append(f"{samples} samples")
    return "  ·  ".join(parts)


def _button(action: QAction, role: str) -> QToolButton:
    """A labelled button for a command; its tooltip carries the shortcut and, when disabled, the reason."""
    button = QToolButton()
    button.setDefaultAction(action)
    button.setProperty("role", role)
    button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    button.setMinimumHeight(30)
    return button
