"""A hub on this machine: the part of the Hugging Face protocol that downloads use, over local folders."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from threading import Thread
from urllib.parse import unquote

from tests.origin import Quiet

COMMIT = "f0acedb000000000000000000000000000000000"


@dataclass
class Hub:
    """`asked` lists the requests as `METHOD path`; a download is cut off after `break_after` bytes.

    The files of a `gated` repository are refused: with status 401 without a token, else with 403.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    break_after: int | None = None
    gated: set[str] = field(default_factory=set)


@contextmanager
def serving(repos: Mapping[tuple[str, str], Path]) -> Iterator[Hub]:
    """Serves {(repository, revision): folder} until the block ends."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def do_GET(self) -> None:
            self.answer(body=True)

        def answer(self, body: bool) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = unquote(self.path.partition("?")[0]).strip("/").split("/")
            if parts[:2] == ["api", "datasets"]:
                return self.describe("/".join(parts[2:4]), parts[5] if len(parts) > 5 else "main")
            if parts[0] == "datasets":
                del parts[0]
            if len(parts) < 5 or parts[2] != "resolve":
                return self.fail("RepoNotFound")
            repo, revision, name = "/".join(parts[:2]), parts[3], "/".join(parts[4:])
            known = {key[1] for key in repos if key[0] == repo}
            if not known:
                return self.fail("RepoNotFound")
            if repo in hub.gated:
                return self.fail("GatedRepo", 403 if self.headers.get("Authorization") else 401)
            if revision not in known and revision != COMMIT:
                return self.fail("RevisionNotFound")
            folder = repos[repo, revision if revision in known else next(iter(known))]
            path = folder / name
            if not path.is_file():
                return self.fail("EntryNotFound")
            data = path.read_bytes()
            begin = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").split("-")[0])
            self.send_response(206 if begin else 200)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha1(data).hexdigest()}"')
            self.send_header("Accept-Ranges", "bytes")
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}")
            self.send_header("Content-Length", str(len(data) - begin))
            self.end_headers()
            if not body:
                return None
            rest = data[begin:]
            if hub.break_after is not None and len(rest) > hub.break_after:
                self.wfile.write(rest[: hub.break_after])
                self.close_connection = True
                return None
            self.wfile.write(rest)
            return None

        def describe(self, repo: str, revision: str) -> None:
            """Answers the API's question about a data set: its commit and its files."""
            known = {key[1] for key in repos if key[0] == repo}
            if not known:
                return self.fail("RepoNotFound")
            if revision not in known and revision != COMMIT:
                return self.fail("RevisionNotFound")
            folder = repos[repo, revision if revision in known else next(iter(known))]
            names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
            about = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name in names]}
            data = json.dumps(about).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
            return None

        def fail(self, code: str, status: int = 404) -> None:
            self.send_response(status)
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Logs nothing."""

    server = Quiet(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
