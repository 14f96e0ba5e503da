"""How the recipe is carried out, for all layers alike: one editor a field of `Options`, folded away."""

from collections.abc import Mapping
from typing import Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QGridLayout, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from studio.gui.editors import FieldEditor, make_editor
from studio.gui.fields import field_specs
from studio.gui.labels import ElidedLabel, label
from studio.gui.remarks import Remarks
from studio.recipe.settings import Options
from studio.session.option_remarks import option_remarks, options_summary, unavailable_options
from studio.session.session import Change, Session


class OptionsSection(QFrame):
    """Edits the options of the open project's recipe.

    Attributes:
        editors: by field of `Options`.
        fold: shows or hides them.
        summary: the options in a few words.
        reasons: why some of them make no difference now.
        remarks: what else is to be known of them.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self.fold = QToolButton()
        self.fold.setText("For all layers")
        self.fold.setProperty("role", "fold")
        self.fold.setCheckable(True)
        self.fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.fold.setAccessibleName("Options for all layers")
        self.fold.toggled.connect(self._unfold)
        self.summary = ElidedLabel(role="detail")
        self.summary.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.summary.setAccessibleName("Options in a few words")
        self.reasons = label("", "reason", wrap=True)
        self.reasons.setAccessibleName("Why some options make no difference")
        self.remarks = Remarks("Remarks on the options")
        self.editors: dict[str, FieldEditor] = {}
        self._titles: dict[str, QLabel] = {}
        self._body = self._make_body()
        self._lay_out()
        self._unfold(False)
        session.changed.connect(self._follow)
        self._show()

    def _make_body(self) -> QWidget:
        body = QWidget()
        grid = QGridLayout(body)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        grid.setColumnStretch(1, 1)
        for row, (name, spec) in enumerate(field_specs(Options).items()):
            editor = self.editors[name] = make_editor(spec)
            self._titles[name] = label(spec.title)
            grid.addWidget(self._titles[name], row, 0)
            grid.addWidget(editor, row, 1)
            editor.edited.connect(lambda value, name=name: self._edit(name, value))
            editor.finished.connect(self._session.finish_edit)
        for widget in (self.reasons, self.remarks):
            grid.addWidget(widget, grid.rowCount(), 0, 1, 2)
        return body

    def _lay_out(self) -> None:
        self.setProperty("role", "footer")
        header = QHBoxLayout()
        header.addWidget(self.fold)
        header.addWidget(self.summary, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 14, 6)
        layout.setSpacing(4)
        layout.addLayout(header)
        layout.addWidget(self._body)

    def _unfold(self, on: bool) -> None:
        self.fold.setArrowType(Qt.ArrowType.DownArrow if on else Qt.ArrowType.RightArrow)
        self.fold.setToolTip("Hide how the settings are carried out" if on else "How the settings are carried out")
        self._body.setVisible(on)

    def _follow(self, change: Change) -> None:
        if change.kinds & {"model", "recipe", "data"}:
            self._show()

    def _show(self) -> None:
        project = self._session.project
        self.setEnabled(project is not None)
        if project is None:
            return
        barred = unavailable_options(project)
        for name, editor in self.editors.items():
            editor.set_value(getattr(project.recipe.options, name))
            reason = barred.get(name, "")
            for widget in (editor, self._titles[name]):
                widget.setEnabled(not reason)
                widget.setToolTip(reason or editor.spec.help)
        self.reasons.setText("\n".join(self._told(barred)))
        self.reasons.setVisible(bool(barred))
        self.remarks.show_remarks(option_remarks(project))
        self.summary.setText(options_summary(project))

    def _told(self, barred: Mapping[str, str]) -> list[str]:
        """Each reason once, with the field's title where it holds for one."""
        fields: dict[str, list[str]] = {}
        for name in self.editors:
            if name in barred:
                fields.setdefault(barred[name], []).append(self.editors[name].spec.title)
        return [reason if len(titles) > 1 else f"{titles[0]}: {_lower(reason)}" for reason, titles in fields.items()]

    def _edit(self, name: str, value: Any) -> None:
        """One edit of the session; those of one drag are one step."""
        self._session.edit_options(f"Set {self.editors[name].spec.title.lower()}", f"options:{name}", **{name: value})


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
