"""A server on this machine whose responses a test writes: what an OpenAI-compatible server does well and wrongly."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.origin import Quiet


class Asked:
    """One request: its path, headers and body; `send` answers it."""

    def __init__(self, handler: BaseHTTPRequestHandler, content: bytes) -> None:
        self.handler, self.content = handler, content
        self.path, self.headers = handler.path, dict(handler.headers.items())

    @property
    def body(self) -> dict[str, Any]:
        decoded: dict[str, Any] = json.loads(self.content)
        return decoded

    @property
    def prompt(self) -> str:
        return str(self.body["messages"][0]["content"][1]["text"])

    @property
    def image(self) -> str:
        return str(self.body["messages"][0]["content"][0]["image_url"]["url"])

    def send(self, content: bytes, status: int = 200, length: int | None = None, **headers: str) -> None:
        self.handler.send_response(status)
        for name, value in headers.items():
            self.handler.send_header(name.replace("_", "-"), value)
        self.handler.send_header("Content-Length", str(len(content) if length is None else length))
        self.handler.end_headers()
        self.handler.wfile.write(content)

    def reply(self, text: object, finish: str = "stop", **message: Any) -> None:
        """Answers well, with a text."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}
        self.send(json.dumps({"choices": [choice], "usage": {"completion_tokens": 3}}).encode())


@dataclass
class Loopback:
    """A running server: its address, and the requests so far."""

    port: int
    asked: list[Asked] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"


@contextmanager
def serving(respond: Callable[[Asked, int], None]) -> Iterator[Loopback]:
    """A server that calls `respond` with each request and its number, from 0."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = Asked(self, self.rfile.read(int(self.headers.get("Content-Length", 0))))
            with lock:
                server.asked.append(asked)
                number = len(server.asked) - 1
            try:
                respond(asked, number)
            except OSError:  # the client has gone
                self.close_connection = True

        do_GET = do_POST

        def log_message(self, *args: object) -> None: ...

    http = Quiet(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.block_on_close = False
    server = Loopback(http.server_address[1])
    thread = threading.Thread(target=lambda: http.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
