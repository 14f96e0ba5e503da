"""The layers as a Qt table model: a thin adapter over the session's values, with named columns."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QFont

from studio.evaluation.prediction import Estimate, Prediction
from studio.export.latency import Latency
from studio.gui.text import (
    bytes_text,
    count_text,
    drop_short,
    kind_text,
    milliseconds_text,
    percent_text,
    predicted_short,
    settings_chips,
    shape_text,
    signed_change,
)
from studio.models.layer import METHODS, OK, Layer
from studio.session.session import Change, Session

Index = QModelIndex | QPersistentModelIndex

#: Raw values behind the texts: what the proxy sorts by and the bar delegate draws.
SORT_ROLE = int(Qt.ItemDataRole.UserRole)
SHARE_ROLE = SORT_ROLE + 1
KIND_ROLE = SORT_ROLE + 2
HEAT_ROLE = SORT_ROLE + 3

_ROOT = QModelIndex()
_ITALIC = QFont()
_ITALIC.setItalic(True)
_RIGHT = int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)


@dataclass(frozen=True)
class Column:
    """One column: its title and help, its value for sorting, and its text."""

    title: str
    help: str
    value: Callable[[Layer], Any]
    text: Callable[[Layer], str]
    is_number: bool = False


class LayerModel(QAbstractTableModel):
    """Every layer of the open model, in the order they run."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._layers: tuple[Layer, ...] = ()
        self._rows: dict[str, int] = {}
        self._total = 0
        self._largest = 0
        self._warmest = 0.0
        self._columns = self._make_columns()
        session.changed.connect(self._follow)
        session.drops.changed.connect(self._drop_known)
        session.scans.changed.connect(self._scanned)
        session.latencies.changed.connect(self._timed)
        self._load()

    @property
    def kinds(self) -> list[str]:
        """The kinds of layer there are."""
        return sorted({layer.kind for layer in self._layers})

    @property
    def has_drops(self) -> bool:
        """Whether any layer's drop is known or expected."""
        prediction = self._prediction()
        expected = prediction is not None and bool(prediction.layers)
        return expected or any(self._drop(layer) is not None for layer in self._layers)

    @property
    def has_scan(self) -> bool:
        """Whether a scan has measured any layer."""
        return bool(self._session.scans.worst)

    @property
    def has_times(self) -> bool:
        """Whether the model has been timed, be it with other settings."""
        return self._session.latencies.previous is not None

    def column(self, title: str) -> int:
        """Index of the column called `title`."""
        return [column.title for column in self._columns].index(title)

    def name(self, row: int) -> str:
        """Name of the layer in a row."""
        return self._layers[row].name

    def row(self, name: str) -> int | None:
        """Row of the layer called `name`."""
        return self._rows.get(name)

    def rowCount(self, parent: Index = _ROOT) -> int:
        """Number of layers."""
        return 0 if parent.isValid() else len(self._layers)

    def columnCount(self, parent: Index = _ROOT) -> int:
        """Number of columns."""
        return 0 if parent.isValid() else len(self._columns)

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Titles of the columns, with help as tooltip."""
        if orientation is not Qt.Orientation.Horizontal or not 0 <= section < len(self._columns):
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return self._columns[section].title
        if role == Qt.ItemDataRole.ToolTipRole:
            return self._columns[section].help
        return _alignment(self._columns[section]) if role == Qt.ItemDataRole.TextAlignmentRole else None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, raw value, alignment and tooltip of a cell."""
        if not index.isValid():
            return None
        layer, column = self._layers[index.row()], self._columns[index.column()]
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(layer)
        if role == SORT_ROLE:
            return column.value(layer)
        if role == KIND_ROLE:
            return layer.kind
        if role == SHARE_ROLE and column.title == "Share":
            return layer.bytes / max(1, self._largest)
        if role == HEAT_ROLE and column.title == "Alone":
            return self._heat(layer)
        if role == Qt.ItemDataRole.FontRole and column.title == "Change" and self._expected(layer) is not None:
            return _ITALIC
        if role == Qt.ItemDataRole.ToolTipRole:
            return layer_help(layer)
        return _RIGHT if role == Qt.ItemDataRole.TextAlignmentRole and column.is_number else None

    def _make_columns(self) -> tuple[Column, ...]:
        return (
            Column("Layer", "Dotted name in the model's file", self._order, lambda layer: layer.name),
            Column("Settings", "What is chosen for the layer", self._chips, self._chips),
            Column(
                "Size",
                "Bytes the layer takes with these settings",
                self._bytes,
                lambda la: bytes_text(self._bytes(la)),
                True,
            ),
            Column(
                "Change",
                "Change of the metric (accuracy in points) with only this layer compressed; of weights alone, how far "
                "it puts all weights off. With ≈ and in italics it is predicted from the scan until it is measured",
                self._drop_value,
                self._drop_text,
                True,
            ),
            Column(
                "Alone",
                "Change of the metric (accuracy in points) by the worst setting the scan tried on this layer alone",
                self._worst_value,
                self._worst_text,
                True,
            ),
            Column(
                "Share",
                "Share of the original model's weights",
                self._share,
                lambda la: percent_text(self._share(la)),
                True,
            ),
            Column(
                "Time",
                "Time the layer takes in ONNX Runtime for one batch, when the present settings have been timed",
                self._time,
                self._time_text,
                True,
            ),
            Column(
                "Time, %",
                "Share of the model's whole time in ONNX Runtime",
                lambda la: self._time_share(la) or 0.0,
                lambda la: "" if (share := self._time_share(la)) is None else percent_text(share),
                True,
            ),
            Column("Shape", "Weight as out × in × kernel", lambda la: la.parameters, lambda la: shape_text(la.shape)),
            Column("Kind", "Kind of layer", lambda la: la.kind, lambda la: kind_text(la.kind)),
            Column(
                "Parameters", "Weights and biases", lambda la: la.parameters, lambda la: count_text(la.parameters), True
            ),
        )

    def _share(self, layer: Layer) -> float:
        return layer.bytes / max(1, self._total)

    def _order(self, layer: Layer) -> int:
        return self._rows[layer.name]

    def _bytes(self, layer: Layer) -> int:
        cost = self._session.cost
        known = cost.layers.get(layer.name) if cost is not None else None
        return known.bytes if known is not None else layer.bytes

    def _chips(self, layer: Layer) -> str:
        project = self._session.project
        if project is None:
            return ""
        locked = ("locked",) if layer.name in project.locked else ()
        return " · ".join((*settings_chips(project.settings(layer.name)), *locked))

    def _drop(self, layer: Layer) -> Any:
        project = self._session.project
        return self._session.drops.of(project, layer.name) if project is not None else None

    def _drop_value(self, layer: Layer) -> float:
        drop, expected = self._drop(layer), self._expected(layer)
        return drop.value if drop is not None else expected.drop if expected is not None else float("-inf")

    def _drop_text(self, layer: Layer) -> str:
        drop, expected, prediction = self._drop(layer), self._expected(layer), self._prediction()
        if drop is not None:
            return drop_short(drop)
        return predicted_short(prediction.metric, expected) if expected is not None and prediction is not None else ""

    def _expected(self, layer: Layer) -> Estimate | None:
        """The drop that the scan expects, as long as none is measured."""
        prediction = self._prediction() if self._drop(layer) is None else None
        return prediction.layers.get(layer.name) if prediction is not None else None

    def _prediction(self) -> Prediction | None:
        project = self._session.project
        return self._session.predictions.of(project) if project is not None else None

    def _worst(self, layer: Layer) -> float | None:
        return self._session.scans.worst.get(layer.name)

    def _worst_value(self, layer: Layer) -> float:
        worst = self._worst(layer)
        return worst if worst is not None else float("-inf")

    def _worst_text(self, layer: Layer) -> str:
        worst = self._worst(layer)
        scan = self._session.scans.scan
        return signed_change(scan.points[0].metric, worst) if worst is not None and scan is not None else ""

    def _heat(self, layer: Layer) -> float | None:
        """How much a layer minds, 0..1 of the one that minds most; None where it is not known."""
        worst, most = self._worst(layer), self._session.scans.largest
        return None if worst is None or most <= 0 else max(0.0, worst / most)

    def _latency(self) -> Latency | None:
        """Of the present settings; what was measured before an edit tells nothing of now."""
        project = self._session.project
        return self._session.latencies.current(project) if project is not None else None

    def _time(self, layer: Layer) -> float:
        latency = self._latency()
        return latency.layers.get(layer.name, 0.0) if latency is not None else 0.0

    def _time_text(self, layer: Layer) -> str:
        taken = self._time(layer)
        return milliseconds_text(taken) if taken else ""

    def _time_share(self, layer: Layer) -> float | None:
        latency = self._latency()
        return latency.share(layer.name) if latency is not None else None

    def _follow(self, change: Change) -> None:
        if "model" in change.kinds:
            self._load()
        else:
            self._repaint(change.layers)

    def _drop_known(self, name: str) -> None:
        self._repaint(frozenset({name}))

    def _timed(self) -> None:
        self._repaint(frozenset())

    def _scanned(self, name: str) -> None:
        """Shows a new point in its row; in all rows where it is of the layer that minds most, their heat's measure."""
        known, self._warmest = self._warmest, self._session.scans.largest
        self._repaint(frozenset({name} if name and known == self._warmest else ()))

    def _load(self) -> None:
        self.beginResetModel()
        project = self._session.project
        self._layers = project.info.layers if project is not None else ()
        self._rows = {layer.name: row for row, layer in enumerate(self._layers)}
        self._total = sum(layer.bytes for layer in self._layers)
        self._largest = max((layer.bytes for layer in self._layers), default=0)
        self.endResetModel()

    def _repaint(self, names: frozenset[str]) -> None:
        rows = [row for name in names if (row := self.row(name)) is not None] or range(len(self._layers))
        if rows:
            last = len(self._columns) - 1
            self.dataChanged.emit(self.index(min(rows), 0), self.index(max(rows), last))


def _alignment(column: Column) -> int:
    return _RIGHT if column.is_number else int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)


def layer_help(layer: Layer) -> str:
    """A layer in full, with the reason for everything that cannot be done to it."""
    lines = [
        f"{layer.name}: {kind_text(layer.kind)} {shape_text(layer.shape)}",
        f"{count_text(layer.macs)} MACs for one sample",
    ]
    lines += [f"{method}: {reason}" for method in METHODS if (reason := layer.methods.get(method, OK)) != OK]
    return "\n".join(lines)
