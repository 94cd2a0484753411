"""Floors: models that no image informs, each with the right kind of value.

    random         a value drawn by a seed and the question: uniform boxes and outlines, "yes" or "no", common words
    most-frequent  the most frequent answer, caption or category of the task's training split
    centre-box     one centred box, whose sides are half of the image's (`--share`)

`random` and `centre-box` have seen no data.  `most-frequent` has seen the training split, which its record names; its
protocol is therefore `fine_tuned`.
"""

from __future__ import annotations

import hashlib
import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from baselines.entry import Entry, Setting
from harness.core import (
    Answer,
    Box,
    Boxes,
    Failure,
    Grounded,
    Kind,
    Objects,
    Polygons,
    Quads,
    Question,
    Sample,
    Size,
    Source,
    Text,
    Ticket,
    Value,
)
from harness.data import manifest
from harness.errors import UsageError
from harness.geometry.polygons import rectangle

ANSWERS_VERSION = 1  # raise it whenever an answer of any floor could change
WORDS = (
    "a", "the", "of", "man", "woman", "dog", "cat", "car", "red", "white", "two", "on", "in", "with", "table", "street",
)  # fmt: skip
CAPTIONS: frozenset[Kind] = frozenset({"caption", "detailed_caption", "more_detailed_caption"})
TEXTS: frozenset[Kind] = CAPTIONS | frozenset[Kind]({"vqa", "ocr", "name", "describe", "read"})
CATEGORIES: frozenset[Kind] = frozenset({"detect", "find"})
COMPARED = 500  # captions that every caption is compared with, in the search for the medoid
NO_SIZE = "the annotations do not give the image's size, and this model does not open images"


@dataclass(frozen=True, slots=True)
class Floor:
    """A Model whose answer is a function of the question alone; a ValueError of the function is a Failure."""

    fingerprint: str
    reply: Callable[[Question], Value]
    provenance: dict[str, Any] = field(default_factory=dict)

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One answer for each question, in order."""
        for ticket, question in questions:
            try:
                value = self.reply(question)
            except ValueError as error:
                yield ticket, Failure(str(error))
                continue
            yield ticket, Answer(value.texts if isinstance(value, Text) else (repr(value),), value)


def _size(question: Question) -> Size:
    if question.size is None:
        raise ValueError(NO_SIZE)
    return question.size


# ---------------------------------------------------------------------------- random


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomOptions:
    """The options of `random`."""

    draw: int = 0
    "Number of the draw; another number gives other answers"


def drawn(question: Question, draw: int) -> Value:
    """A random value of the question's kind: the same for the same question and draw.  ValueError without a size."""
    parts = (draw, question.kind, question.image_name, question.text, question.phrases, question.region)
    chance = random.Random(hashlib.sha256(repr(parts).encode("utf-8", "replace")).digest())
    names = [phrase.text for phrase in question.phrases]
    if question.kind == "vqa":
        return Text((chance.choice(("yes", "no")),))
    if question.kind in TEXTS:
        return Text((" ".join(chance.choices(WORDS, k=10 if question.kind in CAPTIONS else 2)),))
    if question.kind == "outline" and question.region is None:
        raise ValueError("an 'outline' question needs a region, and this one has none")
    if question.kind == "outline" and question.region is not None:
        return Polygons((rectangle(_box(chance, question.region)),))
    size = _size(question)
    whole: Box = (0.0, 0.0, float(size.width), float(size.height))
    if question.kind == "ground":
        return Grounded(tuple((_box(chance, whole),) for _ in names))
    if question.kind == "segment":
        return Polygons((rectangle(_box(chance, whole)),))
    if question.kind == "ocr_regions":
        left, top, right, bottom = _box(chance, whole)
        quad = ((left, top), (right, top), (right, bottom), (left, bottom))
        return Quads((quad,), (chance.choice(WORDS),))
    boxes = tuple(_box(chance, whole) for _ in range(1 if question.kind == "refer" else chance.randint(1, 5)))
    if question.kind == "propose":
        return Boxes(boxes)
    labels = names if question.kind in CATEGORIES and names else list(WORDS)
    if question.kind == "refer":
        labels = [question.text]
    return Boxes(boxes, tuple(chance.choice(labels) for _ in boxes))


def _box(chance: random.Random, within: Box) -> Box:
    """A box whose corners are uniform in a box."""
    left, top, right, bottom = within
    across = sorted(chance.uniform(left, right) for _ in range(2))
    down = sorted(chance.uniform(top, bottom) for _ in range(2))
    return (across[0], down[0], across[1], down[1])


def _random(setting: Setting, options: RandomOptions) -> Floor:
    name = f"random:draw={options.draw}:v{ANSWERS_VERSION}"
    return Floor(name, lambda question: drawn(question, options.draw), {"seen": "no data"})


# ---------------------------------------------------------------------------- centre box


@dataclass(frozen=True, slots=True, kw_only=True)
class CentreOptions:
    """The options of `centre-box`."""

    share: float = 0.5
    "Side of the box, as a share of the image's side"


def centred(question: Question, share: float) -> Value:
    """The centred box, for the expression, each phrase or each category.  ValueError without a size."""
    width, height = _size(question)
    left, top = (1 - share) / 2 * width, (1 - share) / 2 * height
    box: Box = (left, top, width - left, height - top)
    names = tuple(phrase.text for phrase in question.phrases)
    if question.kind == "ground":
        return Grounded(((box,),) * len(names))
    if question.kind in CATEGORIES:
        return Boxes((box,) * len(names), names)
    if question.kind == "segment":
        return Polygons((rectangle(box),))
    return Boxes((box,), (question.text,) if question.kind == "refer" else ())


def _centre(setting: Setting, options: CentreOptions) -> Floor:
    name = f"centre-box:share={options.share:g}:v{ANSWERS_VERSION}"
    return Floor(name, lambda question: centred(question, options.share), {"seen": "no data"})


def _refuse_share(setting: Setting, options: CentreOptions) -> None:
    if not (math.isfinite(options.share) and 0 < options.share <= 1):
        raise UsageError(f"--share {options.share}: above 0, and at most 1")


# ---------------------------------------------------------------------------- most frequent


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a training split teaches: a text for each kind, the categories from the most frequent on, and the count."""

    texts: dict[Kind, str]
    categories: tuple[str, ...]
    samples: int


def learnt(samples: Iterable[Sample[Any]]) -> Learnt:
    """The most frequent answer of each kind of text, the medoid of captions, and the categories by frequency.

    Of equally frequent texts, the first in the order of the alphabet.  Objects of crowds do not count.
    """
    texts: dict[Kind, Counter[str]] = {}
    categories: Counter[str] = Counter()
    count = 0
    for sample in samples:
        count += 1
        target, question = sample.target, sample.question
        if isinstance(target, Text):
            texts.setdefault(question.kind, Counter()).update(target.texts)
        elif isinstance(target, Objects):
            pairs = zip(target.categories, target.crowd, strict=True)
            categories.update(question.phrases[category].text for category, crowd in pairs if not crowd)
        elif isinstance(target, Boxes):
            categories.update(target.labels)
    chosen = {kind: medoid(counted) if kind in CAPTIONS else _ranked(counted)[0] for kind, counted in texts.items()}
    return Learnt(chosen, tuple(_ranked(categories)), count)


def _ranked(counted: Counter[str]) -> list[str]:
    return sorted(counted, key=lambda text: (-counted[text], text))


def medoid(counted: Counter[str]) -> str:
    """The caption that shares the most words with others: the highest mean Jaccard index of the sets of words.

    Every caption is a candidate up to `COMPARED`, drawn by a fixed seed where there are more; so are those compared.
    """
    captions = sorted(counted)
    chosen = captions if len(captions) <= COMPARED else sorted(random.Random(0).sample(captions, COMPARED))
    words = [frozenset(re.findall(r"\w+", caption.lower())) for caption in chosen]

    def similarity(place: int) -> float:
        mine = words[place]
        return sum(
            counted[chosen[other]] * len(mine & theirs) / max(1, len(mine | theirs))
            for other, theirs in enumerate(words)
            if other != place
        )

    return chosen[max(range(len(chosen)), key=lambda place: (similarity(place), -place))]


def most_frequent(question: Question, known: Learnt) -> Value:
    """The text of the question's kind, or the whole image as the most frequent of its categories.

    ValueError where the training split has no answer of this kind.
    """
    if question.kind in CATEGORIES:
        width, height = _size(question)
        names = [phrase.text for phrase in question.phrases]
        first: Sequence[str] = [name for name in known.categories if name in names] or names
        return Boxes(((0.0, 0.0, float(width), float(height)),), (first[0],)) if first else Boxes(())
    if question.kind not in known.texts:
        raise ValueError(f"the training split has no answers to {question.kind!r} questions")
    return Text((known.texts[question.kind],))


def _most_frequent(setting: Setting, _: object) -> Floor:
    part = setting.part
    if part is None:
        raise UsageError("most-frequent learns from a task's training split; there is no task here")
    if not part.task.train_splits:
        raise UsageError(f"most-frequent needs a training split, and {part.task.name} has none")
    split = part.task.train_splits[0]
    needed = [need for need in manifest.needs(part.task, [split]) if manifest.is_of_annotations(need)]
    root = part.training_root()
    manifest.require_files(part.task, root, needed)
    known = learnt(sample for sample in part.task.load(Source(root, split)) if not sample.excluded)
    digest = hashlib.sha256(repr(known).encode("utf-8", "replace")).hexdigest()[:12]
    seen = f"the targets of {known.samples:,} samples of {part.task.name} {split}"
    shown = {"texts": dict(known.texts), "categories": list(known.categories[:5])}
    return Floor(
        f"most-frequent:{digest}:v{ANSWERS_VERSION}",
        lambda question: most_frequent(question, known),
        {"seen": seen, "answers": shown},
    )


ENTRIES = (
    Entry(
        name="random",
        about="a random value of the right kind, drawn by a seed: a floor",
        build=_random,
        options=RandomOptions,
        embedded=True,
    ),
    Entry(
        name="most-frequent",
        about="the most frequent answer, caption or category of the training split: a floor",
        build=_most_frequent,
        kinds=TEXTS | CATEGORIES,
        per_task=True,
        embedded=True,
        protocol="fine_tuned",
    ),
    Entry(
        name="centre-box",
        about="a centred box of half the image's sides: a floor",
        build=_centre,
        options=CentreOptions,
        refuse=_refuse_share,
        kinds=CATEGORIES | frozenset[Kind]({"refer", "ground", "segment", "propose"}),
        embedded=True,
    ),
)
