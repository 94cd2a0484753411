"""The floor: what an answer is worth that looks at nothing but the image's size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from harness.core import Answer, Boxes, Failure, Polygons, Question, Text, Ticket
from harness.geometry.polygons import rectangle


class WholeImage:
    """Points at the whole image: its box for `refer`, its outline for `segment`; says nothing for `caption`."""

    @property
    def fingerprint(self) -> str:
        """The name and a digest of this file: there is nothing else to it."""
        return f"whole-image:{hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing: it runs anywhere alike."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer a question, in order; a Failure for other kinds, and where the size is not known."""
        return ((ticket, _answer(question)) for ticket, question in questions)


def _answer(question: Question) -> Answer | Failure:
    if question.kind == "caption":
        return Answer(("",), Text(("",)))
    if question.kind not in ("refer", "segment"):
        return Failure(f"the whole image is no answer to a {question.kind!r} question")
    if question.size is None:
        return Failure("the annotations do not give the image's size, and its pixels are not looked at")
    whole = (0.0, 0.0, float(question.size.width), float(question.size.height))
    value = Boxes((whole,), (question.text,)) if question.kind == "refer" else Polygons((rectangle(whole),))
    return Answer(("the whole image",), value)
