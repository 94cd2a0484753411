"""The floor: answers to every kind of question, without opening the image."""

from __future__ import annotations

import pytest

from baselines.entry import GENERAL
from baselines.trivial import WholeImage
from harness.core import Answer, Box, Boxes, Failure, Kind, Phrase, Polygons, Question, Size, Text, Value

SIZE = Size(640, 480)
REGION: Box = (10.0, 20.0, 30.0, 50.0)


def answer_to(question: Question) -> Answer | Failure:
    [(ticket, answer)] = WholeImage().answer([(7, question)])
    assert ticket == 7
    return answer


@pytest.mark.parametrize("kind", sorted(GENERAL))
def test_question_of_every_kind_has_an_answer(kind: Kind) -> None:
    question = Question("x.jpg", SIZE, kind, region=REGION, text="a dog", phrases=(Phrase("a dog"),))
    assert isinstance(answer_to(question), Answer)


@pytest.mark.parametrize(("kind", "value"), [
    ("name", Text(("",))),
    ("describe", Text(("",))),
    ("read", Text(("",))),
    ("outline", Polygons((((10.0, 20.0), (30.0, 20.0), (30.0, 50.0), (10.0, 50.0)),))),  # the region's four corners
    ("regions", Boxes(((0.0, 0.0, 640.0, 480.0),), ("",))),
    ("propose", Boxes(((0.0, 0.0, 640.0, 480.0),))),
])  # fmt: skip
def test_answer_about_a_region_is_its_rectangle_or_an_empty_text(kind: Kind, value: Value) -> None:
    answer = answer_to(Question("x.jpg", SIZE, kind, region=REGION))
    assert isinstance(answer, Answer)
    assert answer.value == value


def test_outline_needs_a_region_but_no_size() -> None:
    assert isinstance(answer_to(Question("x.jpg", None, "outline", region=REGION)), Answer)
    missing = answer_to(Question("x.jpg", SIZE, "outline"))
    assert isinstance(missing, Failure)
    assert "needs a region" in missing.reason


def test_proposals_need_a_size() -> None:
    assert isinstance(answer_to(Question("x.jpg", None, "propose")), Failure)
