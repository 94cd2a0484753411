"""HTTP against a server of this machine: ranges, redirects, ETags, retries, and answers that are not the file."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.fetching.network import Network
from harness.fetching.replies import NotFetched
from tests import origin
from tests.origin import Origin, serving

URL = "https://data.example/a/x.json"
PATH = "data.example/a/x.json"
CONTENT = bytes(range(256)) * 40  # 10,240 bytes


@pytest.fixture
def server() -> Iterator[Origin]:
    with serving({PATH: CONTENT}) as running:
        yield running


def network(server: Origin, retries: int = 3, timeout: float = 20.0) -> Network:
    return Network(server.url, retries=retries, first_wait=0.01, timeout=timeout)


def download(server: Origin, part: Path, kind: str = "file", **settings: float) -> list[int]:
    """The numbers of bytes that a download told of."""
    told: list[int] = []
    with network(server, **settings) as using:  # type: ignore[arg-type]
        using.download(URL, part, kind, told.append)
    return told


def ranges(server: Origin) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.asked]


# ---------------------------------------------------------------------------- resumption


def test_cut_connection_is_resumed_at_its_byte(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.cut(1000), origin.cut(2000)]
    told = download(server, tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert ranges(server) == [None, "bytes=1000-", "bytes=3000-"]
    assert sum(told) == len(CONTENT)


def test_interrupted_download_is_resumed_by_another_process(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.cut(4000)]
    with pytest.raises(NotFetched, match=r"cut|closed|incomplete"):
        download(server, tmp_path / "x.part", retries=0)
    assert (tmp_path / "x.part").stat().st_size == 4000
    assert sum(download(server, tmp_path / "x.part")) == len(CONTENT)
    assert ranges(server) == [None, "bytes=4000-"]
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_file_that_changed_meanwhile_begins_again(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.cut(4000)]
    with pytest.raises(NotFetched):
        download(server, tmp_path / "x.part", retries=0)
    server.files[PATH] = CONTENT[::-1]
    assert sum(download(server, tmp_path / "x.part")) == len(CONTENT)
    assert (tmp_path / "x.part").read_bytes() == CONTENT[::-1]  # and no mixture


@pytest.mark.parametrize("etags", ["weak", ""])
def test_part_without_a_strong_validator_begins_again(server: Origin, tmp_path: Path, etags: str) -> None:
    server.etags = etags
    server.faults[PATH] = [origin.cut(4000)]
    download(server, tmp_path / "x.part")
    assert ranges(server) == [None, None]
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_server_without_ranges_sends_the_whole_file_again(server: Origin, tmp_path: Path) -> None:
    server.ranges = False
    server.faults[PATH] = [origin.cut(4000)]
    assert sum(download(server, tmp_path / "x.part")) == len(CONTENT)
    assert ranges(server) == [None, "bytes=4000-"]
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_part_of_another_address_is_not_resumed(server: Origin, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(b"another file's bytes")
    (tmp_path / "x.part.json").write_text(json.dumps({"url": "https://other/x.json", "validator": '"1"'}))
    download(server, tmp_path / "x.part")
    assert ranges(server) == [None] and (tmp_path / "x.part").read_bytes() == CONTENT


def test_whole_part_is_taken_without_its_bytes(server: Origin, tmp_path: Path) -> None:
    """As after a kill between the last byte and the renaming: the server answers 416."""
    download(server, tmp_path / "x.part")
    assert download(server, tmp_path / "x.part") == []
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_part_longer_than_the_file_begins_again(server: Origin, tmp_path: Path) -> None:
    download(server, tmp_path / "x.part")
    with (tmp_path / "x.part").open("ab") as file:
        file.write(b"more")
    download(server, tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == CONTENT


# ---------------------------------------------------------------------------- retries


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_busy_server_is_tried_again(server: Origin, tmp_path: Path, code: int) -> None:
    server.faults[PATH] = [origin.status(code), origin.status(code)]
    download(server, tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == CONTENT and len(server.asked) == 3


def test_retry_after_is_waited_for(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.status(429, Retry_After="1")]
    begin = time.monotonic()
    download(server, tmp_path / "x.part")
    assert time.monotonic() - begin >= 1.0


def test_retry_after_of_an_hour_is_given_up(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.status(503, Retry_After="3600")]
    with pytest.raises(NotFetched, match=r"status 503 \(1 try\)"):
        download(server, tmp_path / "x.part")


def test_tries_without_progress_are_counted(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.status(503)] * 9
    with pytest.raises(NotFetched, match=r"x\.json: status 503 \(4 tries\)"):
        download(server, tmp_path / "x.part")
    assert len(server.asked) == 4


def test_progress_of_a_mebibyte_begins_the_count_again(server: Origin, tmp_path: Path) -> None:
    server.files[PATH] = bytes(6 << 20)
    server.faults[PATH] = [origin.cut(1 << 20)] * 5  # more cuts than tries are allowed
    download(server, tmp_path / "x.part", retries=2)
    assert (tmp_path / "x.part").stat().st_size == 6 << 20


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "status 401, access needs an account"),
        (403, "status 403, access needs an account, or the file is gone"),
        (404, "status 404, there is no such file"),
        (410, "status 410, there is no such file"),
        (451, "status 451"),
    ],
)
def test_lasting_refusal_is_not_tried_again(server: Origin, tmp_path: Path, code: int, message: str) -> None:
    server.faults[PATH] = [origin.status(code)]
    with pytest.raises(NotFetched, match=message):
        download(server, tmp_path / "x.part")
    assert len(server.asked) == 1


def test_silent_server_is_given_up_in_time(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.silent(1.0)] * 2
    begin = time.monotonic()
    with pytest.raises(NotFetched, match=r"no answer within 0\.2 s \(2 tries\)"):
        download(server, tmp_path / "x.part", retries=1, timeout=0.2)
    assert time.monotonic() - begin < 5


def test_slow_server_is_waited_for(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.slow(0.05)]  # 11 pauses, 0.55 s in all: longer than the time-out of a silence
    download(server, tmp_path / "x.part", retries=0, timeout=0.4)
    assert (tmp_path / "x.part").read_bytes() == CONTENT


def test_absent_network_is_one_reason(tmp_path: Path) -> None:
    refused = pytest.raises(NotFetched, match=r"x\.json: .*refused.*\(2 tries\)")
    with Network("http://127.0.0.1:9", retries=1, first_wait=0.01) as using, refused:
        using.download(URL, tmp_path / "x.part", "file", len)  # type: ignore[arg-type]


def test_host_that_never_answered_is_tried_twice_and_then_not_for_other_files(tmp_path: Path) -> None:
    with Network("http://127.0.0.1:9", retries=9, first_wait=0.01) as using:
        with pytest.raises(NotFetched, match=r"refused.*\(2 tries\)"):
            using.download(URL, tmp_path / "x.part", "file", lambda count: None)
        with pytest.raises(NotFetched, match=r"y\.json: 127\.0\.0\.1:9 cannot be reached \(.*refused"):
            using.get("https://data.example/y.json", "file", 1000)


def test_host_that_answered_before_is_tried_in_full(tmp_path: Path) -> None:
    """A server that goes away during a long fetch may come back."""
    with serving({}) as server:
        server.faults[PATH] = [origin.status(200, CONTENT, Connection="close")]
        using = network(server)
        assert using.get(URL, "file", 20_000) == CONTENT
    with using, pytest.raises(NotFetched, match=r"\(4 tries\)"):
        using.get(URL, "file", 20_000)


def test_long_wait_is_logged(server: Origin, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.faults[PATH] = [origin.status(429, Retry_After="100")]
    with network(server) as using, pytest.raises(NotFetched, match="interrupted"):
        threading.Timer(0.5, using.stop.set).start()
        using.get(URL, "file", 20_000)
    assert f"{URL}: status 429; trying again in 100 s" in caplog.text


def test_proxy_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("http_proxy", raising=False)
    refused = pytest.raises(NotFetched, match=r"through the proxy of .*HTTP_PROXY")
    with Network("http://mirror.invalid", retries=0, first_wait=0.01) as using, refused:
        using.get(URL, "file", 1000)


def test_interruption_ends_a_download(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.slow(0.05)]
    with network(server) as using, pytest.raises(NotFetched, match="interrupted"):
        threading.Timer(0.2, using.stop.set).start()
        using.download(URL, tmp_path / "x.part", "file", lambda count: None)
    assert 0 < (tmp_path / "x.part").stat().st_size < len(CONTENT)


# ---------------------------------------------------------------------------- what is not the file


def test_login_page_in_place_of_an_archive_is_refused(server: Origin, tmp_path: Path) -> None:
    for kind in ("zip", "file", "images"):
        server.faults[PATH] = [origin.LOGIN]
        with pytest.raises(NotFetched, match="an HTML page came, as of a login or an error"):
            download(server, tmp_path / "x.part", kind)


def test_redirect_to_a_login_page_is_refused(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.redirect("/login")]
    server.files["login"] = b"\n\n <HTML><head><title>Sign in</title>"
    with pytest.raises(NotFetched, match="an HTML page came"):
        download(server, tmp_path / "x.part")


def test_redirect_is_followed_and_resumed(server: Origin, tmp_path: Path) -> None:
    server.files["cdn/x"] = CONTENT
    server.faults[PATH] = [origin.redirect("/cdn/x"), origin.redirect("/cdn/x")]
    server.faults["cdn/x"] = [origin.cut(500)]
    download(server, tmp_path / "x.part")
    assert (tmp_path / "x.part").read_bytes() == CONTENT
    assert [(asked.path, asked.headers.get("range")) for asked in server.asked] == [
        (PATH, None), ("cdn/x", None), (PATH, "bytes=500-"), ("cdn/x", "bytes=500-"),
    ]  # fmt: skip


def test_circle_of_redirects_is_refused(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.redirect(f"/{PATH}")] * 50
    with pytest.raises(NotFetched, match=r"(?i)redirects"):
        download(server, tmp_path / "x.part")


def test_compressed_answer_is_refused(server: Origin, tmp_path: Path) -> None:
    server.faults[PATH] = [origin.status(200, b"\x1f\x8b", Content_Encoding="gzip")]
    with pytest.raises(NotFetched, match="sent as gzip, which was not accepted"):
        download(server, tmp_path / "x.part")


def test_empty_file_is_refused(server: Origin, tmp_path: Path) -> None:
    server.files[PATH] = b""
    with pytest.raises(NotFetched, match="an empty file"):
        download(server, tmp_path / "x.part")


def test_body_larger_than_allowed_is_refused(server: Origin) -> None:
    with network(server) as using:
        with pytest.raises(NotFetched, match="more than 10,000 bytes"):
            using.get(URL, "file", 10_000)
        assert using.get(URL, "file", 10_240) == CONTENT


def test_cut_body_is_fetched_again(server: Origin) -> None:
    server.faults[PATH] = [origin.cut(10)]
    with network(server) as using:
        assert using.get(URL, "file", 20_000) == CONTENT


# ---------------------------------------------------------------------------- addresses


def test_mirror_has_the_layout_of_wget() -> None:
    with Network("http://mirror/sub/") as using:
        assert using.address("https://a.b/c d/refs(unc).p") == "http://mirror/sub/a.b/c%20d/refs(unc).p"
        assert using.address("https://w/1/https://b/refcoco+.zip") == "http://mirror/sub/w/1/https://b/refcoco+.zip"


def test_mirror_that_is_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLORENCE2_HARNESS_MIRROR", "my.mirror/x")
    with pytest.raises(UsageError, match=r"FLORENCE2_HARNESS_MIRROR=my\.mirror/x: a mirror is an address of http"):
        Network()


def test_hub_is_asked_at_its_endpoint_with_the_token(
    server: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is on another server, as the hub's is; that server is not sent the token."""
    content = io.BytesIO(CONTENT).getvalue()
    path = "datasets/o/n/resolve/main/x.json"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.delenv("FLORENCE2_HARNESS_MIRROR", raising=False)
    with serving({"cdn/x": content}) as cdn:
        sha = hashlib.sha256(content).hexdigest()
        server.faults[path] = [origin.redirect(f"{cdn.url}/cdn/x", X_Linked_Etag=f'"{sha}"')]
        with Network(first_wait=0.01) as using:
            linked = using.download(f"https://huggingface.co/{path}", tmp_path / "x.part", "file", lambda count: None)
        assert linked == sha
        assert server.asked[0].headers["authorization"] == "Bearer hf_secret"
        assert "authorization" not in cdn.asked[0].headers


def test_gated_repository_names_its_page_and_the_token(
    server: Origin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "datasets/o/n/resolve/main/x.json"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.delenv("FLORENCE2_HARNESS_MIRROR", raising=False)
    server.faults[path] = [origin.status(403, X_Error_Code="GatedRepo")]
    refused = pytest.raises(
        NotFetched, match=r"accept the terms at https://huggingface.co/datasets/o/n and set HF_TOKEN"
    )
    with Network() as using, refused:
        using.download(f"https://huggingface.co/{path}", tmp_path / "x.part", "file", lambda count: None)
