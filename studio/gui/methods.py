"""The bodies of the settings panel: one small form for each method, made from its settings class."""

from collections.abc import Iterable
from typing import Any

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QComboBox, QGridLayout, QLabel, QWidget

from studio.gui.editors import ChoiceEditor, FieldEditor, NumberEditor, keep_wheel_for_scrolling, make_editor
from studio.gui.fields import field_specs
from studio.gui.labels import label
from studio.gui.text import sentence
from studio.models.layer import Layer
from studio.recipe.factorization import has_form
from studio.recipe.graph_form import refusal
from studio.recipe.settings import (
    PATTERN_FIELDS,
    ChannelSettings,
    PruneSettings,
    QuantizeSettings,
    RankSettings,
    Settings,
)


class MethodForm(QWidget):
    """Edits the settings of one method.

    Signals:
        edited: the user chose these settings.
        finished: the user has let go.
    """

    edited = Signal(object)
    finished = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.grid = QGridLayout(self)
        self.grid.setContentsMargins(0, 0, 0, 0)
        self.grid.setHorizontalSpacing(8)
        self.grid.setVerticalSpacing(6)
        self.grid.setColumnStretch(1, 1)
        self._titles: dict[str, QLabel] = {}

    def show_settings(self, settings: Any, layers: list[Layer]) -> None:
        """Shows `settings` of `layers` silently; None shows what switching the method on would choose."""
        raise NotImplementedError

    def start(self, layers: list[Layer]) -> Settings:
        """What switching the method on chooses."""
        raise NotImplementedError

    def add(self, editor: FieldEditor) -> None:
        """Appends a row: a title and its editor."""
        row = self.grid.rowCount()
        title = label(editor.spec.title)
        title.setToolTip(editor.spec.help)
        title.setMinimumWidth(82)
        self._titles[editor.spec.name] = title
        self.grid.addWidget(title, row, 0)
        self.grid.addWidget(editor, row, 1)
        editor.finished.connect(self.finished)

    def show_row(self, editor: FieldEditor, visible: bool) -> None:
        """Shows or hides a row."""
        self._titles[editor.spec.name].setVisible(visible)
        editor.setVisible(visible)


class ChannelForm(MethodForm):
    """How many channels go, how they are chosen, and which layers lose them together."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = self.start([])
        self.editors = {name: make_editor(spec) for name, spec in field_specs(ChannelSettings).items()}
        for name, editor in self.editors.items():
            self.add(editor)
            editor.edited.connect(lambda value, name=name: self._edit(name, value))

    def show_settings(self, settings: ChannelSettings | None, layers: list[Layer]) -> None:
        """Shows every field."""
        self._settings = settings or self.start(layers)
        for name, editor in self.editors.items():
            editor.set_value(getattr(self._settings, name))

    def start(self, _layers: list[Layer]) -> ChannelSettings:
        """A quarter of the channels."""
        return ChannelSettings(ratio=0.25)

    def _edit(self, name: str, value: Any) -> None:
        self.edited.emit(self._settings.model_copy(update={name: value}))


class PruneForm(MethodForm):
    """Where the zeros are, and the share or pattern of them."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = self.start([])
        self.editors = {name: make_editor(spec) for name, spec in field_specs(PruneSettings).items()}
        for name, editor in self.editors.items():
            self.add(editor)
            editor.edited.connect(lambda value, name=name: self._edit(name, value))

    def show_settings(self, settings: PruneSettings | None, layers: list[Layer]) -> None:
        """Shows the fields that go with the pattern, and the pattern itself where there is a choice."""
        self._settings = settings or self.start(layers)
        kind = ("kind",) if any(layer.allows("n_m") for layer in layers) else ()
        for name, editor in self.editors.items():
            editor.set_value(getattr(self._settings, name))
            self.show_row(editor, name in (*kind, *PATTERN_FIELDS[self._settings.kind]))

    def start(self, _layers: list[Layer]) -> PruneSettings:
        """Half of the weights, wherever they are."""
        return PruneSettings(ratio=0.5)

    def _edit(self, name: str, value: Any) -> None:
        """Emits the settings with one field changed; of `n` and `m` the other one gives way."""
        chosen = {field: getattr(self._settings, field) for field in PruneSettings.model_fields} | {name: value}
        if chosen["n"] >= chosen["m"]:
            chosen |= {"n": value, "m": value + 1} if name == "n" else {"n": value - 1, "m": value}
        kind = chosen["kind"]
        self.edited.emit(PruneSettings(kind=kind, **{field: chosen[field] for field in PATTERN_FIELDS[kind]}))


class RankForm(MethodForm):
    """How thin the factors are, as a number, by the energy or the share of weights they keep, and their form."""

    def __init__(self) -> None:
        super().__init__()
        specs = field_specs(RankSettings)
        self._settings = RankSettings(energy=0.9)
        self.by = QComboBox()
        self.by.setMinimumHeight(26)
        self.by.setAccessibleName("How the rank is chosen")
        self.by.setToolTip("Choose the rank itself, the energy it has to keep or the share of weights that stay")
        keep_wheel_for_scrolling(self.by)
        self.sizes = {name: NumberEditor(specs[name]) for name in ("rank", "energy", "parameters")}
        self.form = make_editor(specs["form"])
        row = self.grid.rowCount()
        self.grid.addWidget(label("Choose by"), row, 0)
        self.grid.addWidget(self.by, row, 1)
        for (name, editor), text in zip(self.sizes.items(), ("a number", "energy kept", "weights kept"), strict=True):
            self.by.addItem(text, name)
            editor.switch.hide()
            self.add(editor)
            editor.edited.connect(lambda value, name=name: self._choose(name, value))
        self.add(self.form)
        self.by.currentIndexChanged.connect(self._choose_by)
        self.form.edited.connect(lambda form: self.edited.emit(self._settings.model_copy(update={"form": form})))

    def show_settings(self, settings: RankSettings | None, layers: list[Layer]) -> None:
        """Shows the chosen number within what every layer can take; the form where there are kernels."""
        self.sizes["rank"].set_range(1, min((layer.full_rank for layer in layers), default=1))
        self._settings = shown = settings or self.start(layers)
        starts = {"rank": _half_of_break_even(layers), "energy": 0.9, "parameters": 0.5}
        for name, editor in self.sizes.items():
            chosen = getattr(shown, name)
            editor.set_value(starts[name] if chosen is None else chosen)
            if chosen is not None:
                with QSignalBlocker(self.by):
                    self.by.setCurrentIndex(self.by.findData(name))
        self.form.set_value(shown.form)
        self._show_rows()
        self.show_row(self.form, any(has_form(layer.shape, "tucker") for layer in layers))

    def start(self, layers: list[Layer]) -> RankSettings:
        """For one layer the rank that halves it, for several 90 % of the energy."""
        return RankSettings(rank=_half_of_break_even(layers)) if len(layers) == 1 else RankSettings(energy=0.9)

    def _choose(self, name: str, value: Any) -> None:
        self.edited.emit(RankSettings.model_validate({name: value, "form": self._settings.form}))

    def _choose_by(self) -> None:
        self._show_rows()
        name = self.by.currentData()
        self._choose(name, self.sizes[name].value())
        self.finished.emit()

    def _show_rows(self) -> None:
        for name, editor in self.sizes.items():
            self.show_row(editor, self.by.currentData() == name)


class QuantizeForm(MethodForm):
    """Bits and what shares a scale."""

    def __init__(self) -> None:
        super().__init__()
        self._settings = QuantizeSettings()
        self.editors = {name: make_editor(spec) for name, spec in field_specs(QuantizeSettings).items()}
        for name, editor in self.editors.items():
            self.add(editor)
            editor.edited.connect(lambda value, name=name: self._edit(name, value))

    def show_settings(self, settings: QuantizeSettings | None, layers: list[Layer]) -> None:
        """Shows the fields that go with the bits; the group's size only where there are groups."""
        self._settings = shown = settings or self.start(layers)
        for name, editor in self.editors.items():
            editor.set_value(getattr(shown, name))
        self.show_row(self.editors["float_format"], shown.weight_bits == 16)
        for name in ("granularity", "symmetric"):
            self.show_row(self.editors[name], shown.weight_bits < 16)
        self.show_row(self.editors["group_size"], shown.grouped)
        linear = any(len(layer.shape) == 2 for layer in layers)
        self.show_row(self.editors["product"], linear and shown.grouped)
        self.show_row(self.editors["activation_range"], shown.activation_bits is not None)
        self.editors["activation_bits"].setEnabled(any(layer.allows("activations") for layer in layers))
        for name, editor in self.editors.items():
            if name in ("product", "float_format") and isinstance(editor, ChoiceEditor):
                editor.bar(_barred(name, editor.spec.choices, shown, layers))

    def start(self, _layers: list[Layer]) -> QuantizeSettings:
        """Eight bits, a scale for every output channel."""
        return QuantizeSettings()

    def _edit(self, name: str, value: Any) -> None:
        self.edited.emit(QuantizeSettings(**{**self._settings.model_dump(), name: value}))


def _barred(name: str, choices: Iterable[Any], shown: QuantizeSettings, layers: list[Layer]) -> dict[Any, str]:
    """Why some choices of a field cannot be had: graphs that are written as they were do not hold every form."""
    held = [layer for layer in layers if layer.held is not None]
    if not held:
        return {}
    reasons = dict[Any, str]()
    for choice in choices:
        chosen = shown.model_copy(update={name: choice})
        found = (refusal(one.held, one.shape, one.dtype or "F32", chosen) for one in held if one.held is not None)
        reason = next(filter(None, found), "")
        if reason:
            reasons[choice] = sentence(reason)
    return reasons


def _half_of_break_even(layers: list[Layer]) -> int:
    """The rank at which two factors hold half of the smallest layer's weights."""
    return max(1, int(min((layer.break_even_rank for layer in layers), default=2) / 2))
