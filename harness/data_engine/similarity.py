"""How similar a region's crop and a text are, by a model that answers `match` or `embed`.

Questions have the kind of the model's answers, a region of an image, and a text; the answer is a `Match`.  Of a model
with two towers, which answers `embed`, it is the largest cosine of a vector of the crop and one of the text.  Numbers
have `DIGITS` significant digits and as many decimals at most, because those after them depend on what else was in a
network's batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core import Answer, Box, Embedding, Failure, GivenImage, Kind, Match, Model, Question, Size, Ticket
from harness.geometry.boxes import is_finite
from harness.images import open_rgb

if TYPE_CHECKING:
    from PIL.Image import Image

COMPARED: tuple[Kind, ...] = ("match", "embed")
VERSION = 1  # raise it whenever a crop, or an answer made of two vectors, could change
DIGITS = 3
BATCH = 256  # questions whose vectors are asked for together


class Comparing:
    """A Model of questions about a region and a text, made of a model of whole images; `root` is the data root."""

    def __init__(self, model: Model, root: Path) -> None:
        self._model = model
        self._opened = lru_cache(2)(partial(open_rgb, root))  # questions about an image follow each other

    @property
    def fingerprint(self) -> str:
        """The model's own, and the version of what is done here."""
        return f"{self._model.fingerprint} crops:v{VERSION}"

    @property
    def provenance(self) -> Mapping[str, Any]:
        """The model's own."""
        return self._model.provenance

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """A Match for each question; a Failure where the model fails on the crop or on the text."""
        stream = iter(questions)
        while batch := list(islice(stream, BATCH)):
            crops = self._crops([question for _, question in batch])
            matched = [(ticket, each) for ticket, each in batch if each.kind == "match"]
            yield from self._model.answer(
                (t, Question(crops[_place(q)], None, "match", text=q.text)) for t, q in matched
            )
            yield from self._compared([(ticket, each) for ticket, each in batch if each.kind != "match"], crops)

    def _crops(self, questions: Iterable[Question]) -> dict[tuple[str, Box], GivenImage]:
        """An image for each region, the same for all its texts."""
        places = dict.fromkeys(map(_place, questions))
        return {place: GivenImage(f"a region of {place[0]}", partial(self._crop, *place)) for place in places}

    def _crop(self, reference: str, box: Box) -> Image:
        return cropped(self._opened(reference), box)

    def _compared(
        self, questions: list[tuple[Ticket, Question]], crops: Mapping[tuple[str, Box], GivenImage]
    ) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """The answers of a model with two towers: each crop and each text is asked about once."""
        asked: dict[Any, Question] = {}
        for _, question in questions:
            place = _place(question)
            asked[place] = Question(crops[place], None, "embed")
            asked[question.text] = Question("", None, "embed", text=question.text)
        answers = dict(self._model.answer(enumerate(asked.values()))) if asked else {}
        of = {key: answers.get(ticket) for ticket, key in enumerate(asked)}
        for ticket, question in questions:
            yield ticket, _cosine(of[_place(question)], of[question.text])


def cropped(image: Image, box: Box) -> Image:
    """The pixels that a box touches; `has_pixels` says whether there are any."""
    left, top, right, bottom = _edges(box, Size(*image.size))
    return image.crop((left, top, right, bottom))


def has_pixels(box: Box, size: Size) -> bool:
    """Whether a box touches a pixel of an image."""
    if not is_finite(box):
        return False
    left, top, right, bottom = _edges(box, size)
    return left < right and top < bottom


def _edges(box: Box, size: Size) -> tuple[int, int, int, int]:
    return (
        max(0, math.floor(box[0])), max(0, math.floor(box[1])), min(size.width, math.ceil(box[2])),
        min(size.height, math.ceil(box[3])),
    )  # fmt: skip


def _place(question: Question) -> tuple[str, Box]:
    """The image and the region of a question."""
    return question.image_name, question.region or (0.0, 0.0, 0.0, 0.0)


def _cosine(seen: Answer | Failure | None, said: Answer | Failure | None) -> Answer | Failure:
    for each in (seen, said):
        if isinstance(each, Failure):
            return each
        if each is None or not isinstance(each.value, Embedding):
            return Failure("the model that compares texts with regions gave no embedding")
    vectors = [each.value.array.astype("f8") for each in (seen, said)]  # type: ignore[union-attr]
    score = float((vectors[0] @ vectors[1].T).max())
    return _rounded(Answer((f"{score:.6f}",), Match(score)))


def _rounded(answer: Answer | Failure) -> Answer | Failure:
    if isinstance(answer, Answer) and isinstance(answer.value, Match):
        number = round(float(f"{answer.value.score:.{DIGITS}g}"), DIGITS)
        return replace(answer, value=Match(number + 0.0))  # -0.0 becomes 0.0
    return answer
