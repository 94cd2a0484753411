"""From a model's labelled boxes to detections with a category and a score.

A label names a category by its exact name, else by the name without case and surplus spaces, else by a table of
synonyms.  A box with any other label is not a detection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.core import Boxes, Phrase, Row, Xywh
from harness.geometry.boxes import is_finite, to_xywh
from harness.memo import of_latest

Synonyms = Mapping[str, str]  # label in lower case to category name in lower case


def category_of(label: str, phrases: tuple[Phrase, ...], synonyms: Synonyms) -> int | None:
    """The number of the category that a label names, by its position in `phrases`; None where it names no category."""
    return _named(label, *_numbers(phrases), synonyms)


def _named(label: str, exact: Mapping[str, int], normalised: Mapping[str, int], synonyms: Synonyms) -> int | None:
    if label in exact:
        return exact[label]
    name = _normalised(label)
    return normalised[name] if name in normalised else normalised.get(synonyms.get(name, name))


@of_latest
def _numbers(phrases: tuple[Phrase, ...]) -> tuple[dict[str, int], dict[str, int]]:
    """The numbers of categories by exact and by normalised name; of equal names the first counts."""
    exact = {phrase.text: place for place, phrase in reversed(list(enumerate(phrases)))}
    normalised = {_normalised(phrase.text): place for place, phrase in reversed(list(enumerate(phrases)))}
    return exact, normalised


def _normalised(text: str) -> str:
    return " ".join(text.lower().split())


def detections_in(row: Row[Any], synonyms: Synonyms, *, negative: bool = False) -> Iterator[tuple[Xywh, int, float]]:
    """Each valid box of an answer: [x, y, width, height] in pixels, category number, and score.

    The score is region score x label score, each 1 where the model gives none.  A box is left out if its label names no
    category, a coordinate is not finite, or its right edge is left of its left edge or its bottom above its top.  With
    `negative`, the last kind is included if it comes from a result file, as pycocotools reads it.
    """
    value = row.answer.value
    if not isinstance(value, Boxes):
        return
    ones = (1.0,) * len(value.boxes)
    region_scores, label_scores = value.region_scores or ones, value.label_scores or ones
    boxes = zip(value.boxes, value.xywh or map(to_xywh, value.boxes), strict=True)
    numbers = _numbers(row.sample.question.phrases)
    for (box, xywh), label, region_score, label_score in zip(
        boxes, value.labels, region_scores, label_scores, strict=True
    ):
        category = _named(label, *numbers, synonyms)
        if category is None or not is_finite(box):
            continue
        upright = box[0] <= box[2] and box[1] <= box[3] and min(xywh[2:]) >= 0
        if upright or (negative and value.xywh is not None):
            yield xywh, category, region_score * label_score


def unmapped(row: Row[Any], synonyms: Synonyms) -> int:
    """The number of an answer's labels that name no category."""
    value = row.answer.value
    labels = value.labels if isinstance(value, Boxes) else ()
    numbers = _numbers(row.sample.question.phrases)
    return sum(_named(label, *numbers, synonyms) is None for label in labels)
