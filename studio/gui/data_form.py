"""The fields of a data description, each with an editor; only those are shown that mean something for the data."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QScrollArea, QWidget

from studio.evaluation.description import NO_LABEL, DataDescription
from studio.evaluation.metric_kinds import METRIC_KINDS
from studio.gui.editors import ChoiceEditor, FieldEditor, LineEditor, make_editor
from studio.gui.fields import FieldSpec, field_specs
from studio.gui.labels import label

_NORMALISING = ("scale", "mean", "std")

#: The fields that mean something, by what the source is.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "folder": ("label", "classes", "colour", "fit", "resize", "crop", *_NORMALISING, "metric"),
    "image": ("kind", "input", "label", "layout", *_NORMALISING, "metric"),
    "tensor": ("kind", "input", "label", *_NORMALISING, "metric"),
    "tokens": ("kind", "input", "label", "metric"),
    "table": ("input", "label", "classes", *_NORMALISING, "metric"),
    "text": ("tokenizer", "vocabulary", "length", "metric"),
    "texts": ("input", "label", "classes", "tokenizer", "vocabulary", "length", "metric"),
}

_ARRAYS = (".npz", ".npy", ".safetensors")
_TABLES = (".csv", ".tsv", ".parquet")


class ValuesEditor(LineEditor):
    """Words and numbers with commas between them, outputs behind their names."""

    def set_value(self, value: Any) -> None:
        """Shows `value`: words and numbers with commas between them, outputs behind their names."""
        if isinstance(value, Mapping):
            text = ", ".join(f"{name}: {place}" for name, place in value.items())
        elif isinstance(value, (list, tuple)):
            text = ", ".join(f"{part:g}" if isinstance(part, float) else str(part) for part in value)
        else:
            text = "" if value is None else str(value)
        self.line.setText(text)
        self.line.setCursorPosition(0)

    def value(self) -> Any:
        """What is written, None for nothing."""
        text = self.line.text()
        if self.spec.name in ("label", "tokenizer", "vocabulary"):
            return text or None
        words = [word.strip() for word in text.split(",") if word.strip()]
        if self.spec.name == "classes" and words and all(":" in word for word in words):
            pairs = (word.rpartition(":") for word in words)
            return {name.strip(): int(place) if place.strip().isdigit() else place for name, _, place in pairs}
        return words or None


class DataForm(QScrollArea):
    """Editors of one description.

    Signals:
        edited: the user changed a field.

    Attributes:
        editors: by name of the field.
    """

    edited = Signal()

    def __init__(self, free_size: bool) -> None:
        super().__init__()
        self._free_size = free_size
        self._described: DataDescription | None = None
        self.editors = {name: _editor(spec) for name, spec in field_specs(DataDescription).items() if name in _SHOWN}
        self._titles: dict[str, QLabel] = {}
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 12, 0)
        grid.setColumnStretch(1, 1)
        for row, (name, editor) in enumerate(self.editors.items()):
            self._titles[name] = label(editor.spec.title)
            self._titles[name].setToolTip(editor.spec.help)
            grid.addWidget(self._titles[name], row, 0)
            grid.addWidget(editor, row, 1)
            editor.edited.connect(lambda _value: self.edited.emit())
        grid.setRowStretch(len(self.editors), 1)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(360)

    def show_description(self, described: DataDescription) -> None:
        """Shows the fields that mean something for it."""
        self._described = described
        fields = set(FIELDS[source_kind(described)]) - (set() if self._free_size else {"crop"})
        for name, editor in self.editors.items():
            for widget in (editor, self._titles[name]):
                widget.setVisible(name in fields)
            editor.set_value(getattr(described, name))

    def values(self) -> dict[str, Any]:
        """All fields of the description as plain values, as the editors have them; they may not be valid."""
        if self._described is None:
            return {}
        shown = {name: self.editors[name].value() for name in FIELDS[source_kind(self._described)]}
        if self._described.kind != "table" and isinstance(shown.get("input"), list) and len(shown["input"]) == 1:
            shown["input"] = shown["input"][0]
        return self._described.model_dump() | shown


def source_kind(described: DataDescription) -> str:
    """What the source is: a key of `FIELDS`."""
    ending = Path(described.source).suffix.lower()
    if ending in _ARRAYS:
        return described.kind
    if described.kind == "image":
        return "folder"
    if described.kind == "tokens":
        return "texts" if ending in _TABLES else "text"
    return "table"


_SHOWN = {name for names in FIELDS.values() for name in names}


class _LabelEditor(ValuesEditor):
    """The name of the label; a folder's is a word that stands for the names of the folders in it."""

    def set_value(self, value: Any) -> None:
        """Shows no label as nothing."""
        super().set_value(None if value == NO_LABEL else value)

    def value(self) -> Any:
        """Nothing says that there shall be no label, for folders that could give one too."""
        return super().value() or NO_LABEL


def _editor(spec: FieldSpec) -> FieldEditor:
    if spec.name == "metric":
        titles = {name: kind.title for name, kind in METRIC_KINDS.items()} | {"None": "what the labels suggest"}
        return ChoiceEditor(replace(spec, kind="choice", choices=(None, *METRIC_KINDS), labels=titles))
    if spec.name == "colour":
        titles = {"None": "as the model takes them", "rgb": "red first", "bgr": "blue first", "grey": "grey"}
        return ChoiceEditor(replace(spec, choices=(None, *spec.choices), labels=titles))
    if spec.name == "kind":
        titles = {"image": "images", "tensor": "numbers as they are", "tokens": "ids of tokens"}
        return ChoiceEditor(replace(spec, choices=tuple(titles), labels=titles))
    if spec.name == "label":
        return _LabelEditor(spec)
    return ValuesEditor(spec) if spec.kind in ("text", "list") else make_editor(spec)
