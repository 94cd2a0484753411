"""The ceiling: answers with the target, and so tests a task from end to end (100, or the reason why not).

`Oracle` gives the target as it is.  `OracleQuantised` gives what is left of it once it is written in Florence-2's
1,000 location bins a side and read back, which is the most that a model with that alphabet can score.

Both know a target by its question.  Where two samples ask the same of one image and want different things, the answer
is the first one's: no model that sees only questions could tell them apart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from baselines.entry import Entry
from harness.core import (
    Answer,
    Boxes,
    Failure,
    Grounded,
    Objects,
    Polygons,
    Quads,
    Question,
    Sample,
    Size,
    Text,
    Ticket,
    Value,
)
from harness.florence2 import locations

ANSWERS_VERSION = 1  # raise it whenever an answer of either oracle could change


class Oracle:
    """Answers with the target; of several texts, with the most frequent (the first of those)."""

    def __init__(self, samples: Iterable[Sample[Any]]) -> None:
        self._targets: dict[Question, Value | None] = {}
        for sample in samples:
            self._targets.setdefault(sample.question, sample.target)

    @property
    def fingerprint(self) -> str:
        """The answers version, and a digest of the targets: they are its weights."""
        return f"oracle:v{ANSWERS_VERSION}:{hashlib.sha256(repr(self._targets).encode()).hexdigest()[:12]}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing: it runs anywhere alike."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer a question, in order; a Failure where there is no target."""
        return ((ticket, self.answer_to(question)) for ticket, question in questions)

    def answer_to(self, question: Question) -> Answer | Failure:
        """The target of one question."""
        target = self._targets.get(question)
        if target is None:
            return Failure("the oracle has no target for this question")
        if isinstance(target, Text):
            text = Counter(target.texts).most_common(1)[0][0]
            return Answer((text,), Text((text,)))
        if isinstance(target, Objects):
            return Answer(("oracle",), _found(question, target))
        return Answer(("oracle",), target)


class OracleQuantised:
    """The oracle's boxes, quads and outlines through Florence-2's bins, as its own codec writes and reads them."""

    def __init__(self, samples: Iterable[Sample[Any]]) -> None:
        self._oracle = Oracle(samples)

    @property
    def fingerprint(self) -> str:
        """The answers version of the codec, and the oracle's fingerprint."""
        return f"quantised:v{ANSWERS_VERSION}:{self._oracle.fingerprint}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Nothing: it runs anywhere alike."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer a question, in order; a Failure too for a mask, which has no outline to write."""
        return ((ticket, _quantised(self._oracle.answer_to(question), question.size)) for ticket, question in questions)


def _quantised(answer: Answer | Failure, size: Size | None) -> Answer | Failure:
    """An answer as it comes back from location bins; texts have none and stay."""
    if isinstance(answer, Failure) or isinstance(answer.value, Text):
        return answer
    if size is None:
        return Failure("the annotations do not give the image's size, and bins are shares of it")
    value = answer.value
    if isinstance(value, Boxes):
        text = locations.write_boxes(value, size)
        read = locations.read_boxes(locations.items(text), size)
        return Answer((text,), read if value.labels else Boxes(read.boxes))
    if isinstance(value, Quads):
        text = locations.write_quads(value, size)
        return Answer((text,), locations.read_quads(locations.items(text), size))
    if isinstance(value, Polygons):
        text = locations.write_polygons(value, size)
        return Answer((text,), locations.read_polygons(locations.items(text), size))
    if isinstance(value, Grounded):
        texts = [locations.write_boxes(Boxes(boxes), size) for boxes in value.boxes]
        return Answer(
            tuple(texts), Grounded(tuple(locations.read_boxes(locations.items(t), size).boxes for t in texts))
        )
    return Failure("this target is a mask, which location bins cannot write")


def _found(question: Question, target: Objects) -> Boxes:
    """A perfect detector's boxes: every object that is not a crowd, with its category unless proposals are queried."""
    alone = [place for place, crowd in enumerate(target.crowd) if not crowd]
    named = alone if question.kind != "propose" else []
    names = tuple(question.phrases[target.categories[place]].text for place in named)
    return Boxes(tuple(target.boxes[place] for place in alone), names)


def _entry(name: str, about: str, kind: type[Oracle | OracleQuantised]) -> Entry:
    return Entry(
        name=name,
        about=about,
        build=lambda setting, _: kind(setting.samples),
        sees_targets=True,
        embedded=True,
    )


ENTRIES = (
    _entry("oracle", "answers with the target: the ceiling, and the self-test of every task", Oracle),
    _entry(
        "oracle-quantised",
        "the target through Florence-2's 1,000 location bins: the most such a model can score",
        OracleQuantised,
    ),
)
