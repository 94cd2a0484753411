"""One request to an OpenAI-compatible server at a time, with retries; safe to call from several threads.

Tried again, up to `retries` times with growing waits: no connection, a time-out, an answer that is cut off or is not
of the protocol, and the statuses 408, 409, 425, 429 and 5xx.  Not tried again: other statuses, and redirects, which are
never followed, so that the key goes to no other host.

The key is read from the environment.  It is sent in a header only; every message and answer from the server is searched
for it, and it is replaced there.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from baselines.endpoint import protocol
from baselines.endpoint.options import is_local
from baselines.endpoint.pace import Pace, back_off
from baselines.endpoint.parsing import Reply
from baselines.endpoint.protocol import BadReply
from harness.errors import ResourceError, UsageError

MOST_BYTES = 1 << 24  # in a response
RETRIED = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
OVERLOAD = frozenset({408, 429, 503, 529})
SHOWN = 300  # characters of a server's message


class Unanswered(Exception):
    """The reason why one request has no answer.  `lasting`: the server was tried again and again."""

    def __init__(self, reason: str, *, lasting: bool = False) -> None:
        super().__init__(reason)
        self.lasting = lasting


class Client:
    """Sends requests to `base_url`; `key` is sent as a bearer token, "" sends none.

    `timeout` is the longest time of one try, in seconds; `first_wait` the wait before the second try.
    """

    def __init__(
        self, base_url: str, key: str, *, timeout: float, retries: int, pace: Pace, first_wait: float = 1.0
    ) -> None:
        import httpx2

        self.base_url = base_url
        self.pace = pace
        self.retried = 0
        self.stop = threading.Event()
        self._key = key
        self._timeout, self._retries, self._first_wait = timeout, retries, first_wait
        headers = {"Accept-Encoding": "identity", "User-Agent": "florence2-harness"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        limits = httpx2.Limits(max_connections=pace.most, max_keepalive_connections=pace.most)
        self._http = httpx2.Client(
            headers=headers,
            timeout=timeout,
            limits=limits,
            follow_redirects=False,
            trust_env=not is_local(base_url),  # no proxy for this machine
        )

    def close(self) -> None:
        """Ends waits and closes connections."""
        self.stop.set()
        self._http.close()

    def complete(self, body: Mapping[str, Any], *, stream: bool = False) -> Reply:
        """The reply to a chat completion.

        Unanswered if there is none; ResourceError or UsageError where no other request can be answered either: no
        server, a wrong key, an unknown model, a redirect.
        """
        content = json.dumps({**body, "stream": True} if stream else body).encode()
        for attempt in range(self._retries + 1):
            if attempt:
                self.retried += 1
                self.stop.wait(back_off(attempt, self._first_wait))
            self.pace.wait(self.stop)
            if self.stop.is_set():
                raise Unanswered("the run was interrupted")
            try:
                reply = self._try(content, stream)
            except _TryAgain as error:
                last = error
                continue
            self.pace.answered()
            return reply
        tries = f"{self._retries + 1} tries" if self._retries else "1 try"
        if last.unreachable:
            raise ResourceError(f"{self.base_url} cannot be reached ({last}, {tries}); is the server running?")
        raise Unanswered(f"{last} ({tries})", lasting=True)

    def _try(self, content: bytes, stream: bool) -> Reply:
        import httpx2

        begin = time.monotonic()
        headers = {"Content-Type": "application/json"}
        url = f"{self.base_url}/chat/completions"
        try:
            with self._http.stream("POST", url, content=content, headers=headers) as response:
                chunks = self._chunks(response, begin + self._timeout)
                if response.status_code != 200:
                    self._refuse(response, b"".join(chunks), begin)
                reply = protocol.streamed(chunks, begin) if stream else protocol.whole(b"".join(chunks), begin)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            raise _TryAgain(self._clean(str(error) or type(error).__name__), unreachable=True) from None
        except (httpx2.TimeoutException, _Late):
            self.pace.overloaded(begin)
            raise _TryAgain(f"no answer within {self._timeout:g} s") from None
        except httpx2.HTTPError as error:
            raise _TryAgain(f"the answer was cut off: {self._clean(str(error) or type(error).__name__)}") from None
        except BadReply as error:
            raise _TryAgain(self._clean(str(error))) from None
        if self._key and self._key in f"{reply.text}{reply.refusal}":
            hidden = [value.replace(self._key, "***") for value in (reply.text, reply.refusal)]
            return Reply(hidden[0], reply.truncated, hidden[1], reply.generated, (), reply.seconds, reply.first)
        return reply

    def _chunks(self, response: Any, deadline: float) -> Iterator[bytes]:
        """The bytes of a response; BadReply for too many or a compressed body; `_Late` after the deadline."""
        encoding = response.headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise BadReply(f"the answer is compressed ({encoding[:40]}), although that was not accepted")
        count = 0
        for chunk in response.iter_raw():
            count += len(chunk)
            if count > MOST_BYTES:
                raise BadReply(f"the answer is longer than {MOST_BYTES:,} bytes")
            if time.monotonic() > deadline or self.stop.is_set():
                raise _Late
            yield chunk

    def _refuse(self, response: Any, content: bytes, begin: float) -> None:
        """Raises what a status other than 200 means."""
        status = response.status_code
        said = self._clean(protocol.message(content))
        stated = f"status {status}" + (f": {said}" if said else "")
        if 300 <= status < 400:
            to = self._clean(response.headers.get("location", "another address"))
            raise UsageError(f"{self.base_url} redirects to {to}, which is not followed; give that as --base-url")
        if status in (401, 403):
            raise ResourceError(
                f"{self.base_url} refuses the key ({stated}); "
                + ("correct the environment variable that --key-variable names" if self._key else "no key was sent: "
                "set the environment variable that --key-variable names")
            )  # fmt: skip
        if status == 404:
            raise UsageError(f"{self.base_url} does not know the address or the model --served ({stated})")
        if status in OVERLOAD:
            self.pace.overloaded(begin, _seconds(response.headers.get("retry-after", "")))
        if status in RETRIED or status >= 500:
            raise _TryAgain(stated)
        raise Unanswered(stated)

    def _clean(self, text: str) -> str:
        """A server's text for a message: short, printable, without the key."""
        text = text.replace(self._key, "***") if self._key else text
        return "".join(letter if letter.isprintable() else " " for letter in text[:SHOWN]).strip()


class _TryAgain(Exception):
    """A failed try; `unreachable`: there is no server at the address."""

    def __init__(self, reason: str, *, unreachable: bool = False) -> None:
        super().__init__(reason)
        self.unreachable = unreachable


class _Late(Exception):
    """A response that was not complete at its deadline."""


def _seconds(text: str) -> float:
    """Retry-After in seconds: a number, or a date; 0 for anything else."""
    try:
        return max(0.0, float(int(text)))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 0.0
