"""The servers of data sets on this machine: static files as HTTP serves them, and what servers do wrongly.

A file "HOST/PATH" has the address `url`/HOST/PATH, as a mirror has it.  Ranges, ETags and If-Range are as in RFC 9110.
A path's faults are used up one by one, each by one request.
"""

from __future__ import annotations

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple
from urllib.parse import unquote


class Asked(NamedTuple):
    path: str
    headers: dict[str, str]


@dataclass
class Origin:
    """A running server; `files` and `faults` may change while it runs."""

    files: dict[str, bytes]
    url: str = ""
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    ranges: bool = True  # whether parts of a file are served
    etags: str = "strong"  # or "weak", or "" for no validator at all

    def count(self, part: str) -> int:
        """The number of requests whose path contains this."""
        return sum(part in asked.path for asked in self.asked)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    origin: Origin

    def do_GET(self) -> None:
        path = unquote(self.path.partition("?")[0]).lstrip("/")
        self.origin.asked.append(Asked(path, {name.lower(): value for name, value in self.headers.items()}))
        faults = self.origin.faults.get(path, [])
        try:
            if faults:
                faults.pop(0)(self, path)
            else:
                self.serve(path)
        except OSError:  # the client has gone
            self.close_connection = True

    def serve(self, path: str, cut: int | None = None, pause: float = 0.0) -> None:
        """The file or the part of it that was asked for; with `cut`, the connection ends after so many bytes."""
        if path not in self.origin.files:
            return self.answer(404, b"<?xml version='1.0'?><Error><Code>NoSuchKey</Code></Error>")
        data = self.origin.files[path]
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": etag if self.origin.etags == "strong" else f"W/{etag}"} if self.origin.etags else {}
        begin, status = 0, 200
        asked = self.headers.get("Range", "")
        if self.origin.ranges and asked and self.headers.get("If-Range", etag) == etag:
            begin = int(asked.removeprefix("bytes=").split("-")[0])
            if begin >= len(data):
                return self.answer(416, b"", **{"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {begin}-{len(data) - 1}/{len(data)}"
            status = 206
        self.answer(status, data[begin:], cut, pause, **headers)
        return None

    def answer(self, status: int, body: bytes, cut: int | None = None, pause: float = 0.0, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if cut is not None:
            body = body[:cut]
            self.close_connection = True
        if not pause:
            self.wfile.write(body)
            return
        for place in range(0, len(body), 1000):
            self.wfile.write(body[place : place + 1000])
            self.wfile.flush()
            time.sleep(pause)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


Fault = Callable[[Handler, str], None]


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, path: handler.answer(code, body, **named)


def cut(after: int) -> Fault:
    """The connection ends after so many bytes of the body."""
    return lambda handler, path: handler.serve(path, cut=after)


def slow(pause: float) -> Fault:
    """A pause, in seconds, after every 1000 bytes."""
    return lambda handler, path: handler.serve(path, pause=pause)


def silent(seconds: float) -> Fault:
    """No answer for some seconds."""
    return lambda handler, path: time.sleep(seconds)


def redirect(to: str, **headers: str) -> Fault:
    return status(302, Location=to, **headers)


LOGIN = status(200, b"<!DOCTYPE html><html><body>Please log in</body></html>", Content_Type="text/html")


class Quiet(ThreadingHTTPServer):
    """A server that prints nothing of a client that hangs up: what a command prints is under test."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Other errors of a request are printed, as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[Origin]:
    """Serves the files until the block ends."""
    origin = Origin(files)
    server = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"origin": origin}))
    server.daemon_threads = True
    server.block_on_close = False
    origin.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield origin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
