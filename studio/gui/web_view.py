"""A web view that shows one page of one loopback server and reaches nothing else. Needs QtWebEngine."""

from PySide6.QtCore import QObject, QUrl
from PySide6.QtGui import QColor
from PySide6.QtWebEngineCore import (
    QWebEnginePage,
    QWebEngineProfile,
    QWebEngineUrlRequestInfo,
    QWebEngineUrlRequestInterceptor,
)
from PySide6.QtWebEngineWidgets import QWebEngineView

from studio.gui.theme import Theme

#: Decides the page's dark style rules by the studio's theme: the page itself only knows the desktop's.
_PAINT = """
for (const sheet of document.styleSheets) {
    for (const rule of sheet.cssRules) {
        if (rule.media && (rule.dark || rule.media.mediaText.includes('prefers-color-scheme: dark'))) {
            rule.dark = true;
            rule.media.mediaText = %s;
        }
    }
}
"""


class LoopbackOnly(QWebEngineUrlRequestInterceptor):
    """Blocks every request that does not go to the graph server.

    Attributes:
        blocked: addresses that were refused.
    """

    def __init__(self, host: str, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._host = host
        self.blocked: list[str] = []

    def interceptRequest(self, info: QWebEngineUrlRequestInfo) -> None:
        """Refuses whatever is not the server's own, or made by the page itself."""
        url = info.requestUrl()
        own = url.scheme() == "http" and url.authority() == self._host
        if not own and url.scheme() not in ("data", "blob"):
            self.blocked.append(url.toString())
            info.block(True)


class GraphView(QWebEngineView):
    """Shows a graph page; light and dark follow the theme."""

    def __init__(self, address: str, host: str, theme: Theme) -> None:
        super().__init__()
        self._theme = theme
        profile = QWebEngineProfile()  # off the record: no cookies, no cache on disk
        self.interceptor = LoopbackOnly(host, profile)
        profile.setUrlRequestInterceptor(self.interceptor)
        self.setPage(QWebEnginePage(profile, self))
        profile.setParent(self.page())  # so that it outlives the page, as it must
        self.setAccessibleName("Graph of the model")
        theme.changed.connect(self._paint)
        self.loadFinished.connect(self._paint)
        self._paint()
        self.load(QUrl(address))

    def _paint(self) -> None:
        self.page().setBackgroundColor(QColor(self._theme.colours.base))
        self.page().runJavaScript(_PAINT % ("'all'" if self._theme.is_dark else "'not all'"))
