"""One model behind a queue: requests that wait together are answered in one batch."""

from __future__ import annotations

import logging
import queue
import threading
from concurrent.futures import Future
from typing import Any

from tokenizers.pre_tokenizers import ByteLevel

from harness.core import Answer, Failure, GivenImage, Question
from harness.errors import HarnessError
from harness.florence2.predictor import Predictor
from harness.florence2.tokenizer import Tokenizer
from harness.serving.requests import BadRequest, Completion, Written

MOST_WAITING = 256  # requests
log = logging.getLogger(__name__)


class Worker:
    """A thread that answers completions with a Predictor, which no other thread may use."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor = predictor
        self.longest = predictor.decoding.max_new_tokens
        self._waiting: queue.Queue[tuple[Completion, Future[Written]] | None] = queue.Queue(MOST_WAITING)
        self._pieces = Pieces(predictor.tokenizer)
        self._thread = threading.Thread(target=self._run, name="worker", daemon=True)
        self._thread.start()

    def ask(self, completion: Completion) -> Written:
        """The answer to a completion; BadRequest if the model cannot answer it, or if too many others wait."""
        future: Future[Written] = Future()
        try:
            self._waiting.put_nowait((completion, future))
        except queue.Full:
            raise BadRequest(f"{MOST_WAITING} requests are waiting; try again later", 503) from None
        return future.result()

    def close(self) -> None:
        """Ends the thread after the requests that wait."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            batch = [self._waiting.get()]
            while len(batch) < self.predictor.batch and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            ended = None in batch
            asked = [item for item in batch if item is not None]
            try:
                self._answer(asked)
            except Exception as error:  # the server goes on: the error is of these requests
                if not isinstance(error, HarnessError):
                    log.exception("a batch of %d requests failed", len(asked))
                _fail(asked, str(error)[:300] or type(error).__name__)
            _fail(asked, "the model gave no answer")

    def _answer(self, asked: list[tuple[Completion, Future[Written]]]) -> None:
        generated: dict[int, Any] = {}
        self.predictor.watch = lambda ticket, _, sequence: generated.__setitem__(ticket, sequence)
        for ticket, answer in self.predictor.answer(
            (place, _question(completion)) for place, (completion, _) in enumerate(asked)
        ):
            completion, future = asked[ticket]
            if isinstance(answer, Failure):
                future.set_exception(BadRequest(answer.reason))
                continue
            future.set_result(self._written(completion, answer, generated[ticket]))

    def _written(self, completion: Completion, answer: Answer, sequence: Any) -> Written:
        tokens = [
            (*self._pieces.of(token), log_prob)
            for token, log_prob in zip(sequence.tokens, sequence.log_probs, strict=True)
        ]
        prompt = len(self.predictor.tokenizer.encode(completion.prompt))
        return Written(answer.raw[0], tokens, prompt, answer.truncated)


def _fail(asked: list[tuple[Completion, Future[Written]]], reason: str) -> None:
    """Gives the requests that have no answer yet the reason."""
    for _, future in asked:
        if not future.done():
            future.set_exception(BadRequest(reason, 500))


class Pieces:
    """The text and the bytes of each token."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = {letter: byte for byte, letter in enumerate(_alphabet())}

    def of(self, token: int) -> tuple[str, bytes]:
        """The text of a token, and its bytes; a token may be a part of a letter."""
        if token in self._tokenizer.added:
            text = self._tokenizer.added[token]
            return text, text.encode()
        letters = self._tokenizer.backend.id_to_token(token) or ""
        data = bytes(self._bytes[letter] for letter in letters if letter in self._bytes)
        return data.decode("utf-8", "replace"), data


def _alphabet() -> list[str]:
    """The letter of each byte in byte-level BPE: printable bytes are themselves, others follow from U+0100 (GPT-2)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    letters, others = [], 0
    for byte in range(256):
        letters.append(chr(byte) if byte in printable else chr(256 + others))
        others += byte not in printable
    if set(letters) != set(ByteLevel.alphabet()):
        raise ValueError("the alphabet of byte-level BPE is another one")
    return letters


def _question(completion: Completion) -> Question:
    """The prompt as a visual question, whose default form is the text alone."""
    image = completion.image
    return Question(GivenImage("of the request", lambda: image), None, "vqa", text=completion.prompt)
