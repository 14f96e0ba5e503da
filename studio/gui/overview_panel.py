"""The first page of an open model: what each method could save at no expected loss, where, and why not elsewhere."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from PySide6.QtCore import Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from studio.evaluation.candidates import METHODS
from studio.evaluation.feasibility import Feasibility
from studio.gui.labels import label, set_tone
from studio.gui.selection import Selection
from studio.gui.text import count_text, percent_text, saved_text, sentence, short_count
from studio.models.layer import ModelInfo
from studio.recipe.settings import LayerSettings
from studio.session.project import Project
from studio.session.session import Change, Session

#: What the methods are called, and what each does.
TITLES = {
    "quantize": ("Fewer bits", "Weights are stored as small integers with a scale for each channel."),
    "prune": ("Zeros", "The smallest weights become zero."),
    "rank": ("Lower rank", "A layer's matrix is replaced by two thin factors."),
    "channels": ("Fewer channels", "Channels that do next to nothing are removed: the model really shrinks."),
}

_BY_WEIGHTS = "Told by the weights alone: noise at a layer's outputs is 30 dB below the signal."
_BY_SCAN = "Where a scan has measured a layer its figures count."
_ALONE = "Layers are judged one by one. “Try” takes a whole card as one step; the top shows what it does."

_TAKEN = "All its layers have such settings or stronger ones, or are kept or locked."

_HELD = "Your settings go as far as this or further, in all layers that may change."

#: Share of the model below which a saving is none.
_WORTH = 0.01

_STORED = "Zeros are stored: neither the file nor the arithmetic shrinks."

#: Layers that a line names before it counts the others.
_NAMED = 3


class MethodCard(QFrame):
    """One method.

    Attributes:
        saving: the figures.
        told: where that is, and what is possible.
        refused: why other layers cannot take it; hidden where all can.
        take: applies it.
        layers: selects the layers concerned.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        title, what = TITLES[method]
        heading = label(title, "caption")
        heading.setToolTip(what)
        self.saving = label("", "heading", wrap=True)
        self.saving.setAccessibleName(f"{title}: what it saves")
        self.told = label("", wrap=True)
        self.told.setAccessibleName(f"{title}: where")
        self.refused = label("", "reason", wrap=True)
        self.refused.setAccessibleName(f"{title}: why not elsewhere")
        self.take, self.layers = QPushButton("Try"), QPushButton("Select")
        self.take.setAccessibleName(f"Try: {title}")
        self.layers.setAccessibleName(f"Select layers: {title}")
        names = QVBoxLayout()
        names.setSpacing(2)
        names.addWidget(heading)
        names.addWidget(self.saving)
        top = QHBoxLayout()
        top.setSpacing(6)
        top.addLayout(names, 1)
        top.addWidget(self.layers)
        top.addWidget(self.take)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(10, 6, 8, 8)
        layout.setSpacing(3)
        layout.addLayout(top)
        for widget in (self.told, self.refused):
            layout.addWidget(widget)

    def show_found(self, found: Feasibility, info: ModelInfo, looking: bool, taken: bool) -> None:
        """Shows what is known; `looking` while more may come, `taken` where a try would change nothing."""
        known = found.bytes_saved is not None
        waiting = "Looking at the weights …" if looking else "Not known"
        self.saving.setText(saving_text(found, info) if known else waiting)
        set_tone(self.saving, "good" if found.harmless and not taken and is_worth(found, info) else "stale")
        self.told.setText(_HELD if taken and found.harmless else told_text(found, info))
        self.refused.setText(refused_text(found.refused))
        self.refused.setVisible(bool(found.refused) and bool(found.eligible))
        barred = (_TAKEN if taken else "") if found.harmless else "No layer is expected to stay as good."
        self.take.setText("Taken" if found.harmless and taken else "Try")
        self.take.setEnabled(not barred)
        self.take.setToolTip(barred or "One step, which is measured at the top and which one undo takes back")
        self.layers.setEnabled(bool(found.eligible))
        self.layers.setToolTip("Select these layers in the table" if found.eligible else "No layer can take it.")


def is_worth(found: Feasibility, info: ModelInfo) -> bool:
    """Whether a method saves a hundredth of anything."""
    saved = ((found.bytes_saved, info.bytes), (found.macs_saved, info.macs), (found.zeros, info.parameters))
    return any((part or 0) >= _WORTH * max(1, whole) for part, whole in saved)


def _share(part: int, whole: int) -> str:
    """A share of the whole; what rounds to nothing is not called nothing."""
    return percent_text(part / whole) if abs(part) >= 0.0005 * whole else "under 0.1 %"


def saving_text(found: Feasibility, info: ModelInfo) -> str:
    """What a method saves: ``"−231 kB (75.0 %)"``, with arithmetic and zeros where there are some."""
    parts = []
    if found.bytes_saved:
        parts.append(f"{saved_text(found.bytes_saved, 0)} ({_share(found.bytes_saved, info.bytes)})")
    if found.macs_saved:
        parts.append(f"−{short_count(found.macs_saved)} MACs ({_share(found.macs_saved, info.macs)})")
    if found.zeros:
        parts.append(f"{percent_text(found.zeros / info.parameters)} of all weights zero")
    little = "" if is_worth(found, info) else "Next to nothing: "
    return f"{little}{'  ·  '.join(parts)}" if parts else "Nothing at no expected loss"


def told_text(found: Feasibility, info: ModelInfo) -> str:
    """In which layers, and in how many the method is possible at all."""
    possible = f"Possible in {_all(len(found.eligible), len(info.layers))}."
    if not found.eligible:
        reasons = sorted(set(found.refused.values()))
        return "Not possible in any layer. " + " ".join(sentence(reason) for reason in reasons[:_NAMED])
    counts = Counter(map(_strength, found.harmless.values()))
    where = ", ".join(f"{strength} in {count}" for strength, count in counts.most_common(_NAMED) if strength)
    told = [f"{where[:1].upper()}{where[1:]}." if where else "", _how(found), possible]
    told += [_STORED] if found.zeros else []
    if found.unseen:
        told.append(f"Not looked at: {_names(found.unseen)}.")
    return " ".join(filter(None, told))


def refused_text(refused: Mapping[str, str]) -> str:
    """Why layers cannot take a method, one line a reason."""
    by_reason = defaultdict[str, list[str]](list)
    for name, reason in refused.items():
        by_reason[reason].append(name)
    return "\n".join(f"Not in {_names(names)}: {reason.rstrip('.')}." for reason, names in by_reason.items())


def _how(found: Feasibility) -> str:
    """In how many layers, where their settings differ too much to be listed."""
    if found.method in ("quantize", "channels") or len(found.harmless) in (0, len(found.eligible)):
        return ""
    return f"No loss is expected in {_layers(len(found.harmless))}."


def _strength(settings: LayerSettings) -> str:
    """A setting that layers share, in words; empty for those that each layer has its own of."""
    if settings.quantize is not None:
        return f"{settings.quantize.weight_bits} bits"
    return f"{percent_text(settings.channels.ratio)} of the channels" if settings.channels is not None else ""


def _names(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _layers(count: int) -> str:
    return f"{count_text(count)} layer{'' if count == 1 else 's'}"


def _all(count: int, total: int) -> str:
    return f"all {_layers(total)}" if count == total > 1 else f"{count_text(count)} of {_layers(total)}"


class OverviewPanel(QScrollArea):
    """Shows what could be saved on the open project.

    Args:
        session: whose project it is.
        selection: takes the layers of a card.

    Signals:
        scan: the user wants the layers measured.

    Attributes:
        cards: by method.
        scanned: begins a scan.
    """

    scan = Signal()

    def __init__(self, session: Session, selection: Selection) -> None:
        super().__init__()
        self._session = session
        self._selection = selection
        self._facts = label("", "detail", wrap=True)
        self._basis = label("", "detail", wrap=True)
        self.scanned = QPushButton("Scan all layers …")
        self.scanned.clicked.connect(self.scan)
        self.cards = {method: MethodCard(method) for method in METHODS}
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(8, 8, 12, 8)
        layout.setSpacing(6)
        title = label("What could be saved at no expected loss", "heading", wrap=True)
        for widget in (title, self._facts, *self.cards.values(), self._basis):
            layout.addWidget(widget)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.scanned)
        layout.addLayout(row)
        layout.addStretch(1)
        for method, card in self.cards.items():
            card.take.clicked.connect(lambda _on=False, method=method: self._take(method))
            card.layers.clicked.connect(lambda _on=False, method=method: self._select(method))
        self.setWidget(page)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        session.feasibilities.changed.connect(self.renew)
        session.changed.connect(self._follow)

    def showEvent(self, event: QShowEvent) -> None:
        """Catches up with what happened while it was out of sight."""
        super().showEvent(event)
        self.renew()

    def renew(self) -> None:
        """Shows what is known; out of sight it waits until it is seen."""
        project = self._session.project
        if project is None or not self.isVisible():
            return
        info, looking = project.info, self._session.feasibilities.looking
        self._facts.setText(f"{_layers(len(info.layers))}  ·  {short_count(info.parameters)} parameters")
        found = self._session.feasibilities.of(project)
        basis = _BY_SCAN if any(one.measured for one in found) else _BY_WEIGHTS
        self._basis.setText(f"{basis} {_ALONE}")
        lack = info.lacks.get("scan")
        self.scanned.setEnabled(not lack)
        self.scanned.setToolTip(sentence(lack) if lack else "Measure on data what each layer bears")
        for one in found:
            taken = self._session.feasibilities.is_taken(project, one)
            self.cards[one.method].show_found(one, info, looking, taken)

    def _follow(self, change: Change) -> None:
        if change.kinds & {"model", "size", "recipe"}:
            self.renew()

    def _found(self, method: str) -> tuple[Project, Feasibility] | None:
        project = self._session.project
        if project is None:
            return None
        return project, next(one for one in self._session.feasibilities.of(project) if one.method == method)

    def _take(self, method: str) -> None:
        known = self._found(method)
        if known is not None:
            self._session.feasibilities.take(*known)

    def _select(self, method: str) -> None:
        """Selects the layers that take the method harmlessly, or else all that can take it."""
        known = self._found(method)
        if known is not None:
            self._selection.select(tuple(known[1].harmless) or known[1].eligible)
