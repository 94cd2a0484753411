"""Any model as a system to measure: what a user of it waits for, from decoded images to values.

Images are decoded beforehand and held in memory, as for the engine.  The model's own preprocessing, which differs from
model to model, is part of what is timed, and so is parsing.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from PIL import Image

from harness.core import Answer, Failure, GivenImage, Model, Question
from harness.errors import DataError
from harness.images import open_rgb


class WholeModel:
    """A `scenarios.System` over `Model.answer`; a step answers up to `batch` waiting questions.

    The token ids that `poll` returns are not the model's: there are as many as it counted, and each is a checksum of
    the answer's text.  So tokens are counted and answers are compared without a tokenizer.
    """

    def __init__(self, model: Model, questions: Sequence[Question], batch: int) -> None:
        self.model = model
        self.questions = questions
        self.batch = batch
        self._waiting: list[tuple[int, int]] = []
        self._done: list[tuple[int, list[int]]] = []

    @property
    def busy(self) -> bool:
        """Whether a question waits, or has an answer that was not polled."""
        return bool(self._waiting or self._done)

    def submit(self, ticket: int, query: int) -> None:
        """Adds a question to the end of the queue."""
        self._waiting.append((ticket, query))

    def step(self) -> None:
        """Answers the next batch of questions; DataError where the model fails on one."""
        taken, self._waiting = self._waiting[: self.batch], self._waiting[self.batch :]
        for ticket, answer in self.model.answer([(ticket, self.questions[query]) for ticket, query in taken]):
            if isinstance(answer, Failure):
                raise DataError(f"a question cannot be timed: {answer.reason}")
            self._done.append((ticket, _tokens(answer)))

    def poll(self) -> list[tuple[int, list[int]]]:
        """Returns answered tickets with a list as long as the answer has tokens."""
        done, self._done = self._done, []
        return done


def _tokens(answer: Answer) -> list[int]:
    return [zlib.crc32("\0".join(answer.raw).encode("utf-8", "surrogatepass"))] * answer.tokens


def decoded(root: Path, questions: Sequence[Question]) -> list[Question]:
    """The questions, with their images opened and held in memory; DataError for an image that cannot be opened."""
    images = [open_rgb(root, question.image) for question in questions]
    return [
        replace(question, image=GivenImage(question.image_name, partial(_same, image)))
        for question, image in zip(questions, images, strict=True)
    ]


def _same(image: Image.Image) -> Image.Image:
    return image
