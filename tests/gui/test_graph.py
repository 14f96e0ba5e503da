import sys
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from PySide6.QtCore import QUrl

from studio.gui.graph_panel import GraphPanel, why_no_web_view
from studio.gui.graph_server import GraphServer, netron_folder, page, script


@pytest.fixture
def server():
    made = GraphServer()
    yield made
    made.close()


def fetch(server: GraphServer, path: str) -> tuple[int, bytes]:
    connection = HTTPConnection(server.host, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_the_page_draws_exactly_the_model_of_its_address(server, tmp_path: Path):
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(name.encode())
    addresses = [server.address(tmp_path / name) for name in ("a.onnx", "b.onnx")]
    models = [parse_qs(urlsplit(address).query)["url"][0] for address in addresses]
    assert [fetch(server, model) for model in models] == [(200, b"a.onnx"), (200, b"b.onnx")]


def test_nothing_but_netron_and_registered_models_is_handed_out(server, tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(b"model")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    address = parse_qs(urlsplit(server.address(tmp_path / "model.onnx")).query)["url"][0]
    token = address.split("/")[2]
    for path in (
        f"/model/{token}/../secret.txt",
        "/model/guess/model.onnx",
        "/../server.py",
        "/%2e%2e/setup.py",
        "/server.py",
    ):
        assert fetch(server, path)[0] == 404


def test_netrons_page_runs_without_analytics_and_without_an_expiry_date():
    original = (netron_folder() / "index.html").read_text(encoding="utf-8")
    served = page(original)
    assert '<meta name="version" content="0.0.0">' in served
    assert 'name="date"' in original
    assert 'name="date"' not in served


def test_showing_a_graph_does_not_bring_model_parsers_into_the_windows_process(server):
    assert fetch(server, "/")[0] == 200
    assert "netron" not in sys.modules


def test_requests_that_leave_the_graph_server_are_blocked():
    web_view = pytest.importorskip("studio.gui.web_view")

    class Request:
        def __init__(self, address: str) -> None:
            self.address, self.blocked = address, False

        def requestUrl(self) -> QUrl:
            return QUrl(self.address)

        def block(self, blocked: bool) -> None:
            self.blocked = blocked

    interceptor = web_view.LoopbackOnly("127.0.0.1:5000")
    allowed = [Request("http://127.0.0.1:5000/view.js"), Request("data:image/png;base64,AA"), Request("blob:x")]
    refused = [
        Request("https://ipinfo.io/json"),
        Request("http://127.0.0.1:5001/"),
        Request("http://user@127.0.0.1:5000/"),
        Request("file:///etc/passwd"),
    ]
    for request in (*allowed, *refused):
        interceptor.interceptRequest(request)
    assert [request.blocked for request in (*allowed, *refused)] == [False] * 3 + [True] * 4


def test_nothing_is_started_before_the_graph_is_looked_at(theme, qtbot):
    panel = GraphPanel(theme)
    qtbot.addWidget(panel)
    panel.show_original("/models/digits.onnx")
    assert panel._server is None
    assert panel._panes == {}


def test_without_a_web_view_a_button_opens_the_browser(theme, qtbot, monkeypatch, tmp_path: Path):
    opened = []
    monkeypatch.setattr("studio.gui.graph_panel.GraphView", None)
    monkeypatch.setattr("studio.gui.graph_panel.QDesktopServices.openUrl", opened.append)
    (tmp_path / "m.onnx").write_bytes(b"x")
    panel = GraphPanel(theme)
    qtbot.addWidget(panel)
    panel.show()
    panel.show_original(str(tmp_path / "m.onnx"))
    pane = panel._panes["Original"]
    button = next(child for child in pane.children() if getattr(child, "text", str)() == "Open in the browser")
    button.click()
    panel.close_server()
    assert len(opened) == 1
    assert opened[0].host() == "127.0.0.1"


def test_root_gets_the_browser_because_chromium_would_end_the_process(monkeypatch):
    monkeypatch.setattr("studio.gui.graph_panel.GraphView", object)
    monkeypatch.setattr("studio.gui.graph_panel.os.geteuid", lambda: 0, raising=False)
    monkeypatch.delenv("QTWEBENGINE_DISABLE_SANDBOX", raising=False)
    assert "started by root" in why_no_web_view()
    monkeypatch.setenv("QTWEBENGINE_DISABLE_SANDBOX", "1")
    assert why_no_web_view() == ""


def test_shapes_stand_in_brackets_that_every_font_has():
    original = (netron_folder() / "view.js").read_text(encoding="utf-8")
    served = script(original)
    assert r"\u3008" in original
    assert r"\u3008" not in served
    assert served.count(r"\u27e8") == original.count(r"\u3008")
