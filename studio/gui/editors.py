"""Editors made from a field's metadata: a number is a slider and a spin box in one, a choice is a list.

All share one small contract: `set_value` shows a value and says nothing; what the user does is told by `edited`, and
by `finished` once the hand has let go.
"""

from collections.abc import Mapping
from typing import Any, cast

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, Qt, QTimer, Signal
from PySide6.QtGui import QStandardItemModel, QValidator
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QSlider,
    QToolTip,
    QWidget,
)

from studio.gui.fields import FieldSpec
from studio.gui.labels import label

#: Positions of a slider over a real-valued range.
_STEPS = 200

#: Stands for "no limit" in a spin box, which wants one.
_FAR = 1e6

#: Letters of a choice that are always in sight.
_LEAST_LETTERS = 8

#: Longest range a slider makes sense for: a pixel or two for each value.
_LONGEST_SLIDER = 8192

#: Milliseconds after which a hand that stepped a number rests.
_REST_MS = 400


class FieldEditor(QWidget):
    """Edits one field.

    Signals:
        edited: the user chose this value.
        finished: the user has let go; merged edits end here.
    """

    edited = Signal(object)
    finished = Signal()

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__()
        self.spec = spec

    def set_value(self, value: Any) -> None:
        """Shows `value` silently."""
        raise NotImplementedError

    def value(self) -> Any:
        """The shown value."""
        raise NotImplementedError


class _PlainSpinBox(QDoubleSpinBox):
    """A spin box that leaves out the zeros at the end of a fraction."""

    def textFromValue(self, value: float) -> str:
        """The value with thousands separators, as short as it can be."""
        text = f"{value:,.{self.decimals()}f}"
        return text.rstrip("0").rstrip(".") if "." in text else text

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Lets a number out of range be typed to its end: what it becomes is settled with the whole of it in sight."""
        number, valid = self._number(text)
        if valid and not self.minimum() <= number <= self.maximum():
            return QValidator.State.Intermediate, text, position
        return super().validate(text, position)

    def fixup(self, text: str) -> str:
        """The nearest number in range, with the limits in words."""
        number, valid = self._number(text)
        if not valid:
            return super().fixup(text)
        low, high = self.textFromValue(self.minimum()), self.textFromValue(self.maximum())
        QToolTip.showText(self.mapToGlobal(self.rect().bottomLeft()), f"Between {low} and {high}{self.suffix()}", self)
        return self.textFromValue(min(max(number, self.minimum()), self.maximum())) + self.suffix()

    def _number(self, text: str) -> tuple[float, bool]:
        return self.locale().toDouble(text.removesuffix(self.suffix()).strip())


class NumberEditor(FieldEditor):
    """A number by slider (where its range ends) and exact value; empty optional numbers have a switch."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._whole = spec.kind == "integer"
        self.spin = _PlainSpinBox()
        self.spin.setDecimals(0 if self._whole else 1 if spec.scale > 1 else 4)
        self.spin.setStepType(self._step_type())
        self.spin.setKeyboardTracking(False)
        self.spin.setGroupSeparatorShown(True)
        self.spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.spin.setSuffix(f" {spec.unit}" if spec.unit else "")
        self.spin.setMinimumSize(92, 26)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setMinimumWidth(56)
        self._rest = QTimer(self)  # arrows are pressed many times in a row
        self._rest.setSingleShot(True)
        self._rest.setInterval(_REST_MS)
        self.switch = QCheckBox()
        self.switch.setVisible(spec.optional)
        self.switch.setChecked(True)
        for widget, what in ((self.spin, "value"), (self.slider, "slider"), (self.switch, "on or off")):
            widget.setAccessibleName(f"{spec.title}, {what}")
            widget.setToolTip(spec.help)
            keep_wheel_for_scrolling(widget)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.switch)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.spin)
        self.set_range(spec.low if spec.low is not None else -_FAR, spec.high if spec.high is not None else _FAR)
        self.slider.valueChanged.connect(self._slid)
        self.slider.sliderReleased.connect(self.finished)
        self.spin.valueChanged.connect(self._typed)
        self.spin.editingFinished.connect(self._rest.stop)
        self.spin.editingFinished.connect(self.finished)
        self._rest.timeout.connect(self.finished)
        self.switch.toggled.connect(self._switched)

    def set_range(self, low: float, high: float) -> None:
        """Limits the value (in the field's own unit) silently."""
        spin = self.spin
        tick = 1.0 if self._whole else 10.0 ** -spin.decimals()
        with QSignalBlocker(spin), QSignalBlocker(self.slider):
            spin.setRange(
                low * self.spec.scale + tick * self.spec.above, high * self.spec.scale - tick * self.spec.below
            )
            self.slider.setVisible((high - low) * self.spec.scale <= _LONGEST_SLIDER)
            self.slider.setRange(0, max(1, round(spin.maximum() - spin.minimum())) if self._fine() else _STEPS)
            self.slider.setValue(self._position(spin.value()))

    def set_value(self, value: float | None) -> None:
        """Shows `value`; None switches an optional number off."""
        with QSignalBlocker(self.spin), QSignalBlocker(self.slider), QSignalBlocker(self.switch):
            self.switch.setChecked(value is not None)
            self.spin.setEnabled(value is not None)
            shown = self.spec.start if value is None else value
            if shown is not None:
                self.spin.setValue(shown * self.spec.scale)
                self.slider.setValue(self._position(self.spin.value()))

    def value(self) -> float | int | None:
        """The shown value in the field's own unit."""
        if not self.switch.isChecked():
            return None
        shown = self.spin.value()
        return round(shown) if self._whole else round(shown / self.spec.scale, 9)

    def _step_type(self) -> QDoubleSpinBox.StepType:
        plain = self._whole or self.spec.scale > 1
        step = QDoubleSpinBox.StepType
        return step.DefaultStepType if plain else step.AdaptiveDecimalStepType

    def _fine(self) -> bool:
        """Whether the slider stands on whole shown numbers."""
        return self._whole or self.spec.scale > 1

    def _position(self, shown: float) -> int:
        low, high = self.spin.minimum(), self.spin.maximum()
        return round((shown - low) / (high - low) * self.slider.maximum()) if high > low else 0

    def _slid(self, position: int) -> None:
        low, high = self.spin.minimum(), self.spin.maximum()
        with QSignalBlocker(self.spin):
            self.spin.setValue(low + position / self.slider.maximum() * (high - low))
        self.edited.emit(self.value())
        if not self.slider.isSliderDown():
            self.finished.emit()

    def _typed(self, shown: float) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(self._position(shown))
        self.edited.emit(self.value())
        self._rest.start()

    def _switched(self, on: bool) -> None:
        self.spin.setEnabled(on)
        self.edited.emit(self.value())
        self.finished.emit()


class ChoiceEditor(FieldEditor):
    """One of a few values."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self._reasons: dict[Any, str] = {}
        self.box = QComboBox()
        self.box.setMinimumHeight(26)
        self.box.setAccessibleName(spec.title)
        self.box.setToolTip(spec.help)
        # a long choice must not make its panel wider than the window leaves it
        self.box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.box.setMinimumContentsLength(_LEAST_LETTERS)
        keep_wheel_for_scrolling(self.box)
        for choice in spec.choices:
            self.box.addItem(f"{spec.labels.get(str(choice), choice)} {spec.unit}".strip(), choice)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box, 1)
        self.box.currentIndexChanged.connect(self._chosen)

    def set_value(self, value: Any) -> None:
        """Shows `value`."""
        with QSignalBlocker(self.box):
            self.box.setCurrentIndex(self.box.findData(value))

    def value(self) -> Any:
        """The shown choice."""
        return self.box.currentData()

    def bar(self, reasons: Mapping[Any, str]) -> None:
        """Leaves some choices out of reach, each with the reason; all others can be had."""
        if reasons == self._reasons:
            return  # settings are shown at every move of a slider
        self._reasons = dict(reasons)
        shown = self.spec.labels
        for index in range(self.box.count()):
            choice = self.box.itemData(index)
            reason = reasons.get(choice, "")
            name = f"{shown.get(str(choice), choice)} {self.spec.unit}".strip()
            self.box.setItemData(index, reason or None, Qt.ItemDataRole.ToolTipRole)
            self.box.setItemData(index, f"{name}: {reason}" if reason else name, Qt.ItemDataRole.AccessibleTextRole)
            item = cast("QStandardItemModel", self.box.model()).item(index)
            item.setEnabled(not reason)

    def _chosen(self) -> None:
        self.edited.emit(self.value())
        self.finished.emit()


class ToggleEditor(FieldEditor):
    """On or off."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self.box = QCheckBox()
        self.box.setMinimumHeight(26)
        self.box.setAccessibleName(spec.title)
        self.box.setToolTip(spec.help)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.box, 1)
        self.box.toggled.connect(self._toggled)

    def set_value(self, value: bool) -> None:
        """Shows `value`."""
        with QSignalBlocker(self.box):
            self.box.setChecked(value)

    def value(self) -> bool:
        """Whether it is on."""
        return self.box.isChecked()

    def _toggled(self, on: bool) -> None:
        self.edited.emit(on)
        self.finished.emit()


class LineEditor(FieldEditor):
    """Something written on one line; what it stands for is up to the field."""

    def __init__(self, spec: FieldSpec) -> None:
        super().__init__(spec)
        self.line = QLineEdit()
        self.line.setProperty("role", "search")
        self.line.setMinimumHeight(26)
        self.line.setAccessibleName(spec.title)
        self.line.setToolTip(spec.help)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.line, 1)
        self.line.textEdited.connect(lambda _: self.edited.emit(self.value()))
        self.line.editingFinished.connect(self.finished)


class WordsEditor(LineEditor):
    """A list of words, written with commas between them."""

    def set_value(self, value: tuple[str, ...]) -> None:
        """Shows `value`."""
        self.line.setText(", ".join(value))

    def value(self) -> tuple[str, ...]:
        """The words."""
        return tuple(word.strip() for word in self.line.text().split(",") if word.strip())


_EDITORS: Mapping[str, type[FieldEditor]] = {"choice": ChoiceEditor, "boolean": ToggleEditor, "list": WordsEditor}


def make_editor(spec: FieldSpec) -> FieldEditor:
    """The editor that fits a field."""
    return _EDITORS.get(spec.kind, NumberEditor)(spec)


def add_row(grid: QGridLayout, row: int, editor: FieldEditor) -> None:
    """Puts an editor beside its title, which is its buddy for the keyboard."""
    title = label(editor.spec.title)
    title.setToolTip(editor.spec.help)
    grid.addWidget(title, row, 0)
    grid.addWidget(editor, row, 1)


class _WheelFilter(QObject):
    """Lets the wheel pass to the scroll area as long as a control has not been clicked or tabbed into."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Swallows a wheel turn over a control without focus."""
        if event.type() is QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return False


def keep_wheel_for_scrolling(widget: QWidget) -> None:
    """Keeps a wheel turn meant for the page from changing a value by accident."""
    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    widget.installEventFilter(_WheelFilter(widget))
