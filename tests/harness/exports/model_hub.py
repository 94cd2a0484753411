"""A hub on this machine with one repository of a model, which answers what `huggingface_hub` asks to read and commit.

    GET  /api/models/OWNER/NAME                     its head commit and the names of its files
    HEAD, GET  /OWNER/NAME/resolve/COMMIT/FILE      a file
    POST /api/validate-yaml                         the metadata of a card
    POST /api/models/OWNER/NAME/preupload/main      how each file is uploaded
    POST /api/models/OWNER/NAME/commit/main         the commit, as lines of JSON

A commit is refused like the hub's: without write access (403), and with another parent than the head (412).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

from tests.origin import Quiet

REPOSITORY = "someone/model"
READER, WRITER = "hf_reader", "hf_writer"  # tokens


@dataclass
class ModelHub:
    """The repository's files; `asked` are the requests, and `refuse` the status and body for a part of an address."""

    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[dict[str, Any]] = field(default_factory=list)
    pull_requests: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    tokens: set[str | None] = field(default_factory=set)
    refuse: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    url: str = ""

    @property
    def head(self) -> str:
        state = sorted((name, hashlib.sha1(data).hexdigest()) for name, data in self.files.items())
        return hashlib.sha1(json.dumps(state).encode()).hexdigest()


@contextmanager
def serving(hub: ModelHub) -> Iterator[ModelHub]:
    """Serves the hub until the block ends."""
    server = Quiet(("127.0.0.1", 0), type("Bound", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: ModelHub

    def do_HEAD(self) -> None:
        self.answer_request(b"")

    def do_GET(self) -> None:
        self.answer_request(b"")

    def do_POST(self) -> None:
        self.answer_request(self.rfile.read(int(self.headers["Content-Length"])))

    def answer_request(self, body: bytes) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.hub.asked.append(f"{self.command} {path}")
        self.hub.tokens.add(token)
        for part, (status, content) in self.hub.refuse.items():
            if part in path:
                return self.send(status, content)
        if token not in (None, READER, WRITER):
            return self.send(401, b'{"error": "Invalid username or password."}')
        if path == "/api/validate-yaml":
            return self.validate(json.loads(body)["content"])
        if path == f"/api/models/{REPOSITORY}":
            names = [{"rfilename": name} for name in sorted(self.hub.files)]
            return self.send(200, {"id": REPOSITORY, "sha": self.hub.head, "siblings": names})
        if path == f"/api/models/{REPOSITORY}/preupload/main":
            modes = [{"path": each["path"], "uploadMode": "regular", "shouldIgnore": False}
                     for each in json.loads(body)["files"]]  # fmt: skip
            return self.send(200, {"files": modes})
        if path == f"/api/models/{REPOSITORY}/commit/main":
            return self.commit(token, [json.loads(line) for line in body.splitlines()])
        start = f"/{REPOSITORY}/resolve/{self.hub.head}/"
        if path.startswith(start) and (name := path.removeprefix(start)) in self.hub.files:
            return self.send(200, self.hub.files[name], ETag=f'"{hashlib.sha1(self.hub.files[name]).hexdigest()}"')
        return self.send(404, {"error": "Repository not found"}, **{"X-Error-Code": "RepoNotFound"})

    def validate(self, card: str) -> None:
        metadata = yaml.safe_load(card.split("---\n")[1])
        if not isinstance(metadata.get("license", ""), str):
            return self.send(400, {"errors": [{"message": '"license" must be a string'}], "warnings": []})
        warned = [] if "license" in metadata else [{"message": "empty or missing license"}]
        return self.send(200, {"errors": [], "warnings": warned})

    def commit(self, token: str | None, lines: list[dict[str, Any]]) -> None:
        header = lines[0]["value"]
        asks = self.path.endswith("?create_pr=1")
        if token != WRITER and not asks:
            return self.send(403, {"error": "Forbidden"})
        if header["parentCommit"] != self.hub.head:
            return self.send(412, {"error": "The repository has changed"})
        files = {each["value"]["path"]: base64.b64decode(each["value"]["content"]) for each in lines[1:]}
        (self.hub.pull_requests if asks else self.hub.commits).append({**header, "files": files})
        if not asks:
            self.hub.files.update(files)
        address = f"{self.hub.url}/{REPOSITORY}"
        reply = {"commitUrl": f"{address}/commit/{self.hub.head}", "commitOid": self.hub.head}
        return self.send(200, {**reply, "pullRequestUrl": f"{address}/discussions/1" if asks else None})

    def send(self, status: int, content: bytes | dict[str, Any], **headers: str) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"X-Repo-Commit": self.hub.head, **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""
