"""The layer in focus: its weights and its singular values, asked for when it changes and shown when they arrive."""

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from studio.analysis.views import WeightView
from studio.gui.savings import method_saving
from studio.gui.selection import Selection
from studio.gui.spectrum_panel import SpectrumPanel
from studio.gui.text import factors_text
from studio.gui.theme import Theme
from studio.gui.weights_panel import WeightsPanel
from studio.models.layer import OK
from studio.recipe.factorization import budget, largest
from studio.recipe.settings import RankSettings
from studio.session.session import Change, Session

#: Milliseconds between two questions for the histogram of a dragged setting: eyes do not follow more of them, and each
#: takes the engine's time from whatever else it does.
_LOOK_MS = 50


class LayerPanel(QWidget):
    """Binds the two plots to the session's layer in focus.

    Attributes:
        weights: the histogram.
        spectrum: the singular values with the rank line.
    """

    def __init__(self, session: Session, selection: Selection, theme: Theme) -> None:
        super().__init__()
        self._session = session
        self._selection = selection
        self._turns = theme.turns
        self._layer: str | None = None
        self._stale = False
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.timeout.connect(self._catch_up)
        self.weights = WeightsPanel(theme)
        self.spectrum = SpectrumPanel(theme)
        splitter = QSplitter(Qt.Orientation.Vertical)
        splitter.setChildrenCollapsible(False)
        splitter.addWidget(self.weights)
        splitter.addWidget(self.spectrum)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)
        selection.changed.connect(self._focus)
        session.changed.connect(self._follow)
        session.weights_viewed.connect(self._show_weights)
        self.spectrum.rank_dragged.connect(self._choose_rank)
        self.spectrum.rank_released.connect(session.finish_edit)
        self.spectrum.all_values.clicked.connect(self._ask_for_all_values)

    def _focus(self) -> None:
        """Turns to another layer; not in the turn that selects its row in the table."""
        self._turns.soon(self, self._show_layer)

    def _show_layer(self) -> None:
        layer, project = self._selection.current, self._session.project
        if layer is None or layer == self._layer or project is None:
            return
        if all(layer != one.name for one in project.info.layers):
            return  # of the model before: the window selects one of the new model's next
        self._layer = layer
        self.weights.show_view(None)
        self._session.view_weights(layer)
        if layer in self._session.spectra:
            self._show_spectrum()
        else:
            self.spectrum.show_spectrum(None)
            self._session.view_spectrum(layer)

    def _follow(self, change: Change) -> None:
        """Asks for, or redraws, what an edit touched."""
        if "model" in change.kinds:
            self._layer = None
            self._focus()
            return
        if self._layer is None or (change.layers and self._layer not in change.layers):
            return
        if change.kinds & {"recipe", "data"}:
            self._look()
        if "spectrum" in change.kinds:
            self._turns.soon(self.spectrum, self._show_spectrum)
        else:
            self._show_spectrum()

    def _look(self) -> None:
        """Asks for the histogram; soon, where it was asked for just now."""
        self._stale = self._pause.isActive()
        if self._layer is not None and not self._stale:
            self._session.view_weights(self._layer)
            self._pause.start(_LOOK_MS)

    def _catch_up(self) -> None:
        if self._stale:
            self._look()

    def _show_weights(self, layer: str, view: WeightView) -> None:
        if layer == self._layer:
            self.weights.show_view(view)

    def _show_spectrum(self) -> None:
        project, spectrum = self._session.project, self._session.spectra.get(self._layer or "")
        if project is None or self._layer is None or spectrum is None:
            return
        verdict = project.info.layer(self._layer).methods.get("rank", OK)
        kept = "Kept as it is: take “Keep” off to choose a rank." if project.settings(self._layer).keep else ""
        self.spectrum.show_spectrum(spectrum, verdict if verdict != OK else kept)
        self._show_rank()

    def _show_rank(self) -> None:
        project, layer = self._session.project, self._layer
        spectrum = self._session.spectra.get(layer) if layer is not None else None
        if project is None or layer is None or spectrum is None:
            return
        chosen, described = project.settings(layer).rank, project.info.layer(layer)
        if chosen is None:
            self.spectrum.show_rank(None, "")
            return
        rank = chosen.rank if chosen.energy is None else spectrum.rank_for(chosen.energy)
        weights = budget(chosen, described.shape, rank) or 0
        saving = method_saving(self._session, [described], "rank")
        split = self._session.factors.get(layer)
        self.spectrum.show_rank(
            largest("matrix", described.shape, weights).ranks[0],
            f"{saving}, {factors_text(split)}" if split is not None else saving,
        )

    def _ask_for_all_values(self) -> None:
        if self._layer is not None and self._session.project is not None:
            self.spectrum.all_values.setEnabled(False)
            self._session.view_spectrum(self._layer, reach=1.0)

    def _choose_rank(self, rank: int) -> None:
        """Edits the rank as one step a drag; the full rank takes the cut away."""
        if self._layer is None or self._session.project is None:
            return
        full = self._session.project.info.layer(self._layer).full_rank
        settings = RankSettings(rank=rank) if rank < full else None
        self._session.edit_layers(
            [self._layer], f"Set rank of {self._layer}", merge=f"rank:{self._layer}", rank=settings
        )
