"""The settings of the selected layers: one section a method, each edit one call to the session."""

from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QCheckBox, QScrollArea, QVBoxLayout, QWidget

from studio.gui.labels import ElidedLabel, label
from studio.gui.method_section import MethodSection
from studio.gui.methods import ChannelForm, PruneForm, QuantizeForm, RankForm
from studio.gui.remarks import Remarks
from studio.gui.savings import coupling_notes, method_saving
from studio.gui.selection import Selection
from studio.gui.text import bytes_text, kind_text, ratio_text, sentence, shape_text
from studio.models.layer import OK, Layer
from studio.recipe.recipe import technique_of
from studio.recipe.settings import LayerSettings
from studio.session.session import Change, Session

_FORMS = {"channels": ChannelForm, "prune": PruneForm, "rank": RankForm, "quantize": QuantizeForm}
_VERBS = {
    "channels": "Remove channels of",
    "prune": "Prune",
    "rank": "Set rank of",
    "quantize": "Quantize",
    "keep": "Keep",
}
_HELP = {
    "channels": "Remove output channels, and the inputs they are in the layers behind: the model really shrinks",
    "prune": "Replace the weights that matter least by zeros",
    "rank": "Replace the layer's matrix by two thin factors",
    "quantize": "Store the weights as small integers with scales",
}


class SettingsPanel(QScrollArea):
    """Edits what is chosen for the selection.

    Attributes:
        sections: the method sections by field of `LayerSettings`.
        keep: the switch that leaves the layers as they are.
        notes: why the size does not move as one might think.
    """

    def __init__(self, session: Session, selection: Selection) -> None:
        super().__init__()
        self._session = session
        self._selection = selection
        self._title = ElidedLabel(role="heading", mode=Qt.TextElideMode.ElideMiddle)
        self._detail = label("", "detail", wrap=True)
        self._size = label("", "detail", wrap=True)
        self._size.setAccessibleName("Size of the selection")
        self.notes = Remarks("Remarks on the size")
        self.keep = QCheckBox("&Keep as it is")
        self.keep.setToolTip(str(LayerSettings.model_fields["keep"].description))
        self.keep.clicked.connect(lambda on: self._edit("keep", on, merge=False))
        self.lock = QCheckBox("&Lock against searches")
        self.lock.setToolTip(str(LayerSettings.model_fields["locked"].description))
        self.lock.clicked.connect(self._lock)
        self.sections = {name: self._section(name) for name in _FORMS}
        self._lay_out()
        selection.changed.connect(self._show)
        session.changed.connect(self._follow)
        self._show()

    def _section(self, name: str) -> MethodSection:
        title = str(LayerSettings.model_fields[name].title)
        section = MethodSection(title, _HELP[name], _FORMS[name]())
        section.switched.connect(lambda on: self._switch(name, on))
        section.form.edited.connect(lambda chosen: self._edit(name, chosen))
        section.form.finished.connect(self._session.finish_edit)
        return section

    def _lay_out(self) -> None:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(8, 8, 12, 8)
        layout.setSpacing(8)
        for widget in (
            self._title,
            self._detail,
            self._size,
            self.notes,
            self.keep,
            self.lock,
            *self.sections.values(),
        ):
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setMinimumWidth(296)

    def _layers(self) -> list[Layer]:
        """The selected layers that the open model has."""
        project = self._session.project
        if project is None:
            return []
        known = {layer.name: layer for layer in project.info.layers}
        return [known[name] for name in self._selection.names if name in known]

    def _follow(self, change: Change) -> None:
        selected = set(self._selection.names)
        if change.kinds & {"model", "recipe", "size", "spectrum"} and (not change.layers or change.layers & selected):
            self._show()

    def _show(self) -> None:
        layers = self._layers()
        self.keep.setEnabled(bool(layers))
        self.lock.setEnabled(bool(layers))
        for section in self.sections.values():
            section.setVisible(bool(layers))
        self._show_head(layers)
        project = self._session.project
        if project is None or not layers:
            return
        chosen = {layer.name: project.settings(layer.name) for layer in layers}
        locked = project.recipe.locked(layers)
        _show_shared(self.keep, [settings.keep for settings in chosen.values()])
        _show_shared(self.lock, [layer.name in locked for layer in layers])
        for name, section in self.sections.items():
            self._show_section(name, section, layers, chosen)

    def _show_head(self, layers: list[Layer]) -> None:
        self._show_notes(layers)
        if not layers:
            self._title.setText("No layer selected")
            self._detail.setText("Select one or more layers in the table to choose what is done to them.")
            self._size.setText("")
            return
        one = len(layers) == 1
        self._title.setText(layers[0].name if one else f"{len(layers)} layers selected")
        self._detail.setText(
            f"{kind_text(layers[0].kind)}  ·  {shape_text(layers[0].shape)}"
            if one
            else "Every edit applies to all of them."
        )
        before = sum(layer.bytes for layer in layers)
        now = sum(self._bytes(layer) for layer in layers)
        same = f"{bytes_text(before)}, unchanged"
        self._size.setText(
            same if before == now else f"{bytes_text(before)} → {bytes_text(now)}  ·  {ratio_text(before, now)}"
        )

    def _show_notes(self, layers: list[Layer]) -> None:
        """Why a number does not move as one might think, each remark once."""
        cost = self._session.cost
        costs = [cost.layers[layer.name] for layer in layers] if cost is not None else []
        self.notes.show_remarks([note for layer_cost in costs for note in layer_cost.notes])

    def _show_section(
        self, name: str, section: MethodSection, layers: list[Layer], chosen: dict[str, LayerSettings]
    ) -> None:
        able = [layer for layer in layers if layer.allows(name)]
        settings = [self._choice(layer, name, chosen) for layer in able]
        on = any(value is not None for value in settings)
        shown = next((value for value in settings if value is not None), None)
        section.form.show_settings(shown, able)
        mixed = on and any(value != shown for value in settings)
        notes = ["The selected layers differ here; an edit makes them equal."] if mixed else []
        saving = ""
        if on:
            saving = method_saving(self._session, able, name)
        if name == "channels":
            notes += coupling_notes(self._session, able)
        if name == "quantize":
            barred = [layer for layer in able if not layer.allows("activations")]
            notes += [f"No activations: {reason}." for reason in sorted({one.methods["activations"] for one in barred})]
        if len(able) < len(layers) and able:
            notes.append(f"Applies to {len(able)} of {len(layers)} layers.")
        section.show_state(on, self._reason(name, layers, chosen), saving, notes)

    def _choice(self, layer: Layer, name: str, chosen: dict[str, LayerSettings]) -> Any:
        """What is chosen for a layer; channels are chosen for all layers that lose them together."""
        project = self._session.project
        if name != "channels" or project is None:
            return getattr(chosen[layer.name], name)
        return project.recipe.groups_of(project.info.layers).get(layer.group or "")

    def _reason(self, name: str, layers: list[Layer], chosen: dict[str, LayerSettings]) -> str:
        """Why the method cannot be chosen, empty when it can."""
        if all(chosen[layer.name].keep for layer in layers):
            return "Kept as it is: take “Keep” off to choose this."
        reasons = {layer.methods.get(name, "Not possible for this layer.") for layer in layers} - {OK}
        return "" if any(layer.allows(name) for layer in layers) else "\n".join(sorted(map(sentence, reasons)))

    def _bytes(self, layer: Layer) -> int:
        cost = self._session.cost
        return cost.layers[layer.name].bytes if cost is not None and layer.name in cost.layers else layer.bytes

    def _switch(self, name: str, on: bool) -> None:
        able = [layer for layer in self._layers() if layer.allows(name)]
        self._edit(name, self.sections[name].form.start(able) if on else None, merge=False)

    def _lock(self, on: bool) -> None:
        project, names = self._session.project, [layer.name for layer in self._layers()]
        if project is not None and names:
            self._session.searches.lock(project, names, on)

    def _edit(self, name: str, value: Any, *, merge: bool = True) -> None:
        """One edit of the session; those of one drag are one step."""
        needed = technique_of(name, value)
        names = [layer.name for layer in self._layers() if name == "keep" or layer.allows(needed)]
        if not names:
            return
        what = names[0] if len(names) == 1 else f"{len(names)} layers"
        key = f"{name}:{','.join(names)}" if merge else None
        self._session.edit_layers(names, f"{_VERBS[name]} {what}", merge=key, **{name: value})


def _show_shared(box: QCheckBox, values: list[bool]) -> None:
    """Partly checked where the layers differ; from there a click checks them all."""
    mixed = any(values) and not all(values)
    box.setTristate(mixed)
    box.setCheckState(
        Qt.CheckState.PartiallyChecked if mixed else Qt.CheckState.Checked if values[0] else Qt.CheckState.Unchecked
    )
