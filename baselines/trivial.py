"""The floor: what an answer is worth that looks at nothing but the image's size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.core import Answer, Boxes, Failure, Grounded, Polygons, Question, Text, Ticket, Value
from harness.geometry.polygons import rectangle


class WholeImage:
    """Points at the whole image, for every phrase and of every category; says "yes" when asked, and nothing else."""

    @property
    def fingerprint(self) -> str:
        """The name and a digest of this file: there is nothing else to it."""
        return f"whole-image:{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"

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
    if question.kind in ("caption", "detailed_caption", "more_detailed_caption", "ocr"):
        return Answer(("",), Text(("",)))
    if question.size is None:
        return Failure("the annotations do not give the image's size, and its pixels are not looked at")
    whole = (0.0, 0.0, float(question.size.width), float(question.size.height))
    count = len(question.phrases)
    value: Value
    if question.kind == "ground":
        value = Grounded(((whole,),) * count)
    elif question.kind in ("detect", "find"):
        value = Boxes((whole,) * count, tuple(phrase.text for phrase in question.phrases))
    elif question.kind == "segment":
        value = Polygons((rectangle(whole),))
    else:
        value = Boxes((whole,), (question.text,))
    return Answer(("the whole image",), value)
