"""HTTP: a file with resumption, or a small body; retries with growing waits; a check of what came.

Tried again: no connection, a time-out, a cut connection, and the statuses 408, 425, 429 and 5xx; `Retry-After` is
honoured.  A host that never answered is tried twice in all, and not again for other files.  Not tried again: other
statuses, and content that cannot be the file, such as the HTML of a login page.

A download is written to a `.part` file.  It is resumed (RFC 9110: Range with If-Range) only where the server says by a
strong ETag or by Last-Modified that the file is still the same; otherwise it begins again.

FLORENCE2_HARNESS_MIRROR replaces all servers: https://HOST/PATH is read from MIRROR/HOST/PATH, the layout that
`wget --force-directories` writes.  HF_ENDPOINT and the user's token hold for the Hugging Face hub, as in its client.
"""

from __future__ import annotations

import json
import logging
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

from harness.errors import ResourceError, UsageError
from harness.fetching.replies import (
    HUB,
    NotFetched,
    TryAgain,
    byte_range,
    linked_sha256,
    refuse,
    strong_validator,
    unlike,
)
from harness.store.files import REFUSED, refuse_link

MIRROR_VARIABLE = "FLORENCE2_HARNESS_MIRROR"
LOCAL = ("127.0.0.1", "localhost", "::1")
NOTED_WAIT = 5.0  # seconds
LONGEST_WAIT = 300.0  # seconds; a server that asks for more is given up
PROGRESS = 1 << 20  # bytes of a try after which the count of failures begins again
T = TypeVar("T")
log = logging.getLogger(__name__)


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
        self._answered: set[str] = set()  # hosts
        self._down: dict[str, str] = {}  # host to reason
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

    def download(
        self,
        url: str,
        part: Path,
        kind: str,
        advance: Callable[[int], object],
        room: Callable[[int, int], object] = lambda coming, total: None,
    ) -> str:
        """Completes the file `part`, from where an earlier try ended; returns the sha256 that the hub states, or "".

        `kind` is that of the source, for a check of the first bytes.  `advance` is told how many bytes came; the number
        is negative where a file begins again.  `room` is told how many bytes are to come, and of how many; it may
        raise.  NotFetched where the address does not give the file.
        """
        counted = 0

        def report(offset: int) -> None:
            nonlocal counted
            advance(offset - counted)
            counted = offset

        try:
            return self._retried(url, lambda: self._append(url, part, kind, report, room), lambda: _size(part))
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
        host = urlsplit(self.address(url)).netloc
        if host in self._down:
            raise NotFetched(f"{url}: {host} cannot be reached ({self._down[host]})")
        while True:
            before = size()
            try:
                return attempt()
            except TryAgain as error:
                failures = 1 if size() - before >= PROGRESS else failures + 1
                never = error.unreachable and host not in self._answered
                if failures > (min(1, self._retries) if never else self._retries) or error.after > LONGEST_WAIT:
                    if never:
                        self._down[host] = str(error)
                    raise NotFetched(f"{url}: {error} ({failures} {'tries' if failures > 1 else 'try'})") from None
                wait = max(self._first_wait * 2 ** (failures - 1) * (1 + random.random() / 4), error.after)
                if wait >= NOTED_WAIT:
                    log.warning("%s: %s; trying again in %.0f s", url, error, wait)
                self.stop.wait(wait)
            if self.stop.is_set():
                raise NotFetched(f"{url}: interrupted")

    def _append(
        self, url: str, part: Path, kind: str, report: Callable[[int], None], room: Callable[[int, int], object]
    ) -> str:
        for path in (part, _state(part)):  # a data root may be a stranger's
            refuse_link(path)
        validator = _validator(_state(part), url)
        offset = _size(part) if validator else 0
        headers = {"Range": f"bytes={offset}-", "If-Range": validator} if offset else {}
        with self._response(url, headers) as response:
            begin, total = byte_range(response)
            if response.status_code == 416:
                if total == offset:  # the whole file is there
                    return linked_sha256(response)
                remove(part)
                raise TryAgain(f"the server has no byte {offset:,}")
            if begin not in (0, offset):
                remove(part)
                raise TryAgain(f"the server answers from byte {begin:,}, not {offset:,}")
            if total is not None:
                room(total - begin, total)
            with _disk(part):
                _state(part).write_text(json.dumps({"url": url, "validator": strong_validator(response)}))
                with part.open("ab" if begin else "wb") as file:
                    report(begin)
                    for chunk in self._chunks(response, url, "" if begin else kind):
                        file.write(chunk)
                        report(file.tell())
                    end = file.tell()
            if total is not None and end != total:
                raise TryAgain(f"the connection was cut at byte {end:,} of {total:,}")
            return linked_sha256(response)

    def _whole(self, url: str, kind: str, most: int) -> bytes:
        body = bytearray()
        with self._response(url, {}) as response:
            for chunk in self._chunks(response, url, kind):
                body += chunk
                if len(body) > most:
                    raise NotFetched(f"{url}: more than {most:,} bytes")
            _, total = byte_range(response)
        if total is not None and len(body) != total:
            raise TryAgain(f"the connection was cut at byte {len(body):,} of {total:,}")
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
                self._answered.add(urlsplit(self.address(url)).netloc)
                refuse(url, response)
                if (encoding := response.headers.get("content-encoding", "identity")) != "identity":
                    raise NotFetched(f"{url}: sent as {encoding[:40]}, which was not accepted")
                yield response
        except httpx2.TimeoutException as error:
            late = isinstance(error, httpx2.ConnectTimeout)
            raise TryAgain(f"no answer within {self._timeout:g} s", unreachable=late) from None
        except (httpx2.TooManyRedirects, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
            raise NotFetched(f"{url}: {error}") from None
        except httpx2.HTTPError as error:
            reason = str(error) or type(error).__name__
            proxies = [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]
            if proxies and isinstance(error, httpx2.ConnectError | httpx2.ProxyError):
                reason += f" (through the proxy of {', '.join(sorted(proxies))})"
            raise TryAgain(reason, unreachable=isinstance(error, httpx2.ConnectError)) from None

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


def remove(part: Path) -> None:
    """Removes a part and what is noted of it."""
    part.unlink(missing_ok=True)
    _state(part).unlink(missing_ok=True)


def _state(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _validator(state: Path, url: str) -> str:
    """The validator of a part that is of this address; "" if there is none."""
    try:
        kept = json.loads(state.read_text())
        return str(kept["validator"]) if kept["url"] == url else ""
    except (OSError, ValueError, KeyError, TypeError):
        return ""


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
