"""A model behind an OpenAI-compatible server: questions become chat completions, and replies become answers."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from baselines.endpoint import parsing, prompts
from baselines.endpoint.client import Client, Unanswered
from baselines.endpoint.options import Options, address, extra_of, is_local, key_of, resolved, space_of
from baselines.endpoint.pace import Pace
from baselines.endpoint.parsing import Reply
from baselines.endpoint.prompts import Ask
from baselines.endpoint.sent import SentImage, SentSoFar, prepare, refuse_other_size
from baselines.endpoint.spaces import Watch
from baselines.entry import Setting
from harness.core import Answer, Failure, Question, Ticket, Trail
from harness.errors import DataError, HarnessError, ResourceError

ANSWERS_VERSION = 1  # raise it whenever an answer could change: prompts, requests, parsing
HOPELESS = 8  # failures after which a run stops: all so far, or lasting ones without an answer between them
DOWN = 3  # lasting failures after which a run stops, if there was no answer before
log = logging.getLogger(__name__)


class Endpoint:
    """A Model (see `core`).  Answers come in the order in which the server finishes them.

    A question whose request fails is a Failure.  ResourceError or UsageError where no other request can be answered
    either; answers that finished before are yielded first.
    """

    def __init__(self, setting: Setting, options: Options) -> None:
        options = resolved(options)
        self.root = setting.root
        self.options = options
        self.base_url = address(options.base_url or "")
        self.table = prompts.find(options.prompts)
        self.space = space_of(options)
        self.extra = extra_of(options)
        self.pace = Pace(setting.batch_size or options.concurrency)
        self.watch = Watch(self.space)
        self.sent = SentSoFar()
        self.counts: Counter[str] = Counter({"refused": 0, "empty": 0, "retried": 0})
        self.first_wait = 1.0  # seconds before the second try
        self._key = key_of(options)
        self._lock = threading.Lock()
        self._answered = 0
        self._failing = 0  # failures since the last answer
        if self._key and self.base_url.startswith("http:") and not is_local(self.base_url):
            log.warning("the key in %s is sent to %s without encryption", options.key_variable, self.base_url)

    @property
    def fingerprint(self) -> str:
        """One line of the address, the served name, prompts, space and settings of generation."""
        options = self.options
        extra = hashlib.sha256(json.dumps(self.extra, sort_keys=True).encode()).hexdigest()[:8] if self.extra else "-"
        return ":".join([
            "endpoint", self.base_url, str(options.served), f"{self.table.name}@{self.table.digest()}",
            self.space.describe(), f"temperature={options.temperature:g}", f"seed={options.sampling_seed}",
            f"tokens={options.max_new_tokens or 'table'}", f"logprobs={options.logprobs:d}", f"extra={extra}",
            f"v{ANSWERS_VERSION}",
        ])  # fmt: skip

    @property
    def provenance(self) -> dict[str, Any]:
        """The server, prompts and settings; and of this process what was sent, refusals, empty texts and retries."""
        options = self.options
        return {
            "server": self.base_url,
            "served": options.served,
            "prompts": {"table": self.table.name, "digest": self.table.digest()},
            "space": self.space.describe(),
            "temperature": options.temperature,
            "seed": options.sampling_seed,
            "extra": self.extra,
            "images sent": self.sent.described(),
            **self.counts,
            "boxes": {"read": self.watch.boxes, "outside the space": self.watch.outside},
            "most requests at once": self.pace.highest,
            "overloads": self.pace.overloads,
        }

    def client(self) -> Client:
        """A client of the server; the caller closes it."""
        options = self.options
        return Client(
            self.base_url, self._key, timeout=options.timeout, retries=options.retries, pace=self.pace,
            first_wait=self.first_wait,
        )  # fmt: skip

    def body(self, ask: Ask, text: str, image: SentImage) -> dict[str, Any]:
        """The request of one prompt about an image."""
        options = self.options
        content = [{"type": "image_url", "image_url": {"url": image.uri}}, {"type": "text", "text": text}]
        body: dict[str, Any] = {
            "model": options.served,
            "messages": [{"role": "user", "content": content}],
            "temperature": options.temperature,
            "seed": options.sampling_seed,
        }
        if longest := options.max_new_tokens or ask.max_tokens:
            body["max_tokens"] = longest
        if options.logprobs:
            body["logprobs"] = True
        return {name: value for name, value in {**body, **self.extra}.items() if value is not None}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """An Answer or a Failure for each question, in the order in which they finish."""
        stream = iter(questions)
        client = self.client()
        pool = ThreadPoolExecutor(self.pace.most, "endpoint")
        pending: dict[Future[Answer | Failure], Ticket] = {}
        fatal: HarnessError | None = None
        try:
            while True:
                while fatal is None and len(pending) < self.pace.room and (item := next(stream, None)) is not None:
                    pending[pool.submit(self._ask, client, item[1])] = item[0]
                if not pending:
                    break
                done, _ = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    ticket = pending.pop(future)
                    try:
                        answer = future.result()
                    except HarnessError as error:
                        fatal = fatal or error
                        client.stop.set()
                        continue
                    if fatal is None or isinstance(answer, Answer):
                        yield ticket, answer
        finally:
            client.stop.set()
            pool.shutdown(cancel_futures=True)
            client.close()
            self.counts["retried"] += client.retried
            self.watch.warn(at_end=True)
        if fatal is not None:
            raise fatal

    def _ask(self, client: Client, question: Question) -> Answer | Failure:
        """The answer to one question, in a thread of its own."""
        try:
            ask, texts, image = self.asked(question)
        except DataError as error:
            return Failure(str(error))
        try:
            replies = [client.complete(self.body(ask, text, image)) for text in texts]
        except Unanswered as error:
            return self._failed(str(error), lasting=error.lasting)
        return self._read(question, ask, texts, image, replies)

    def asked(self, question: Question) -> tuple[Ask, tuple[str, ...], SentImage]:
        """The prompts of a question and its image; DataError where it cannot be asked."""
        ask = self.table.asks.get(question.kind)
        if ask is None or question.kind not in self.table.kinds(self.space):
            raise DataError(f"the prompt table {self.table.name} asks no {question.kind!r} questions")
        image = prepare(self.root, question.image)
        refuse_other_size(question, image.size)
        texts = prompts.texts_of(question, ask, image.size)
        if not texts:
            raise DataError(f"a {question.kind!r} question without phrases has no prompt")
        if self.sent.add(image):
            log.warning(
                "%s has an orientation tag: boxes are wrong if the server turns such images, since annotations are in "
                "pixels as stored", question.image_name,
            )  # fmt: skip
        return ask, texts, image

    def _read(
        self,
        question: Question,
        ask: Ask,
        texts: tuple[str, ...],
        image: SentImage,
        replies: list[Reply],
    ) -> Answer:
        value = parsing.read(question, ask, replies, self.space, image.size, self.watch)
        self.watch.warn()
        raw = tuple(reply.raw for reply in replies)
        seconds = sum(reply.seconds for reply in replies)  # of the tries that were answered
        with self._lock:
            self._answered += 1
            self._failing = 0
            self.counts["refused"] += any(reply.refusal for reply in replies)
            self.counts["empty"] += all(not reply.raw.strip() for reply in replies)
        return Answer(
            raw, value, sum(reply.generated for reply in replies), any(reply.truncated for reply in replies), seconds,
            trail=Trail(_digest(texts), image.digest, "", _digest(raw)), prompts=texts,
        )  # fmt: skip

    def _failed(self, reason: str, *, lasting: bool) -> Failure:
        """The failure of a question; ResourceError where it shows that no question will be answered."""
        with self._lock:
            self._failing += 1
            never = not self._answered and lasting and self._failing >= DOWN
            if never or (self._failing >= HOPELESS and (lasting or not self._answered)):
                raise ResourceError(f"{self.base_url} answers no request; the last failure: {reason}")
        return Failure(reason)


def _digest(texts: tuple[str, ...]) -> str:
    return hashlib.sha256(repr(texts).encode("utf-8", "replace")).hexdigest()[:8]
