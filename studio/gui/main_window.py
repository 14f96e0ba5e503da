"""The window: where each panel stands, and which signals meet; everything else is in the panels and the session."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from PySide6.QtCore import Qt
from PySide6.QtGui import QAction, QCloseEvent, QDragEnterEvent, QDropEvent, QResizeEvent
from PySide6.QtWidgets import QDockWidget, QMainWindow, QPushButton, QStackedWidget, QTabWidget, QVBoxLayout, QWidget

from studio.export.report import ExportReport
from studio.gui.actions import Actions
from studio.gui.arrivals import Arrivals, dropped_paths
from studio.gui.commands import Commands
from studio.gui.data_status import DataStatus
from studio.gui.distill_panel import PROGRESS, DistillPanel
from studio.gui.export_report import ExportReportDialog
from studio.gui.graph_panel import GraphPanel
from studio.gui.jobs_panel import JobsPanel
from studio.gui.layer_model import LayerModel
from studio.gui.layer_panel import LayerPanel
from studio.gui.layer_table import LayerTable
from studio.gui.notice import NoticeBar
from studio.gui.options_section import OptionsSection
from studio.gui.overview_panel import OverviewPanel
from studio.gui.palette import CommandPalette
from studio.gui.search_dialog import offer_text
from studio.gui.selection import Selection
from studio.gui.sensitivity_panel import SensitivityPanel
from studio.gui.settings_panel import SettingsPanel
from studio.gui.start_page import StartPage
from studio.gui.summary_bar import SummaryBar
from studio.gui.theme import Scheme, Theme
from studio.gui.trust_dialog import TrustDialog
from studio.gui.variants_panel import VariantsPanel
from studio.gui.view_commands import PAGES, view_commands
from studio.resources import Sample
from studio.session.autosave import SavedProject
from studio.session.jobs import Job, JobState
from studio.session.project import Project
from studio.session.session import Change, Session

NO_NETWORK = "{name} holds weights alone. Choose its network (.onnx or .pt2) to measure accuracy and to train."

#: Width of a window that has room for all columns of a layer, in pixels.
_ROOMY = 1200

_LEFT = Qt.DockWidgetArea.LeftDockWidgetArea
_RIGHT = Qt.DockWidgetArea.RightDockWidgetArea
_BOTTOM = Qt.DockWidgetArea.BottomDockWidgetArea


class MainWindow(QMainWindow):
    """Shows one session.

    Args:
        session: what is shown and edited; the window closes it.
        theme: colours.
        samples: offered on the first page and in the menu.
    """

    def __init__(self, session: Session, theme: Theme, samples: Sequence[Sample]) -> None:
        super().__init__()
        self._session = session
        self._theme = theme
        self._left: SavedProject | None = None
        self.selection = Selection()
        self.notice = NoticeBar()
        self.arrivals = Arrivals(self, session, self.notice)
        self.commands = Commands(
            self, session, theme, lambda text: self.notice.show_message(text, "bad"), self.arrivals.take_data
        )
        self.setAcceptDrops(True)
        viewing = view_commands(
            self._show_palette, self._find, self._show_page, self._choose_theme, self.commands.why_no_model
        )
        self.actions_table = Actions(self, [*self.commands.table(samples), *viewing])
        self._make_panels(samples)
        self._place_panels()
        self._connect()
        self._show_stage()
        self._refresh()

    def _make_panels(self, samples: Sequence[Sample]) -> None:
        session, theme, actions = self._session, self._theme, self.actions_table.by_name
        self.start_page = StartPage(samples)
        self.start_page.show_recent(session.preferences.recent)
        self.summary = SummaryBar(session, actions["latency"], _offered(actions))
        self.layers = LayerTable(LayerModel(session), self.selection, theme)
        self.overview = OverviewPanel(session, self.selection)
        self.layer = LayerPanel(session, self.selection, theme)
        self.sensitivity = SensitivityPanel(session, self.selection, theme)
        self.settings = SettingsPanel(session, self.selection)
        self.options = OptionsSection(session)
        self.distill = DistillPanel(session, theme)
        self.graph = GraphPanel(theme)
        self.variants = VariantsPanel(session.variants, session.latencies, theme, self.commands.keep_variant)
        self.jobs = JobsPanel(session.jobs)
        self.data = DataStatus(
            session, self._button("Test data …", "test_data"), self._button("Training data …", "train_data")
        )

    def _place_panels(self) -> None:
        self.setWindowTitle("Compression Studio")
        self.setMinimumSize(960, 620)
        self.resize(1280, 800)
        pages = (self.overview, self.layer, self.sensitivity, self.distill, self.graph)
        self.tabs = _tabs(*zip(PAGES, pages, strict=True))
        self.bottom = _tabs(("Variants", self.variants), ("Jobs", self.jobs))
        self._stage = QStackedWidget()
        self._stage.addWidget(self.start_page)
        self._stage.addWidget(self.tabs)
        top = QWidget()
        column = QVBoxLayout(top)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.summary)
        noted = QVBoxLayout()  # as wide as the window: what it offers needs the width
        noted.setContentsMargins(8, 0, 8, 0)
        noted.addWidget(self.notice)
        column.addLayout(noted)
        centre = QWidget()
        middle = QVBoxLayout(centre)
        middle.setContentsMargins(0, 0, 0, 0)
        middle.addWidget(self._stage, 1)
        self.setCentralWidget(centre)
        self.setMenuWidget(_stack(self.menuBar(), top))
        self.setCorner(Qt.Corner.BottomRightCorner, _RIGHT)
        self.docks = [
            self._dock("Layers", self.layers, _LEFT),
            self._dock("Settings", _stack(self.settings, self.options), _RIGHT),
            self._dock("Variants and jobs", self.bottom, _BOTTOM),
        ]
        self.docks[2].setTitleBarWidget(QWidget())  # its tabs are title enough
        self._widen()
        self.resizeDocks(self.docks[2:], [210], Qt.Orientation.Vertical)
        self.statusBar().addPermanentWidget(self.data, 1)
        for dock in self.docks:
            self.actions_table.menus["View"].addAction(dock.toggleViewAction())

    def _connect(self) -> None:
        session = self._session
        self.start_page.browse.connect(self.commands.open_model)
        self.start_page.dropped.connect(self.arrivals.take)
        self.start_page.recent_chosen.connect(session.open_recent)
        self.start_page.sample_chosen.connect(session.open_sample)
        self.overview.scan.connect(self._scan)
        for chosen in (self.layers.view.clicked, self.layers.view.activated):
            chosen.connect(self._leave_overview)
        self.variants.chosen.connect(session.apply_variant)
        self.variants.selected.connect(self.distill.show_variant)
        self.variants.curves_wanted.connect(self._show_training)
        session.changed.connect(self._follow)
        session.notice.connect(self.notice.show_message)
        session.opening.connect(self._show_opening)
        session.students.written.connect(self._offer_student)
        session.trust.needed.connect(self._ask_for_trust)
        session.network_missing.connect(self._offer_skeleton)
        session.jobs.added.connect(self._show_jobs)
        session.jobs.changed.connect(self._finish_job)

    def _widen(self) -> None:
        """Gives the docks at the sides the width that they need to show all."""
        self.resizeDocks(self.docks[:2], [520, 300], Qt.Orientation.Horizontal)

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Gives the docks their width back once there is room again: Qt gives all of it to the centre."""
        super().resizeEvent(event)
        if event.oldSize().width() < _ROOMY <= event.size().width():
            self._widen()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Welcomes models and data anywhere on the window."""
        if dropped_paths(event.mimeData()):
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Takes them in."""
        event.acceptProposedAction()
        self.arrivals.take(dropped_paths(event.mimeData()))

    def offer_restore(self) -> None:
        """Offers what the last session left behind, now and again once its model is opened."""
        self._left = self._session.recoverable()
        self._offer_left()

    def _offer_left(self) -> None:
        left, project = self._left, self._session.project
        if left is not None and (project is None or project.info.path == left.model):
            self.notice.offer(left_text(left), "Restore it", self._restore)

    def _restore(self) -> None:
        left, self._left = self._left, None
        if left is not None:
            self._session.restore(left)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Ends the session and what the panels started."""
        self.graph.close_server()
        self._session.close()
        super().closeEvent(event)

    def _follow(self, change: Change) -> None:
        if "model" in change.kinds and self._session.project is not None:
            info = self._session.project.info
            self.notice.hide()
            self._offer_left()
            self.jobs.forget_ended()
            self._show_stage()
            self.tabs.setCurrentWidget(self.overview)
            if Path(info.path).is_file():
                self.graph.show_original(info.skeleton or info.path)
            self.selection.select((info.layers[0].name,) if info.layers else ())
            self.start_page.show_recent(self._session.preferences.recent)
        self._refresh()

    def _show_stage(self) -> None:
        """Shows the first page, or the panels once there is a model."""
        project = self._session.project
        opened = project is not None
        self._stage.setCurrentWidget(self.tabs if opened else self.start_page)
        for widget in (self.summary, *self.docks, self.statusBar()):
            widget.setVisible(opened)
        if project is not None:
            self.setWindowTitle(f"{project.info.path.rsplit('/', 1)[-1]} – Compression Studio")

    def _refresh(self) -> None:
        self.actions_table.refresh()
        project = self._session.project
        for name, history_label in (
            ("undo", project.history.undo_label if project else None),
            ("redo", project.history.redo_label if project else None),
        ):
            action = self.actions_table.by_name[name]
            action.setText(f"&{name.title()}" if history_label is None else f"&{name.title()}: {history_label}")
            action.setIconText(name.title())
        self.actions_table.by_name["search"].setIconText("Target")

    def _show_opening(self, opening: bool) -> None:
        self.start_page.setEnabled(not opening)
        self.setCursor(Qt.CursorShape.BusyCursor if opening else Qt.CursorShape.ArrowCursor)

    def _ask_for_trust(self, path: str, fingerprint: str) -> None:
        """Asks whether a program may run."""
        TrustDialog(path, lambda: self._session.trust.give(path, fingerprint), self).open()

    def _offer_skeleton(self, checkpoint: str) -> None:
        """Offers to choose the network of weights that came alone."""
        choose = partial(self.commands.choose_skeleton, checkpoint)
        self.notice.offer(NO_NETWORK.format(name=Path(checkpoint).name), "Choose the network …", choose)

    def _offer_student(self, path: str, project: Project, found: str) -> None:
        """Offers a student that has learnt as a model of its own, with the data of its teacher."""
        test, train = (data.path if data is not None else None for data in (project.test, project.train))
        self.notice.offer(found, "Open it", lambda: self._session.open_model(path, test=test, train=train))

    def _show_jobs(self, _job: Job) -> None:
        self.bottom.setCurrentWidget(self.jobs)

    def _finish_job(self, job: Job) -> None:
        """Shows the proof of an export, once."""
        if job.kind == "search" and job.outcome is self._session.searches.outcome is not None:
            dialog = self.commands.searching
            if dialog is None or not dialog.isVisible():
                self.notice.offer(offer_text(self._session), "Look at it", self.commands.search)
        if job.kind == "export" and job.state is JobState.DONE:
            report = cast("ExportReport", job.outcome)
            self.graph.show_exported(report.out)
            ExportReportDialog(report, self).open()

    def _show_training(self) -> None:
        self.tabs.setCurrentWidget(self.distill)
        self.distill.pages.setCurrentIndex(PROGRESS)

    def _leave_overview(self) -> None:
        """Who picks a layer wants to see it."""
        if self.tabs.currentWidget() is self.overview:
            self.tabs.setCurrentWidget(self.layer)

    def _scan(self) -> None:
        """Measures all layers where one sees their curves come."""
        self.tabs.setCurrentWidget(self.sensitivity)
        self.sensitivity.start.click()

    def _show_page(self, number: int) -> None:
        self.tabs.setCurrentIndex(number)

    def _show_palette(self) -> None:
        others = (action for name, action in self.actions_table.by_name.items() if name != "palette")
        palette = CommandPalette(others, self)
        palette.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        palette.open()

    def _find(self) -> None:
        self.docks[0].show()
        self.layers.search.setFocus()

    def _choose_theme(self, scheme: Scheme) -> None:
        self._theme.choose(scheme)
        self._session.set_theme(scheme.value)

    def _button(self, text: str, command: str) -> QPushButton:
        button = QPushButton(text)
        action = self.actions_table.by_name[command]
        button.setToolTip(action.toolTip())
        button.clicked.connect(action.trigger)
        return button

    def _dock(self, title: str, widget: QWidget, area: Qt.DockWidgetArea) -> QDockWidget:
        dock = QDockWidget(title)
        dock.setObjectName(title)
        dock.setWidget(widget)
        self.addDockWidget(area, dock)
        return dock


def left_text(left: SavedProject) -> str:
    """What the last session left behind, in one line."""
    name, steps = Path(left.model).name, len(left.steps) - 1
    taken = f" with {steps} step{'s' if steps > 1 else ''} taken" if steps else ""
    return f"The last session ended with {name} open{taken}."


def _offered(actions: Mapping[str, QAction]) -> list[QAction]:
    """The commands that are buttons at the top."""
    return [actions[name] for name in ("undo", "redo", "search", "export")]


def _tabs(*pages: tuple[str, QWidget]) -> QTabWidget:
    tabs = QTabWidget()
    tabs.setDocumentMode(True)
    tabs.tabBar().setDrawBase(False)
    for title, page in pages:
        tabs.addTab(page, title)
    return tabs


def _stack(*widgets: QWidget) -> QWidget:
    """Widgets one above the other."""
    box = QWidget()
    layout = QVBoxLayout(box)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(0)
    for widget in widgets:
        layout.addWidget(widget)
    return box
