"""Serves Netron's own page and the models it draws, on the loopback address only.

Netron brings a server too. This one is used instead because that one shares one model among all its servers (so no
original beside the exported file), hands out the model's whole folder to anyone on the machine, and its page asks for
consent to analytics and, half a year after Netron's release, shows nothing but a request to update. Here every model
has an address that cannot be guessed, nothing else is handed out, and the page runs as Netron's unreleased version,
which neither collects anything nor ages.
"""

import re
import secrets
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from urllib.parse import quote, unquote, urlsplit

_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
}
_VERSION = re.compile(r'<meta name="version" content="[^"]*">')
_DATE = re.compile(r'<meta name="date" content="[^"]*">\s*')


class GraphServer:
    """A loopback server on a free port; it lives until `close`.

    Attributes:
        host: address and port, such as ``127.0.0.1:40123``.
    """

    def __init__(self) -> None:
        self._models: dict[str, Path] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, netron_folder(), self._models))
        self._server.daemon_threads = True
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, name="graph-server", daemon=True).start()

    def address(self, model: Path) -> str:
        """The address of the page that draws `model`."""
        token = secrets.token_urlsafe(16)
        self._models[token] = model
        name = quote(model.name, safe="")
        return f"http://{self.host}/?url=%2Fmodel%2F{token}%2F{name}&identifier={name}"

    def close(self) -> None:
        """Ends the server."""
        self._server.shutdown()
        self._server.server_close()


def netron_folder() -> Path:
    """Where Netron's page is installed; Netron itself is not imported.

    Raises:
        ModuleNotFoundError: Netron is not installed.
    """
    spec = find_spec("netron")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("netron")
    return Path(spec.origin).parent


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    def __init__(self, folder: Path, models: dict[str, Path], *arguments: object) -> None:
        self._folder = folder
        self._models = models
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        """Sends the page, a part of it, or a model."""
        path = unquote(urlsplit(self.path).path)
        parts = path.strip("/").split("/")
        if parts[0] == "model" and len(parts) == 3 and parts[1] in self._models:
            self._send(self._models[parts[1]], "application/octet-stream")
        elif len(parts) == 1:
            name = parts[0] or "index.html"
            self._send(self._folder / name, _TYPES.get(Path(name).suffix))
        else:
            self.send_error(HTTPStatus.NOT_FOUND)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the base class's name)
        """Stays quiet."""

    def _send(self, file: Path, kind: str | None) -> None:
        if kind is None or not file.is_file():
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        content = file.read_bytes()
        if file.name == "index.html":
            content = page(content.decode("utf-8")).encode("utf-8")
        elif file.name == "view.js":
            content = script(content.decode("utf-8")).encode("utf-8")
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        # spares the question about analytics, which this version of the page never runs
        self.send_header("Set-Cookie", "consent=0; SameSite=Strict; Path=/")
        self.end_headers()
        with suppress(ConnectionError):  # the view was closed meanwhile
            self.wfile.write(content)


def script(text: str) -> str:
    """Netron's script with the brackets of mathematics: those it writes about shapes are in Chinese fonts alone."""
    return text.replace(r"\u3008", r"\u27e8").replace(r"\u3009", r"\u27e9")


def page(html: str) -> str:
    """Netron's page as its unreleased version: without a release date, and so without analytics and expiry."""
    return _DATE.sub("", _VERSION.sub('<meta name="version" content="0.0.0">', html))
