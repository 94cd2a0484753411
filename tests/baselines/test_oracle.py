"""The ceiling gives a question's target, and what is left of it in location bins."""

from __future__ import annotations

import pytest

from baselines.oracle import Oracle, OracleQuantised
from harness.core import (
    Answer,
    Box,
    Boxes,
    Failure,
    Kind,
    Objects,
    Polygons,
    Question,
    Sample,
    Size,
    Text,
    Value,
)

SIZE = Size(100, 100)  # a bin is 0.1 pixels, so its centre is at most 0.05 away
REGION: Box = (10.0, 20.0, 30.0, 50.0)
BOXES: tuple[Box, ...] = ((10.04, 20.04, 30.04, 40.04), (1.0, 2.0, 3.0, 4.0))
CENTRES = [10.05, 20.05, 30.05, 40.05, 1.05, 2.05, 3.05, 4.05]  # of the bins 100, 200, 300, 400, 10, 20, 30, 40
RING = ((10.04, 20.04), (30.04, 20.04), (30.04, 40.04))


def sample(kind: Kind, target: Value, region: Box | None = None) -> Sample[Value]:
    return Sample(kind, Question("x.jpg", SIZE, kind, region=region), target, "x.jpg")


def value_of(oracle: Oracle | OracleQuantised, question: Question) -> Value | None:
    [(_, answer)] = oracle.answer([(0, question)])
    assert isinstance(answer, Answer)
    return answer.value


@pytest.mark.parametrize(("kind", "target"), [
    ("name", Text(("dog",))),
    ("describe", Text(("a dog on a mat",))),
    ("read", Text(("STOP",))),
    ("outline", Polygons((RING,))),
    ("regions", Boxes(BOXES, ("a dog", "a cat"))),
    ("propose", Boxes(BOXES)),
])  # fmt: skip
def test_target_comes_back(kind: Kind, target: Value) -> None:
    one = sample(kind, target, REGION)
    assert value_of(Oracle([one]), one.question) == target
    quantised = value_of(OracleQuantised([one]), one.question)
    if isinstance(target, Text):
        assert quantised == target
    elif isinstance(target, Boxes):
        assert isinstance(quantised, Boxes)
        assert quantised.labels == target.labels
        assert [x for box in quantised.boxes for x in box] == pytest.approx(CENTRES)
    else:
        assert isinstance(quantised, Polygons)
        assert [x for point in quantised.rings[0] for x in point] == pytest.approx(
            [10.05, 20.05, 30.05, 20.05, 30.05, 40.05]
        )


def test_regions_of_an_image_have_targets_of_their_own() -> None:
    one, other = sample("name", Text(("dog",)), REGION), sample("name", Text(("cat",)), (1.0, 2.0, 3.0, 4.0))
    oracle = Oracle([one, other])
    assert value_of(oracle, one.question) == Text(("dog",))
    assert value_of(oracle, other.question) == Text(("cat",))
    [(_, missing)] = oracle.answer([(0, Question("x.jpg", SIZE, "name", region=(5.0, 5.0, 9.0, 9.0)))])
    assert isinstance(missing, Failure)


def test_objects_are_proposed_without_categories() -> None:
    objects = Objects(
        xywh=((1.0, 2.0, 3.0, 4.0), (5.0, 5.0, 1.0, 1.0)), categories=(0, 1), areas=(12.0, 1.0), crowd=(False, True),
        ids=(),
    )  # fmt: skip
    one = sample("propose", objects)
    assert value_of(Oracle([one]), one.question) == Boxes(((1.0, 2.0, 4.0, 6.0),))  # the crowd is left out
