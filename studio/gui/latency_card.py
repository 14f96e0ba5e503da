"""The latency at the top, and the dialog that asks how to measure it."""

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QFormLayout, QSpinBox, QToolButton, QVBoxLayout, QWidget

from studio.export.latency import Latency, LatencySettings
from studio.gui.card import Card
from studio.gui.fields import field_specs
from studio.gui.labels import label, set_tone
from studio.gui.text import bytes_text, faster_text, milliseconds_text, one_unit, sentence, timing_text
from studio.recipe.rounding import runs_in_integers
from studio.recipe.settings import LayerSettings
from studio.session.project import Project
from studio.session.session import Session

#: Fields of the dialog in order, and what they are called there.
_FIELDS = {"threads": "Threads", "batch": "Batch"}

_WHY = (
    "The original and the compressed model run in turns in ONNX Runtime, in a process of their own. Random numbers "
    "stand in for samples. An edit ends the measurement."
)

_WIDENED = (
    "Slower: the integers of {count} are turned back into floats at every run. The file is smaller, the arithmetic is "
    "not. With 8-bit weights and 8-bit activations they run in integers."
)


class LatencyCard(Card):
    """Shows the latency of the session's present choice, or says that there is none."""

    def __init__(self, session: Session, measure: QAction) -> None:
        super().__init__("Latency", 150)
        self._session = session
        self.measure = QToolButton(self)
        self.measure.setAccessibleName("Measure latency")
        measure.setIconText("Measure")  # the caption beside it says what: both have to stand in the smallest window
        self.measure.setDefaultAction(measure)
        self.measure.setProperty("role", "link")
        self.measure.setCursor(Qt.CursorShape.PointingHandCursor)
        self.beside_caption(self.measure)
        session.changed.connect(self._show)
        session.latencies.changed.connect(self._show)
        self._show()

    def _show(self) -> None:
        project, latencies = self._session.project, self._session.latencies
        if project is None:
            return
        found, settings = latencies.current(project), self._session.preferences.latency
        self.show_progress(latencies.measuring, latencies.progress)
        shown, slower = found or latencies.previous, "" if found is None else why_slower(found, project)
        lack = project.info.lacks.get("time", "")
        self.value.setText(_value(shown) if shown is not None else "not possible" if lack else "not measured")
        if lack:
            self.detail.setText(sentence(lack), short="Point here to see why")
        elif latencies.measuring:
            self.detail.setText("measuring …")
        elif latencies.failure:
            self.detail.setText(latencies.failure)
        elif found is not None:
            faster = faster_text(found.faster)
            conditions = "point here to see why" if slower else _conditions(found)
            self.detail.setText(f"{faster}  ·  {conditions}", short=f"{faster}: why?" if slower else faster)
        else:
            self.detail.setText("before this edit" if shown is not None else _setting(settings))
        set_tone(self.value, "" if found is not None else "stale")
        set_tone(self.detail, "bad" if latencies.failure else "")
        self.setToolTip(f"{slower}\n\n{latency_help(shown)}".lstrip() if shown is not None else "")


class LatencyDialog(QDialog):
    """Asks for threads and batch; opened without blocking.

    Args:
        settings: what holds now.
        chosen: receives what is chosen.
        parent: the window.
    """

    def __init__(
        self, settings: LatencySettings, chosen: Callable[[LatencySettings], object], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Measure latency")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setMinimumWidth(380)
        self._settings, self._chosen = settings, chosen
        self.fields = {name: _spin(name, title, getattr(settings, name)) for name, title in _FIELDS.items()}
        form = QFormLayout()
        for name, title in _FIELDS.items():
            form.addRow(title, self.fields[name])
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Ok | QDialogButtonBox.StandardButton.Cancel)
        buttons.button(QDialogButtonBox.StandardButton.Ok).setText("Measure")
        buttons.accepted.connect(self.accept)
        buttons.rejected.connect(self.reject)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(24, 20, 24, 16)
        layout.setSpacing(12)
        layout.addWidget(label(_WHY, "detail", wrap=True))
        layout.addLayout(form)
        layout.addWidget(buttons)

    def accept(self) -> None:
        """Hands the choice on."""
        super().accept()
        self._chosen(self._settings.model_copy(update={name: box.value() for name, box in self.fields.items()}))


def why_slower(found: Latency, project: Project) -> str:
    """Why a smaller model takes longer than the original, and what helps; empty where it does not, or nobody knows."""
    if found.faster.high >= 1:
        return ""
    widened = sum(_is_widened(settings) for settings in project.chosen.values())
    return _WIDENED.format(count=f"{widened} layer{'s' if widened > 1 else ''}") if widened else ""


def _is_widened(settings: LayerSettings) -> bool:
    """Whether a layer is stored in integers and computes in floats."""
    chosen = settings.quantize
    in_integers = chosen is not None and chosen.weight_bits < 16 and chosen.product == "portable"
    return in_integers and not runs_in_integers(settings)


def latency_help(found: Latency) -> str:
    """A latency in full."""
    faster = found.faster
    held = (found.memory, found.original_memory)
    memory = [f"In memory {bytes_text(held[0])}, original {bytes_text(held[1])}"] if held[0] and held[1] else []
    return "\n".join(
        [
            f"Now {timing_text(found.now)}",
            f"Original {timing_text(found.original)}",
            f"{faster.value:.2f} times as fast ({faster.low:.2f} … {faster.high:.2f}), 95 % intervals of medians",
            *memory,
            f"{found.runtime}, {_conditions(found)}",
        ]
    )


def _value(found: Latency) -> str:
    before, after = milliseconds_text(found.original.ms), milliseconds_text(found.now.ms)
    if found.now == found.original:
        return after
    return one_unit(before, after)


def _conditions(found: Latency) -> str:
    return f"{found.threads} thread{'s' if found.threads > 1 else ''}, batch {found.batch}"


def _setting(settings: LatencySettings) -> str:
    return f"{settings.threads} thread{'s' if settings.threads > 1 else ''}, batch {settings.batch}"


def _spin(name: str, title: str, value: int) -> QSpinBox:
    spec = field_specs(LatencySettings)[name]
    box = QSpinBox()
    box.setRange(int(spec.low or 0), int(spec.high or 0))
    box.setValue(value)
    box.setAccessibleName(title)
    box.setToolTip(spec.help)
    return box
