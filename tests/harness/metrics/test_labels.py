"""Labels to categories, and boxes to scores, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

from harness.core import Answer, Boxes, Objects, Phrase, Question, Row, Sample, Score, Text
from harness.metrics.labels import category_of, detections_in, unmapped

PHRASES = (Phrase("dog"), Phrase("person"))
SYNONYMS = {"puppy": "dog", "woman": "person"}
DOG = (0.0, 0.0, 10.0, 10.0)
FAR = (20.0, 20.0, 30.0, 30.0)


def row(boxes: Boxes) -> Row[Objects]:
    sample = Sample("a", Question("a", None, "detect", phrases=PHRASES), Objects((), (), (), (), (0, 1)), "a")
    return Row(sample, Answer(("",), boxes), Score({}))


def test_label_matches_by_name_then_without_case_then_by_synonym() -> None:
    labels = ("dog", "Dog ", "puppy", "WOMAN", "person", "dogs", "", "unicorn")
    assert [category_of(label, PHRASES, SYNONYMS) for label in labels] == [0, 0, 0, 1, 1, None, None, None]


def test_exact_name_is_preferred_to_another_case() -> None:
    phrases = (Phrase("Dog"), Phrase("dog"))
    assert [category_of(label, phrases, {}) for label in ("dog", "Dog", "DOG")] == [1, 0, 0]


def test_box_score_is_region_score_times_label_score() -> None:
    scored = row(Boxes((DOG, FAR), ("dog", "woman"), (0.5, 1.0), (0.5, 0.25)))
    assert list(detections_in(scored, SYNONYMS)) == [((0, 0, 10, 10), 0, 0.25), ((20, 20, 10, 10), 1, 0.25)]
    assert [score for _, _, score in detections_in(row(Boxes((DOG,), ("dog",))), {})] == [1.0]


def test_unknown_labels_and_invalid_boxes_are_not_detections() -> None:
    inverted, infinite = (10.0, 0.0, 0.0, 10.0), (0.0, 0.0, math.inf, 10.0)
    invalid = row(Boxes((DOG, inverted, infinite), ("unicorn", "dog", "dog")))
    assert list(detections_in(invalid, {})) == []
    assert unmapped(invalid, {}) == 1  # the unicorn; invalid boxes have a category
    assert list(detections_in(replace(invalid, answer=Answer(("",), Text(("dog",)))), {})) == []
