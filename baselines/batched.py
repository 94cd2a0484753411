"""Makes a Model from a function that answers a batch of questions.

    def answer(images, questions):  # Pillow images in RGB, and one question for each
        return [Boxes(((0.0, 0.0, *image.size),)) for image in images]

    model = Batched("whole image, version 1", answer, setting)

Threads open the images of the next batch while the function answers the current one.  The image of a question about a
text alone (`embed`) is None.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from baselines.entry import Setting
from harness.core import Answer, Failure, ImageRef, Kind, Question, Text, Ticket, Value
from harness.errors import DataError
from harness.images import open_rgb

if TYPE_CHECKING:
    from PIL import Image

    Reply = Answer | Failure | Value | str | None  # a Value or a text is the whole answer; None: it is unparsable
    AnswerBatch = Callable[[Sequence[Any], Sequence[Question]], Sequence[Reply]]
    Pending = tuple[Ticket, Question, Future[Image.Image | None]]


class Batched:
    """A Model (see `core`) from a function that answers a batch.

    `fingerprint` must name everything on which an answer depends: raise a version in it whenever an answer could
    change. `batch_size` applies where the setting gives none.
    """

    def __init__(self, fingerprint: str, answer: AnswerBatch, setting: Setting, *, batch_size: int = 8) -> None:
        self.fingerprint = fingerprint
        self.batch_size = setting.batch_size or batch_size
        self.provenance: dict[str, Any] = {"batch size": self.batch_size}
        self._answer = answer
        self._root = setting.root

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """An answer or a Failure for each question, batch by batch; an image that cannot be opened is a Failure."""
        stream = iter(questions)
        with ThreadPoolExecutor(2, "images") as pool:
            following = self._opening(stream, pool)
            while following:
                batch, following = following, self._opening(stream, pool)
                yield from self._answered(batch)

    def _opening(self, stream: Iterator[tuple[Ticket, Question]], pool: ThreadPoolExecutor) -> list[Pending]:
        """The next batch of questions, with their images being opened; questions about one image share it."""
        opening: dict[tuple[Kind, ImageRef], Future[Image.Image | None]] = {}
        pending = []
        for ticket, question in islice(stream, self.batch_size):
            key = question.kind, question.image
            if key not in opening:
                opening[key] = pool.submit(self._opened, question)
            pending.append((ticket, question, opening[key]))
        return pending

    def _opened(self, question: Question) -> Image.Image | None:
        alone = question.kind == "embed" and not question.image
        return None if alone else open_rgb(self._root, question.image)

    def _answered(self, batch: Sequence[Pending]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        opened: list[tuple[Ticket, Question, Image.Image | None]] = []
        for ticket, question, image in batch:
            try:
                opened.append((ticket, question, image.result()))
            except DataError as error:
                yield ticket, Failure(str(error))
        if not opened:
            return
        start = time.perf_counter()
        replies = self._answer([image for *_, image in opened], [question for _, question, _ in opened])
        seconds = time.perf_counter() - start
        for (ticket, *_), reply in zip(opened, replies, strict=True):
            yield ticket, _as_answer(reply, seconds, len(opened))


def _as_answer(reply: Reply, seconds: float, batch: int) -> Answer | Failure:
    if isinstance(reply, Answer | Failure):
        return reply
    if isinstance(reply, str):
        return Answer((reply,), Text((reply,)), seconds=seconds, batch=batch)
    return Answer((repr(reply),), reply, seconds=seconds, batch=batch)
