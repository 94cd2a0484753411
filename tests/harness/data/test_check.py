"""Counts of samples of every kind."""

from __future__ import annotations

from harness.core import Boxes, Polygons, Question, Sample, Text, Value
from harness.data.check import counts

REGION = (1.0, 2.0, 3.0, 4.0)


def test_kinds_about_regions_are_counted() -> None:
    targets: list[tuple[Question, Value]] = [
        (Question("a.jpg", None, "name", region=REGION), Text(("dog",))),
        (Question("a.jpg", None, "describe", region=REGION), Text(("a dog", "a brown dog"))),
        (Question("b.jpg", None, "read", region=REGION), Text(("STOP",))),
        (Question("b.jpg", None, "outline", region=REGION), Polygons((((1.0, 2.0), (3.0, 2.0), (3.0, 4.0)),))),
        (Question("c.jpg", None, "regions"), Boxes((REGION, REGION), ("a dog", "a cat"))),
        (Question("c.jpg", None, "propose"), Boxes((REGION,))),
    ]
    samples = [Sample(str(place), question, target, "") for place, (question, target) in enumerate(targets)]
    assert counts(samples) == {"samples": 6, "images": 3, "answers": 4, "objects": 3}
