"""Requests to a language model: several at once, each reply kept, no request twice, and never more than the budget."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.data_engine.language import NAME, Grounder, Request, Rewriting, rewrite
from harness.data_engine.records import Record
from harness.data_engine.replies import Replies, Stored
from harness.errors import ResourceError

LONGEST_REPLY = 1 << 16  # characters that are kept of a reply; a longer one is no reply
HOPELESS = 16  # requests without a reply, one after the other, after which a run ends


class Unanswered(Exception):
    """Why a request has no reply; other requests may have one."""


class Completion(Protocol):
    """What a server answered: `generated` is the number of tokens that it counts, 0 where it does not."""

    @property
    def text(self) -> str: ...

    @property
    def truncated(self) -> bool: ...

    @property
    def refusal(self) -> str: ...

    @property
    def generated(self) -> int: ...


Complete = Callable[[Mapping[str, Any]], Completion]
"""Sends the body of a chat completion once; Unanswered if there is no reply."""


@dataclass(slots=True)
class Budget:
    """The most requests and tokens of a run; None is no limit.

    A request is made only if its estimated prompt and its longest reply are within the budget, so the estimate is never
    exceeded.  Where the server counts its tokens, the rest of the longest reply is free again.
    """

    requests: int | None = None
    tokens: int | None = None
    made: int = 0
    spent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def take(self, request: Request) -> bool:
        """Whether a request may be made; if so, it is counted."""
        with self._lock:
            if self.requests is not None and self.made >= self.requests:
                return False
            if self.tokens is not None and self.spent + request.most_tokens > self.tokens:
                return False
            self.made += 1
            self.spent += request.most_tokens
            return True

    def settle(self, request: Request, generated: int) -> None:
        """Frees what the reply did not use."""
        if generated > 0:
            with self._lock:
                self.spent -= max(0, request.most_tokens - request.tokens - generated)


@dataclass(slots=True)
class Tally:
    """What a run did: images that were `chosen` or not, `accepted` texts, and why others have none, by rule."""

    images: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, before: Record, after: Record, outcome: str) -> None:
        """Counts a record; its outcome is read from its last verdict unless it is given."""
        self.images += 1
        new = after.verdicts[len(before.verdicts) :]
        self.outcomes[outcome or (new[-1].stage.removeprefix(f"{NAME}.") if new else "as it was")] += 1


@dataclass(frozen=True, slots=True)
class Forecast:
    """What asking would take, of requests that have no reply yet.

    `requests` are made if each next try is accepted, and `most_requests` if each is refused.  `tokens` are those of
    the next tries, with the longest replies; later tries also repeat the earlier ones.
    """

    images: int
    requests: int
    most_requests: int
    tokens: int


def forecast(records: Iterable[Record], settings: Rewriting, replies: Replies) -> Forecast:
    """A dry run: nothing is asked."""
    images = requests = most = tokens = 0
    for record in records:
        images += 1
        pending = rewrite(record, settings, replies.get)
        if isinstance(pending, Request):
            tries_left = settings.tries - (len(pending.body["messages"]) - 2) // 2
            requests, most, tokens = requests + 1, most + tries_left, tokens + pending.most_tokens
    return Forecast(images, requests, most, tokens)


def ask(
    records: Iterable[Record],
    settings: Rewriting,
    complete: Complete,
    replies: Replies,
    *,
    budget: Budget | None = None,
    grounder: Grounder | None = None,
    threads: int = 8,
    tally: Tally | None = None,
) -> Iterator[Record]:
    """Each record with its new text, in the order given, with `threads` requests at once.

    A record whose request has no reply, or is beyond the budget, is returned as it is, and its request is made by a
    later run.  `complete` and `grounder` are called from several threads.  What `complete` raises besides Unanswered
    ends the run, and so do HOPELESS requests without a reply one after the other, as a ResourceError; replies that came
    before are kept.
    """
    limits, counted = budget or Budget(), Tally() if tally is None else tally
    stop = threading.Event()
    sender = _Sender(complete, replies, limits)

    def work(record: Record) -> tuple[Record, Record, str]:
        try:
            return one(record)
        except BaseException:
            stop.set()  # no other request is made
            raise

    def one(record: Record) -> tuple[Record, Record, str]:
        while not stop.is_set():
            step = rewrite(record, settings, replies.get, grounder)
            if isinstance(step, Record):
                return record, step, ""
            if not limits.take(step):
                return record, record, "budget"
            if not sender.reply(step):
                return record, record, "unanswered"
        return record, record, "stopped"

    pool = ThreadPoolExecutor(threads, "language")
    waiting: deque[Future[tuple[Record, Record, str]]] = deque()
    try:
        for record in records:
            waiting.append(pool.submit(work, record))
            if len(waiting) > 2 * threads:
                yield _finished(waiting, counted)
        while waiting:
            yield _finished(waiting, counted)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def _finished(waiting: deque[Future[tuple[Record, Record, str]]], tally: Tally) -> Record:
    before, after, outcome = waiting.popleft().result()
    tally.add(before, after, outcome)
    return after


class _Sender:
    """Makes requests, and counts those without a reply since the last reply."""

    def __init__(self, complete: Complete, replies: Replies, budget: Budget) -> None:
        self.complete, self.replies, self.budget = complete, replies, budget
        self.failing = 0
        self.lock = threading.Lock()

    def reply(self, request: Request) -> bool:
        """Makes one request and keeps its reply or its failure; whether there is a reply."""
        try:
            answer = self.complete(request.body)
        except Unanswered as error:
            return self._failed(request, str(error))
        self.budget.settle(request, answer.generated)
        if answer.refusal:
            return self._failed(request, f"refused: {answer.refusal}")
        if len(answer.text) > LONGEST_REPLY:
            return self._failed(request, f"a reply of {len(answer.text):,} characters")
        self.replies.put(request.key, Stored(answer.text, answer.truncated))
        with self.lock:
            self.failing = 0
        return True

    def _failed(self, request: Request, reason: str) -> bool:
        self.replies.fail(request.key, reason)
        with self.lock:
            self.failing += 1
            failing = self.failing
        if failing >= HOPELESS:
            raise ResourceError(f"the language model gave no reply to {failing} requests; the last: {reason}")
        return False
