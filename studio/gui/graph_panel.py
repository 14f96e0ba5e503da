"""The model's graph, drawn by Netron inside the window: the original, and the exported file beside it.

Nothing is started before the panel is first seen. Where QtWebEngine is missing, buttons open the graphs in the browser.
"""

import os
from pathlib import Path

from PySide6.QtCore import Qt, QUrl
from PySide6.QtGui import QDesktopServices, QShowEvent
from PySide6.QtWidgets import QPushButton, QSplitter, QVBoxLayout, QWidget

from studio.gui.graph_server import GraphServer
from studio.gui.labels import ElidedLabel, label
from studio.gui.theme import Theme

try:
    from studio.gui.web_view import GraphView
except ImportError:  # QtWebEngine is a separate package on some systems
    GraphView = None  # type: ignore[assignment, misc]


class GraphPanel(QWidget):
    """Shows up to two model files."""

    def __init__(self, theme: Theme, server: GraphServer | None = None) -> None:
        super().__init__()
        self._theme = theme
        self._server = server
        self._files: dict[str, Path] = {}
        self._panes: dict[str, QWidget] = {}
        self._empty = label("The graph of the opened model appears here.", "detail")
        self._splitter = QSplitter(Qt.Orientation.Horizontal)
        self._splitter.setChildrenCollapsible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 8, 8, 8)
        layout.addWidget(self._empty)
        layout.addWidget(self._splitter, 1)

    def show_original(self, path: str) -> None:
        """Shows the graph of the opened model, alone."""
        self._remove("Exported")
        self._show("Original", Path(path))

    def show_exported(self, path: str) -> None:
        """Shows the graph of the exported file beside the original."""
        self._show("Exported", Path(path))

    def showEvent(self, event: QShowEvent) -> None:
        """Begins drawing what was asked for while the panel was out of sight."""
        super().showEvent(event)
        for title in list(self._files):
            self._draw(title)

    def close_server(self) -> None:
        """Ends what the panel started."""
        for title in list(self._panes):
            self._remove(title)
        if self._server is not None:
            self._server.close()
            self._server = None

    def _show(self, title: str, path: Path) -> None:
        self._remove(title)
        self._files[title] = path
        if self.isVisible():
            self._draw(title)

    def _draw(self, title: str) -> None:
        if title in self._panes:
            return
        if self._server is None:
            self._server = GraphServer()
        path = self._files[title]
        pane = _Pane(f"{title}: {path.name}", self._server.address(path), self._theme, self._server.host)
        self._panes[title] = pane
        self._splitter.addWidget(pane)
        self._empty.hide()

    def _remove(self, title: str) -> None:
        self._files.pop(title, None)
        pane = self._panes.pop(title, None)
        if pane is not None:
            pane.setParent(None)
            pane.deleteLater()


class _Pane(QWidget):
    """One graph under its title."""

    def __init__(self, title: str, address: str, theme: Theme, host: str) -> None:
        super().__init__()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(ElidedLabel(title, "heading", Qt.TextElideMode.ElideMiddle))
        browser = QPushButton("Open in the browser")
        browser.setToolTip("Show this graph in a browser window")
        browser.clicked.connect(lambda: QDesktopServices.openUrl(QUrl(address)))
        reason = why_no_web_view()
        if reason:
            layout.addWidget(label(reason, "reason", wrap=True))
            layout.addWidget(browser)
            layout.addStretch(1)
        else:
            layout.addWidget(GraphView(address, host, theme), 1)


def why_no_web_view() -> str:
    """The reason why graphs open in the browser, empty when they are shown inside the window.

    Chromium ends the whole process when it is started by root with its sandbox on, so it is not started then.
    """
    if GraphView is None:
        return "This Qt has no web view (QtWebEngine), so the graph opens in the browser."
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    if is_root and os.environ.get("QTWEBENGINE_DISABLE_SANDBOX") != "1":
        return "The studio was started by root, for whom the web view is too risky: the graph opens in the browser."
    return ""
