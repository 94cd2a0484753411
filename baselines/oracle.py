"""The ceiling: models that answer with the target, which also test a task from end to end.

`Oracle` answers with the target itself.  `OracleQuantised` writes the target in Florence-2's location bins, 1,000 for
each side of the image, and parses the text again.  Its score is the highest that a model with these bins can reach.

Both find a target by its question.  Where two samples have the same question and different targets, the answer is the
target of the first: a model that sees only questions cannot distinguish the two.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import numpy as np

from baselines.entry import Entry
from harness.core import (
    Answer,
    Boxes,
    Embedding,
    Failure,
    Grounded,
    Kind,
    Match,
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
DIMENSIONS = 64  # of its embeddings: an image and its captions have one vector


class Oracle:
    """Answers with the target; of several texts, with the most frequent (the first of equally frequent ones)."""

    def __init__(self, samples: Iterable[Sample[Any]]) -> None:
        self._targets: dict[Question, Value | None] = {}
        for sample in samples:
            self._targets.setdefault(sample.question, sample.target)

    @property
    def fingerprint(self) -> str:
        """The answers version, and a digest of the targets."""
        return f"oracle:v{ANSWERS_VERSION}:{hashlib.sha256(repr(self._targets).encode()).hexdigest()[:12]}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Empty: answers do not depend on the machine."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer for each question, in order; a Failure where there is no target."""
        return ((ticket, self.answer_to(question)) for ticket, question in questions)

    def answer_to(self, question: Question) -> Answer | Failure:
        """The target of a question as an answer; a Failure where there is none."""
        target = self._targets.get(question)
        if target is None:
            return Failure("the oracle has no target for this question")
        if question.kind == "embed":
            return Answer((f"{DIMENSIONS} numbers",), _direction(repr(target)))
        if question.kind == "match":
            fits = float(isinstance(target, Text) and question.text in target.texts)
            return Answer((f"{fits}",), Match(fits))
        if isinstance(target, Text):
            text = Counter(target.texts).most_common(1)[0][0]
            return Answer((text,), Text((text,)))
        if isinstance(target, Objects):
            return Answer(("oracle",), _detections(question, target))
        return Answer(("oracle",), target)


def _direction(name: str) -> Embedding:
    """A unit vector drawn for a name: equal names have equal vectors, and others point elsewhere."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return Embedding.of(np.random.default_rng(seed).standard_normal(DIMENSIONS))


class OracleQuantised:
    """Answers with the target's boxes, quadrilaterals and outlines, rounded by Florence-2's location codec."""

    def __init__(self, samples: Iterable[Sample[Any]]) -> None:
        self._oracle = Oracle(samples)

    @property
    def fingerprint(self) -> str:
        """The answers version of the codec, and the oracle's fingerprint."""
        return f"quantised:v{ANSWERS_VERSION}:{self._oracle.fingerprint}"

    @property
    def provenance(self) -> dict[str, Any]:
        """Empty: answers do not depend on the machine."""
        return {}

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer for each question, in order; a Failure where there is no target or the target is a mask."""
        return ((ticket, _quantised(self._oracle.answer_to(question), question.size)) for ticket, question in questions)


def _quantised(answer: Answer | Failure, size: Size | None) -> Answer | Failure:
    """An answer written in location bins and parsed again; values without coordinates are returned unchanged."""
    if isinstance(answer, Failure) or isinstance(answer.value, Text | Embedding | Match):
        return answer
    if size is None:
        return Failure("the annotations do not give the image's size, which location bins need")
    value = answer.value
    if isinstance(value, Boxes):
        text = locations.write_boxes(value, size)
        parsed = locations.read_boxes(locations.items(text), size)
        return Answer((text,), parsed if value.labels else Boxes(parsed.boxes))
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
    return Failure("the target is a mask, which location bins cannot represent")


def _detections(question: Question, target: Objects) -> Boxes:
    """The boxes of all objects that are not crowds, with their categories unless the question is for proposals."""
    single = [place for place, crowd in enumerate(target.crowd) if not crowd]
    labelled = single if question.kind != "propose" else []
    labels = tuple(question.phrases[target.categories[place]].text for place in labelled)
    return Boxes(tuple(target.boxes[place] for place in single), labels)


def _entry(name: str, about: str, kind: type[Oracle | OracleQuantised]) -> Entry:
    return Entry(
        name=name,
        about=about,
        build=lambda setting, _: kind(setting.samples),
        kinds=frozenset(get_args(Kind)),
        sees_targets=True,
        embedded=True,
    )


ENTRIES = (
    _entry("oracle", "answers with the target: the highest possible score, and a test of each task", Oracle),
    _entry(
        "oracle-quantised",
        "answers with the target in Florence-2's 1,000 location bins: the highest score with these bins",
        OracleQuantised,
    ),
)
