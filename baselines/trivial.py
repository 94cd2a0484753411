"""The floor: the score of an answer that depends on the question and the image's size alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from baselines.entry import Entry
from harness.core import Answer, Boxes, Failure, Grounded, Polygons, Question, Text, Ticket, Value
from harness.geometry.polygons import rectangle

ANSWERS_VERSION = 1  # raise it whenever an answer could change


class WholeImage:
    """Gives the whole image for every phrase and category, a region's rectangle as its outline, "yes", and no words."""

    @property
    def fingerprint(self) -> str:
        """The name and the answers version: nothing else decides an answer."""
        return f"whole-image:v{ANSWERS_VERSION}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing: it runs anywhere alike."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer a question, in order; a Failure where the image's size is needed and not known."""
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
        return Failure("the annotations do not give the image's size, and its pixels are not looked at")
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
        about="points at the whole image: the floor",
        build=lambda setting, _: WholeImage(),
        embedded=True,
    ),
)
