"""Parses Florence-2's answers into values, and writes targets as the text that a model is trained to write.

A form over `each` phrase labels every box with the queried phrase, whatever label was written.  A `joined` form needs
a label that repeats a phrase.  No form uses the target, and all forms parse coordinates alike.

An answer is parsable if it has the form of its kind.  An empty answer is parsable: no boxes, no outline, no words.
Words instead of boxes, or location tokens alone instead of words, are unparsable (None).

The published checkpoints repeat the region behind its category or description (`car<loc_52>...`, in the examples of
their release).  The parser drops these location tokens, and targets are written with them.
"""

from __future__ import annotations

from collections.abc import Sequence

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Polygons, Quads, Question, Size, Text, Value
from harness.errors import UsageError
from harness.florence2.locations import (
    Item,
    plain,
    read_boxes,
    read_groups,
    read_polygons,
    read_quads,
    write_boxes,
    write_quads,
)
from harness.florence2.locations import write_polygons as write_outline
from harness.florence2.prompts import FORMS, region_tokens

REPEATED = ("name", "describe")  # kinds whose answer repeats the region behind the words

# ---------------------------------------------------------------------------- parsing


def read_answer(question: Question, answers: Sequence[Sequence[Item]], size: Size, form: str = "") -> Value | None:
    """The value of a question's answers, one per prompt, in pixels of an image of this size; None if unparsable.

    `form` is that of the prompts ("": the default).  With several prompts, the value is None only if all their answers
    are unparsable; an unparsable one among others has no boxes.
    """
    chosen = FORMS[question.kind][form or next(iter(FORMS[question.kind]))]
    values = [_read_answer(question.kind, pieces, size) for pieces in answers]
    if answers and all(value is None for value in values):
        return None
    if question.kind == "ground":
        if chosen.over == "each":
            return Grounded(tuple(value.boxes if isinstance(value, Boxes) else () for value in values))
        return Grounded(assign(question.phrases, read_groups(answers[0], size)))
    if chosen.over != "each":
        return values[0]
    return _merged(question.phrases, values)


def assign(phrases: Sequence[Phrase], groups: Sequence[tuple[str, tuple[Box, ...]]]) -> tuple[tuple[Box, ...], ...]:
    """The boxes of each phrase, from groups of a written label and its boxes.

    A label belongs to a phrase with the same text, without regard to case and spaces.  If several phrases have the same
    text, the first of its labels belongs to the first of them, the second to the second, and so on.  Surplus labels
    belong to the last of these phrases; if labels are too few, the last label serves the remaining phrases.
    Boxes of other labels are dropped.
    """
    written: dict[str, list[tuple[Box, ...]]] = {}
    for label, boxes in groups:
        written.setdefault(_normalised(label), []).append(boxes)
    same_text: dict[str, list[int]] = {}
    for index, phrase in enumerate(phrases):
        same_text.setdefault(_normalised(phrase.text), []).append(index)
    assigned: list[tuple[Box, ...]] = [()] * len(phrases)
    for text, indices in same_text.items():
        available = written.get(text, [])
        for count, index in enumerate(indices):
            last = count == len(indices) - 1
            chosen = available[count:] if last and count < len(available) else available[: count + 1][-1:]
            assigned[index] = tuple(box for boxes in chosen for box in boxes)
    return tuple(assigned)


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())


def _merged(phrases: Sequence[Phrase], values: Sequence[Value | None]) -> Boxes:
    """The boxes of all phrases as one value; each box has its phrase as label."""
    named = [(phrase.text, value) for phrase, value in zip(phrases, values, strict=True) if isinstance(value, Boxes)]
    scored = all(value.region_scores is not None for _, value in named)
    return Boxes(
        tuple(box for _, value in named for box in value.boxes),
        tuple(text for text, value in named for _ in value.boxes),
        tuple(score for _, value in named for score in value.region_scores or ()) if scored else None,
        tuple(score for _, value in named for score in value.label_scores or ()) if scored else None,
    )


def _read_answer(kind: Kind, pieces: Sequence[Item], size: Size) -> Value | None:
    empty = not any(piece.text.strip() for piece in pieces)
    if kind in ("detect", "find", "ground", "refer", "regions", "propose"):
        boxes = read_boxes(pieces, size)
        if kind == "propose":
            boxes = Boxes(boxes.boxes, region_scores=boxes.region_scores)
        return boxes if boxes.boxes or empty else None
    if kind in ("segment", "outline"):
        outline = read_polygons(pieces, size)
        return outline if outline.rings or empty else None
    if kind == "ocr_regions":
        quads = read_quads(pieces, size)
        return quads if quads.quads or empty else None
    words = plain(pieces)
    return Text((words,)) if words or empty else None


# ---------------------------------------------------------------------------- writing


def write_answer(question: Question, value: Value, size: Size) -> str:
    """The text that a model is trained to write as the answer; coordinates and `size` are in pixels.

    UsageError if the value has no written form.  DataError if a region has to be written and cannot be (see
    `prompts.region_tokens`).
    """
    if isinstance(value, Text):
        words = value.texts[0]
        return words + region_tokens(question, size) if words and question.kind in REPEATED else words
    if isinstance(value, Boxes):
        return write_boxes(Boxes(value.boxes) if question.kind == "propose" else value, size)
    if isinstance(value, Grounded):
        named = zip(question.phrases, value.boxes, strict=True)
        return "".join(write_boxes(Boxes(boxes, (phrase.text,) * len(boxes)), size) for phrase, boxes in named)
    if isinstance(value, Quads):
        return write_quads(value, size)
    if isinstance(value, Polygons):
        return write_outline(value, size)
    raise UsageError(f"a {type(value).__name__} cannot be written as the answer to a {question.kind!r} question")
