"""The server of the pages: who may read them, what it serves, and that it writes nothing."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.core import ImageRef
from harness.errors import ResourceError
from harness.viewer import page, pictures
from harness.viewer.server import HOST, Server
from harness.viewer.static import Fixed
from tests.harness.viewer.viewed import library, picture, shown_of


class Served(Fixed):
    """Runs that never change, as the server needs them."""

    def stamp(self) -> dict[str, str]:
        return {run.run.id: "1" for run in self.listed()}

    def image(self, name: str, side: int) -> bytes:
        root, image = self.pictures[name]
        return pictures.jpeg(root, image, side)

    def picture(self, root: Path, image: ImageRef) -> str:
        return pictures.name_of(root, image)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = picture(tmp_path_factory.mktemp("data"))
    fixed = library([shown_of("alpha", root), shown_of("be", root)])
    runs = Served([(item, *fixed.shown(item.run.id)) for item in fixed.listed()], 100)
    with Server(runs, 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Reply(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    content: bytes


def get(server: Server, path: str, method: str = "GET", **headers: str) -> Reply:
    """The reply to a request of a path; a path without a leading slash is below the token."""
    connection = http.client.HTTPConnection(HOST, server.server_address[1], timeout=30)
    try:
        target = path if path.startswith("/") else f"/{server.token}/{path}"
        connection.request(method, target, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        return Reply(response.status, response.headers, response.read())
    finally:
        connection.close()


def test_pages_data_and_pictures_are_served(server: Server) -> None:
    index = get(server, "")
    assert index.status == 200 and index.headers["Content-Type"] == "text/html; charset=utf-8"
    assert b'data-live="yes"' in index.content and b"alpha" in index.content
    for name, content in page.files().items():
        assert get(server, f"app/{name}").content == content
    chunk = get(server, "data/index/id-alpha/0.js?v=3")
    assert chunk.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert chunk.content.startswith(b'harnessData("index/id-alpha/0",')
    [name] = server.library.pictures  # type: ignore[attr-defined]
    for folder in ("images", "thumbs"):
        image = get(server, f"{folder}/{name}")
        assert image.headers["Content-Type"] == "image/jpeg" and image.content[:3] == b"\xff\xd8\xff"
    stamp = get(server, "data/stamp.js").content.decode()
    assert json.loads(stamp[len('harnessData("stamp",') : -3]) == '{"id-alpha":"1","id-be":"1"}'


def test_every_reply_forbids_other_sites_scripts_and_frames(server: Server) -> None:
    for path in ("", "app/app.js", "data/overview.js", "/nothing", "data/none.js"):
        headers = get(server, path).headers
        assert headers["Content-Security-Policy"] == f"{page.POLICY}; frame-ancestors 'none'"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["Access-Control-Allow-Origin"] is None


@pytest.mark.parametrize("path", ["/", "/index.html", "/data/overview.js", "/app/app.js", "/x/", "//", "/%00/"])
def test_nothing_is_served_without_the_token(server: Server, path: str) -> None:
    reply = get(server, path)
    assert reply.status == 404 and reply.content == b"Not Found"


def test_tokens_are_long_and_differ_between_servers() -> None:
    with Server(Served([], 0), 0) as one, Server(Served([], 0), 0) as two:
        assert one.token != two.token and len(one.token) >= 32
        assert one.url == f"http://127.0.0.1:{one.server_address[1]}/{one.token}/"


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Host": "127.0.0.1"}, {"Host": ""}, {"Host": "127.0.0.1.evil.example:80"},
     {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
     {"Sec-Fetch-Site": "same-site"}],
)  # fmt: skip
def test_request_of_another_host_or_site_is_refused(server: Server, headers: dict[str, str]) -> None:
    reply = get(server, "data/overview.js", **headers)
    assert reply.status == 403 and b"alpha" not in reply.content


def test_request_of_the_page_itself_is_served(server: Server) -> None:
    port = server.server_address[1]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}"):
        reply = get(server, "data/overview.js", Host=host, Origin=f"http://{host}", Sec_Fetch_Site="same-origin")
        assert reply.status == 200
    assert get(server, "", Sec_Fetch_Site="none").status == 200


@pytest.mark.parametrize(
    "path",
    ["../etc/passwd", "app/../../etc/passwd", "app/%2e%2e/page.py", "images/../data/overview.js", "images/none.jpg",
     "images/", "thumbs/%00.jpg", "data/run/none.js", "data/run/%2e%2e.js", "data/index/id-alpha/x.js",
     "app/index.html",
     "data/overview", "x.svg", "images/a.exe", "data/pair/id-alpha/id-alpha/x.js"],
)  # fmt: skip
def test_path_of_nothing_is_not_found(server: Server, path: str) -> None:
    assert get(server, path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_methods_that_write_are_refused(server: Server, method: str) -> None:
    assert get(server, "data/overview.js", method).status == 501


def test_head_sends_headers_alone(server: Server) -> None:
    reply = get(server, "", "HEAD")
    assert reply.status == 200 and reply.content == b"" and int(reply.headers["Content-Length"]) > 1000


def test_picture_that_is_gone_is_not_found_and_says_so(tmp_path: Path) -> None:
    fixed = library([shown_of("alpha", tmp_path)])
    [name] = fixed.pictures
    with Server(Served([(item, *fixed.shown(item.run.id)) for item in fixed.listed()], 9), 0) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
        thread.start()
        reply = get(server, f"images/{name}")
        server.shutdown()
        thread.join()
    assert reply.status == 404 and b"x.png" in reply.content


def test_port_in_use_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ResourceError, match=rf"127.0.0.1:{port} cannot be served: .*try another --port"):
            Server(Served([], 0), port)
    with pytest.raises(ResourceError):
        Server(Served([], 0), 99999)


def test_garbage_and_half_requests_leave_the_server_alive(server: Server) -> None:
    for data in (
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70000,
        b"GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        with socket.create_connection((HOST, server.server_address[1]), timeout=10) as client:
            client.sendall(data)
    assert get(server, "").status == 200


def test_requests_in_parallel_are_all_answered(server: Server) -> None:
    replies: list[Any] = []
    threads = [
        threading.Thread(target=lambda: replies.append(get(server, "data/details/id-be/0.js").status))
        for _ in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert replies == [200] * 16
