"""The HTTP server: POST /v1/chat/completions, GET /v1/models and GET /health, on one address.

It has no password.  A request of a web page (with the header Origin) is refused, so that no page which a browser of
this machine shows can use the server.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from harness.errors import ResourceError
from harness.serving import requests
from harness.serving.requests import BadRequest
from harness.serving.worker import Worker

SECONDS = 60  # a connection without a byte for so long is closed
log = logging.getLogger(__name__)


class Server(ThreadingHTTPServer):
    """Serves one model under the name `served`; port 0 takes a free port.

    ResourceError if the address cannot be used.  `serve_forever` runs until `shutdown`.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, worker: Worker, served: str, host: str, port: int) -> None:
        self.worker, self.served = worker, served
        try:
            super().__init__((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise ResourceError(f"{host}:{port} cannot be served: {error}; try another --port") from error

    @property
    def url(self) -> str:
        """The address of the API."""
        host, port = self.server_address[:2]
        return f"http://{host!s}:{port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing for a client that went away; any other error is logged."""
        import sys

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
        """Lists the model, or says that the server runs."""
        if self.path == "/v1/models":
            model = {"id": self.server.served, "object": "model", "created": 0, "owned_by": "florence2-harness"}
            self._send(200, {"object": "list", "data": [model]})
        elif self.path == "/health":
            self._send(200, {"status": "ok"})
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Answers a chat completion."""
        try:
            content = self._content()
            completion = requests.parse(content, self.server.served, self.server.worker.longest)
            written = self.server.worker.ask(completion)
        except BadRequest as error:
            self.send_error(error.status, str(error))
            return
        if completion.stream:
            self._stream(requests.events(written, completion, self.server.served))
        else:
            self._send(200, requests.response(written, completion, self.server.served))

    def _content(self) -> bytes:
        """The body of a request; BadRequest for another path, a web page, or a body that is missing or too long."""
        if self.path != "/v1/chat/completions":
            raise BadRequest(f"there is no {self.path[:100]!r}; POST /v1/chat/completions", 404)
        if "Origin" in self.headers:
            raise BadRequest("requests of web pages are refused", 403)
        if self.headers.get_content_type() != "application/json":
            raise BadRequest("Content-Type must be application/json", 415)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal() and len(length) < 20):
            raise BadRequest("Content-Length is needed", 411)
        if int(length) > requests.MOST_BYTES:
            raise BadRequest(f"the body has {int(length):,} bytes; at most {requests.MOST_BYTES:,}", 413)
        content = self.rfile.read(int(length))
        if len(content) < int(length):
            raise BadRequest("the body was cut off")
        return content

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if status == 503:
            self.send_header("Retry-After", "1")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _stream(self, events: list[dict[str, Any]]) -> None:
        self.close_connection = True
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        lines = [*map(json.dumps, events), "[DONE]"]
        self.wfile.write("".join(f"data: {line}\n\n" for line in lines).encode())

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """An error as JSON, in OpenAI's form; the connection is closed, since the body may be unread."""
        self.close_connection = True
        said = message or self.responses.get(code, ("error", ""))[0]
        self._send(code, {"error": {"message": said, "type": "invalid_request_error", "code": code}})

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are not logged."""
