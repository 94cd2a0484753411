"""The floor: a model whose answers depend only on the question and the image's size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from baselines.entry import GENERAL, Entry
from harness.core import Answer, Boxes, Failure, Grounded, Polygons, Question, Text, Ticket, Value
from harness.geometry.polygons import rectangle

ANSWERS_VERSION = 1  # raise it whenever an answer could change


class WholeImage:
    """Answers with the whole image for phrases and categories, the rectangle of a region, "yes", and empty texts."""

    @property
    def fingerprint(self) -> str:
        """The name and the answers version."""
        return f"whole-image:v{ANSWERS_VERSION}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Empty: answers do not depend on the machine."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer for each question, in order; a Failure where the image's size is needed and unknown."""
        return ((ticket, _answer(question)) for ticket, question in questions)


def _answer(question: Question) -> Answer | Failure:
    if question.kind == "vqa":
        return Answer(("yes",), Text(("yes",)))
    if question.kind in ("caption", "detailed_caption", "more_detailed_caption", "ocr", "name", "describe", "read"):
        return Answer(("",), Text(("",)))
    if question.kind == "outline":
        if question.region is None:
            return Failure("an 'outline' question needs a region, and this one has none")
        return Answer(("the whole region",), Polygons((rectangle(question.region),)))
    if question.size is None:
        return Failure("the annotations do not give the image's size, and this model does not open images")
    whole = (0.0, 0.0, float(question.size.width), float(question.size.height))
    count = len(question.phrases)
    value: Value
    if question.kind == "ground":
        value = Grounded(((whole,),) * count)
    elif question.kind in ("detect", "find"):
        value = Boxes((whole,) * count, tuple(phrase.text for phrase in question.phrases))
    elif question.kind == "propose":
        value = Boxes((whole,))
    elif question.kind == "segment":
        value = Polygons((rectangle(whole),))
    else:
        value = Boxes((whole,), (question.text,))
    return Answer(("the whole image",), value)


ENTRIES = (
    Entry(
        name="whole-image",
        about="answers with the whole image: the lowest score of a useful model",
        build=lambda setting, _: WholeImage(),
        kinds=GENERAL - {"ocr_regions"},
        embedded=True,
    ),
)
