"""The choices of a distillation: what most runs need at the top, the rest folded away."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QScrollArea, QToolButton, QVBoxLayout, QWidget

from studio.distillation.settings import DistillSettings
from studio.distillation.suggested import OF_IMAGES, SUGGESTED, suggested, why_no_images
from studio.gui.editors import FieldEditor, add_row, make_editor
from studio.gui.fields import field_specs
from studio.gui.labels import label
from studio.models.layer import ModelInfo
from studio.recipe.settings import LayerSettings


class DistillForm(QScrollArea):
    """One editor a field of `DistillSettings`.

    Attributes:
        editors: by name of the field.
        fold: shows or hides the rarer ones.
        reasons: what was suggested and why.
    """

    def __init__(self) -> None:
        super().__init__()
        defaults = DistillSettings()
        self.editors: dict[str, FieldEditor] = {}
        for name, spec in field_specs(DistillSettings).items():
            self.editors[name] = make_editor(spec)
            self.editors[name].set_value(getattr(defaults, name))
            self.editors[name].edited.connect(partial(self._take, name))
        self._own = set[str]()
        self._asked: tuple[int, ModelInfo, Mapping[str, LayerSettings]] | None = None
        self.reasons = label("", "detail", wrap=True)
        self.reasons.setAccessibleName("What is suggested, and why")
        self._suggestion = {name: getattr(defaults, name) for name in SUGGESTED}
        self._rare = self._grid([editor for editor in self.editors.values() if editor.spec.more])
        self.fold = QToolButton()
        self.fold.setText("More")
        self.fold.setProperty("role", "fold")
        self.fold.setCheckable(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setAccessibleName("More settings of the distillation")
        self.fold.toggled.connect(self._unfold)
        self._page = QWidget()
        layout = self._layout = QVBoxLayout(self._page)
        layout.setContentsMargins(0, 0, 12, 0)
        layout.addWidget(self._grid([editor for editor in self.editors.values() if not editor.spec.more]))
        layout.addWidget(self.reasons)
        layout.addWidget(self.fold)
        layout.addWidget(self._rare)
        layout.addStretch(1)
        self.setWidget(self._page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._unfold(True)  # it is wide enough for all
        self.setMinimumWidth(self._page.minimumSizeHint().width() + 12)
        self._unfold(False)

    def settings(self) -> DistillSettings:
        """What is shown, as one value."""
        return DistillSettings(**{name: self._value(name) for name in self.editors})

    def suggest(self, samples: int, info: ModelInfo, chosen: Mapping[str, LayerSettings]) -> None:
        """Shows what so many samples to learn from, a model and the settings of its layers suggest, and why.

        What somebody has chosen stays. The same again costs nothing.
        """
        asked = self._asked
        if asked is None or (samples, id(info), id(chosen)) != (asked[0], id(asked[1]), id(asked[2])):
            self._asked = (samples, info, chosen)
            self._suggest()

    def _suggest(self) -> None:
        if self._asked is None:
            return
        own = {name for name, old in self._suggestion.items() if name in self._own or self._value(name) != old}
        given = DistillSettings(**{name: self._value(name) for name in (*own, "channel_steps")})
        found = suggested(given, *self._asked)
        for name in self._suggestion.keys() - own:
            self._suggestion[name] = getattr(found.settings, name)
            self.editors[name].set_value(self._suggestion[name])
        titles = {name: self.editors[name].spec.title for name in found.reasons}
        self.reasons.setText("\n".join(f"{titles[name]}: {why}." for name, why in found.reasons.items()))

    def _take(self, name: str, _value: object) -> None:
        """Somebody has chosen a value; others may depend on it."""
        self._own.add(name)
        self._suggest()

    def fit(self, info: ModelInfo) -> None:
        """Offers what fits a model alone; the rest is as if nobody had chosen it, and says why."""
        reason = why_no_images(info)
        for name in OF_IMAGES:
            editor = self.editors[name]
            editor.setEnabled(not reason)
            for widget in (editor, *editor.findChildren(QWidget)):
                widget.setToolTip(reason or editor.spec.help)
            if reason:
                editor.set_value(editor.spec.default)
                self._own.discard(name)
                if name in self._suggestion:
                    self._suggestion[name] = editor.spec.default

    def lead_with(self, widget: QWidget) -> None:
        """Places `widget` above the fields; it scrolls with them."""
        self._layout.insertWidget(0, widget)

    def sizeHint(self) -> QSize:
        """All fields without scrolling, if there is room."""
        return self._page.sizeHint()

    def _grid(self, editors: list[FieldEditor]) -> QWidget:
        page = QWidget()
        grid = QGridLayout(page)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        for row, editor in enumerate(editors):
            add_row(grid, row, editor)
        return page

    def _unfold(self, on: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.fold.setToolTip("Hide the rarer settings" if on else "Show the rarer settings")
        self._rare.setVisible(on)

    def _value(self, name: str) -> Any:
        return self.editors[name].value()
