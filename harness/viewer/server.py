"""Serves the pages on the loopback address, read-only.

The address has a random token as its first folder, so that neither another user of the machine nor a page in a browser
can guess it.  A request under another host name is refused, because a name of a stranger may lead to this machine (DNS
rebinding).  So is a request that another site caused.
"""

from __future__ import annotations

import hmac
import logging
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from harness.errors import DataError, HarnessError, ResourceError
from harness.viewer import chunks, contents, page, pictures
from harness.viewer.given import Library

HOST = "127.0.0.1"
SECONDS = 60  # a connection without a byte for so long is closed
TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".jpg": "image/jpeg", "": "text/html"}
log = logging.getLogger(__name__)


class LiveLibrary(Library, Protocol):
    """A library whose runs change while they are viewed."""

    def stamp(self) -> dict[str, str]:
        """A text for each run, by id, that changes with its files."""
        ...

    def image(self, name: str, side: int) -> bytes:
        """The JPEG file of a picture that `picture` has named; KeyError for another name, DataError if it is gone."""
        ...


class Server(ThreadingHTTPServer):
    """Serves a library; port 0 takes a free port.  ResourceError if the port cannot be used."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, library: LiveLibrary, port: int) -> None:
        self.library, self.token, self.files = library, secrets.token_urlsafe(24), page.files()
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ResourceError(f"{HOST}:{port} cannot be served: {reason}; try another --port") from error

    @property
    def url(self) -> str:
        """The address of the first page."""
        return f"http://{HOST}:{self.server_address[1]}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing for a client that went away; any other error is logged."""
        if not isinstance(sys.exception(), OSError):
            log.exception("a request failed")


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version = "florence2-harness"
    sys_version = ""
    timeout = SECONDS

    def do_GET(self) -> None:
        """Sends a file of the pages, a chunk or a picture."""
        if refused := self._refused():
            self.send_error(403, refused)
            return
        token, _, path = unquote(urlsplit(self.path).path).lstrip("/").partition("/")
        if not hmac.compare_digest(token.encode(), self.server.token.encode()):
            self.send_error(404)
            return
        try:
            self._send(200, *self._content(path))
        except KeyError:
            self.send_error(404)
        except DataError as error:
            self.send_error(404, str(error))
        except HarnessError as error:
            self.send_error(503, str(error))

    do_HEAD = do_GET

    def _refused(self) -> str:
        """Why the request is refused: another host name, or another site; "" if it is not."""
        port = self.server.server_address[1]
        hosts = {f"{HOST}:{port}", f"localhost:{port}"}
        if self.headers.get_all("Host", [""])[-1] not in hosts or len(self.headers.get_all("Host", [])) != 1:
            return "unknown host"
        if self.headers.get("Origin") not in (None, *(f"http://{host}" for host in hosts)):
            return "requests of other sites are refused"
        if self.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
            return "requests of other sites are refused"
        return ""

    def _content(self, path: str) -> tuple[str, bytes]:
        """The type and the content of a path below the token; KeyError if there is none."""
        library, (folder, _, name) = self.server.library, path.partition("/")
        if path in ("", "index.html"):
            return TYPES[""], page.index(contents.payload(library, "overview", live=True)).encode()
        kind = TYPES[PurePosixPath(name).suffix or "none"]
        if folder == "app":
            return kind, self.server.files[name]
        if folder == "data" and name == "stamp.js":
            return kind, chunks.script("stamp", library.stamp()).encode()
        if folder == "data" and name.endswith(".js"):
            chunk = name.removesuffix(".js")
            stamps = library.stamp()  # before the payload is made, so that no change after it is missed
            payload = contents.payload(library, chunk, live=True)
            if chunk == "overview":
                payload["stamps"] = stamps
            return kind, chunks.script(chunk, payload).encode()
        if folder in ("images", "thumbs"):
            side = pictures.LONG_SIDE if folder == "images" else pictures.SMALL_SIDE
            return kind, library.image(name, side)
        raise KeyError(path)

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind if kind.startswith("image/") else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "private, max-age=3600" if kind == "image/jpeg" else "no-store")
        self.send_header("Content-Security-Policy", f"{page.POLICY}; frame-ancestors 'none'")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("X-Content-Type-Options", "nosniff")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """An error as plain text; the connection is closed."""
        self.close_connection = True
        said = message or self.responses.get(code, ("error", ""))[0]
        self._send(
            code, "text/plain", "".join(each if each.isprintable() else " " for each in said).encode("utf-8", "replace")
        )

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are not logged."""
