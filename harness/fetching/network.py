"""HTTP: a file with resumption, or a small body; retries with growing waits; a check of what came.

Tried again: no connection, a time-out, a cut connection, and the statuses 408, 425, 429 and 5xx; `Retry-After` is
honoured.  Not tried again: other statuses, and content that cannot be the file, such as the HTML of a login page.

A download is written to a `.part` file.  It is resumed (RFC 9110: Range with If-Range) only where the server says by a
strong ETag or by Last-Modified that the file is still the same; otherwise it begins again.

FLORENCE2_HARNESS_MIRROR replaces all servers: https://HOST/PATH is read from MIRROR/HOST/PATH, the layout that
`wget --force-directories` writes.  HF_ENDPOINT and the user's token hold for the Hugging Face hub, as in its client.
"""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from harness.errors import ResourceError, UsageError
from harness.store.files import REFUSED, refuse_link

MIRROR_VARIABLE = "FLORENCE2_HARNESS_MIRROR"
HUB = "https://huggingface.co/"
LOCAL = ("127.0.0.1", "localhost", "::1")
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_WAIT = 300.0  # seconds; a server that asks for more is given up
PROGRESS = 1 << 20  # bytes of a try after which the count of failures begins again
MAGIC = {
    "zip": (b"PK\x03\x04", b"PK\x05\x06"),
    "images": (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", b"II*\0", b"MM\0*"),
}
HTML = (b"<!doctype html", b"<html", b"<head")
T = TypeVar("T")


class NotFetched(ResourceError):
    """An address, or every address of a source, did not give the file; the message says why."""


class _TryAgain(Exception):
    """A failed try that another may mend; `after` is the server's Retry-After, in seconds."""

    def __init__(self, reason: str, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Network:
    """Requests with one pool of connections; safe to call from several threads.

    `retries` are the tries after the first without progress; `first_wait` is the wait before the second try, and
    `timeout` the longest silence of a server, in seconds.  `mirror` is a base address that replaces all servers.
    """

    def __init__(
        self, mirror: str | None = None, *, retries: int = 5, first_wait: float = 1.0, timeout: float = 30.0
    ) -> None:
        import httpx2

        self.mirror = (os.environ.get(MIRROR_VARIABLE, "") if mirror is None else mirror).rstrip("/")
        if self.mirror and not self.mirror.startswith(("http://", "https://")):
            raise UsageError(f"{MIRROR_VARIABLE}={self.mirror}: a mirror is an address of http or https")
        self.stop = threading.Event()
        self._retries, self._first_wait, self._timeout = retries, first_wait, timeout
        self._http = httpx2.Client(
            headers={"Accept-Encoding": "identity", "User-Agent": "florence2-harness"},
            timeout=httpx2.Timeout(timeout, connect=min(timeout, 10.0)),
            follow_redirects=True,
            trust_env=urlsplit(self.mirror).hostname not in LOCAL,  # no proxy for this machine
        )

    def __enter__(self) -> Network:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends waits and closes connections."""
        self.stop.set()
        self._http.close()

    def download(self, url: str, part: Path, kind: str, advance: Callable[[int], object]) -> str:
        """Completes the file `part`, from where an earlier try ended; returns the sha256 that the hub states, or "".

        `kind` is that of the source, for a check of the first bytes.  `advance` is told how many bytes came; the number
        is negative where a file begins again.  NotFetched where the address does not give the file.
        """
        counted = 0

        def report(offset: int) -> None:
            nonlocal counted
            advance(offset - counted)
            counted = offset

        try:
            return self._retried(url, lambda: self._append(url, part, kind, report), lambda: _size(part))
        except NotFetched:
            if not _size(part):
                remove(part)
            raise

    def get(self, url: str, kind: str, most: int) -> bytes:
        """A small body; NotFetched as `download`, and for more than `most` bytes."""
        return self._retried(url, lambda: self._whole(url, kind, most), lambda: 0)

    # ------------------------------------------------------------------------ tries

    def _retried(self, url: str, attempt: Callable[[], T], size: Callable[[], int]) -> T:
        failures = 0
        while True:
            before = size()
            try:
                return attempt()
            except _TryAgain as error:
                failures = 1 if size() - before >= PROGRESS else failures + 1
                if failures > self._retries or error.after > LONGEST_WAIT:
                    raise NotFetched(f"{url}: {error} ({failures} {'tries' if failures > 1 else 'try'})") from None
                wait = self._first_wait * 2 ** (failures - 1) * (1 + random.random() / 4)
                self.stop.wait(max(wait, error.after))
            if self.stop.is_set():
                raise NotFetched(f"{url}: interrupted")

    def _append(self, url: str, part: Path, kind: str, report: Callable[[int], None]) -> str:
        for path in (part, _state(part)):  # a data root may be a stranger's
            refuse_link(path)
        validator = _validator(_state(part), url)
        offset = _size(part) if validator else 0
        headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}
        with self._response(url, headers) as response:
            begin, total = _range(response)
            if response.status_code == 416:
                if total == offset:  # the whole file is there
                    return _linked_sha256(response)
                remove(part)
                raise _TryAgain(f"the server has no byte {offset:,}")
            if begin not in (0, offset):
                remove(part)
                raise _TryAgain(f"the server answers from byte {begin:,}, not {offset:,}")
            with _disk(part):
                _state(part).write_text(json.dumps({"url": url, "validator": _strong_validator(response)}))
                with part.open("ab" if begin else "wb") as file:
                    report(begin)
                    for chunk in self._chunks(response, url, "" if begin else kind):
                        file.write(chunk)
                        report(file.tell())
                    end = file.tell()
            if total is not None and end != total:
                raise _TryAgain(f"the connection was cut at byte {end:,} of {total:,}")
            return _linked_sha256(response)

    def _whole(self, url: str, kind: str, most: int) -> bytes:
        body = bytearray()
        with self._response(url, {}) as response:
            for chunk in self._chunks(response, url, kind):
                body += chunk
                if len(body) > most:
                    raise NotFetched(f"{url}: more than {most:,} bytes")
            _, total = _range(response)
        if total is not None and len(body) != total:
            raise _TryAgain(f"the connection was cut at byte {len(body):,} of {total:,}")
        return bytes(body)

    def _chunks(self, response: Any, url: str, kind: str) -> Iterator[bytes]:
        """The bytes of a response; NotFetched if its first bytes cannot be of the kind ("": no check)."""
        first = True
        for chunk in response.iter_raw():
            if self.stop.is_set():
                raise NotFetched(f"{url}: interrupted")
            if first and kind and (problem := unlike(kind, chunk)):
                raise NotFetched(f"{url}: {problem}")
            first = False
            yield chunk
        if first and kind:
            raise NotFetched(f"{url}: an empty file")

    @contextmanager
    def _response(self, url: str, headers: dict[str, str]) -> Iterator[Any]:
        """The response of an address with status 200, 206 or 416; what others mean is raised."""
        import httpx2

        try:
            with self._http.stream("GET", self.address(url), headers={**headers, **self._key(url)}) as response:
                _refuse(url, response)
                if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
                    raise NotFetched(f"{url}: sent as {encoding[:40]}, which was not accepted")
                yield response
        except httpx2.TimeoutException:
            raise _TryAgain(f"no answer within {self._timeout:g} s") from None
        except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise NotFetched(f"{url}: {error}") from None
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
            if proxies and isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
                reason += f" (through the proxy of {', '.join(sorted(proxies))})"
            raise _TryAgain(reason) from None

    def address(self, url: str) -> str:
        """The address that is asked: on the mirror, on HF_ENDPOINT, or the URL itself."""
        url = quote(url, safe="%/:=&?~#+!$,;'@()*[]")
        if self.mirror:
            return f"{self.mirror}/{url.partition('://')[2]}"
        endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/")
        return f"{endpoint}/{url.removeprefix(HUB)}" if endpoint and url.startswith(HUB) else url

    def _key(self, url: str) -> dict[str, str]:
        """The user's token for the hub; no other server is sent it, not even after a redirect."""
        if self.mirror or not url.startswith(HUB):
            return {}
        from huggingface_hub import get_token

        token = get_token()
        return {"Authorization": f"Bearer {token}"} if token else {}


def unlike(kind: str, head: bytes) -> str:
    """Why the first bytes cannot be of a file of this kind; "" if they can."""
    if head.lstrip()[:20].lower().startswith(HTML):
        return "an HTML page came, as of a login or an error, in place of the file"
    if kind in MAGIC and not head.startswith(MAGIC[kind]):
        what = "a zip archive" if kind == "zip" else "an image"
        return f"what came is not {what}; it begins with {head[:12]!r}"
    return ""


def _refuse(url: str, response: Any) -> None:
    status = response.status_code
    if status in (200, 206, 416):
        return
    if status in (401, 403, 407):
        hub = url.startswith(HUB) or "x-error-code" in response.headers
        page = url.partition("/resolve/")[0]
        todo = f"; accept the terms at {page} and set HF_TOKEN" if hub else ", or the file is gone"
        raise NotFetched(f"{url}: status {status}, access needs an account{todo}")
    if status in RETRIED:
        raise _TryAgain(f"status {status}", _seconds(response.headers.get("retry-after", "")))
    raise NotFetched(f"{url}: status {status}" + (", there is no such file" if status in (404, 410) else ""))


def _range(response: Any) -> tuple[int, int | None]:
    """The first byte of a response, and the size of the whole file; None where it is not stated."""
    stated = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("content-range", ""))
    if response.status_code in (206, 416) and stated:
        return int(stated[1] or 0), int(stated[2]) if stated[2].isdigit() else None
    length = response.headers.get("content-length", "")
    return (0 if response.status_code == 200 else -1), int(length) if length.isdigit() else None


def _strong_validator(response: Any) -> str:
    etag = str(response.headers.get("etag", ""))
    return etag if etag and not etag.startswith("W/") else str(response.headers.get("last-modified", ""))


def _validator(state: Path, url: str) -> str:
    """The validator of a part that is of this address; "" if there is none."""
    try:
        kept = json.loads(state.read_text())
        return str(kept["validator"]) if kept["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _linked_sha256(response: Any) -> str:
    """The sha256 of a large file, as the hub states it in the response that redirects to the content."""
    for each in (*response.history, response):
        linked = str(each.headers.get("x-linked-etag", "")).strip('"')
        if re.fullmatch("[0-9a-f]{64}", linked):
            return linked
    return ""


def _seconds(text: str) -> float:
    """Retry-After in seconds: a number, or a date; 0 for anything else."""
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0


def remove(part: Path) -> None:
    """Removes a part and what is noted of it."""
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    """ResourceError for a full, read-only or forbidden disk."""
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        raise ResourceError(f"cannot write {path}: {error.strerror}; the same command goes on from here") from error
