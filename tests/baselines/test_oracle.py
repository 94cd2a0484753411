"""The oracles: targets as answers, and targets rounded to location bins."""

from __future__ import annotations

import pytest

from baselines.oracle import Oracle, OracleQuantised
from harness.core import (
    Answer,
    Box,
    Boxes,
    Embedding,
    Failure,
    Kind,
    Mask,
    Match,
    Objects,
    Phrase,
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
def test_answer_is_the_target_and_quantised_at_the_centres_of_bins(kind: Kind, target: Value) -> None:
    known = sample(kind, target, REGION)
    assert value_of(Oracle([known]), known.question) == target
    quantised = value_of(OracleQuantised([known]), known.question)
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


def test_answer_depends_on_the_region_of_the_question() -> None:
    one, other = sample("name", Text(("dog",)), REGION), sample("name", Text(("cat",)), (1.0, 2.0, 3.0, 4.0))
    oracle = Oracle([one, other])
    assert value_of(oracle, one.question) == Text(("dog",))
    assert value_of(oracle, other.question) == Text(("cat",))
    [(_, missing)] = oracle.answer([(0, Question("x.jpg", SIZE, "name", region=(5.0, 5.0, 9.0, 9.0)))])
    assert isinstance(missing, Failure)


def test_proposals_are_single_objects_without_labels() -> None:
    objects = Objects(
        xywh=((1.0, 2.0, 3.0, 4.0), (5.0, 5.0, 1.0, 1.0)), categories=(0, 1), areas=(12.0, 1.0), crowd=(False, True),
        ids=(),
    )  # fmt: skip
    known = sample("propose", objects)
    assert value_of(Oracle([known]), known.question) == Boxes(((1.0, 2.0, 4.0, 6.0),))  # without the crowd


def test_detections_have_the_category_names_of_the_question() -> None:
    objects = Objects(xywh=((1.0, 2.0, 3.0, 4.0),), categories=(1,), areas=(12.0,), crowd=(False,), ids=(3, 9))
    question = Question("x.jpg", SIZE, "detect", phrases=(Phrase("cat"), Phrase("dog")))
    oracle = Oracle([Sample("1", question, objects, "x.jpg")])
    assert value_of(oracle, question) == Boxes(((1.0, 2.0, 4.0, 6.0),), ("dog",))


def test_text_is_the_most_frequent_one_and_equal_questions_have_the_first_target() -> None:
    first = sample("vqa", Text(("blue", "red", "red", "blue", "green")))
    assert value_of(Oracle([first, sample("vqa", Text(("pink",)))]), first.question) == Text(("blue",))


def test_mask_or_unknown_size_cannot_be_quantised() -> None:
    mask = sample("segment", Mask(SIZE, b""))
    unknown = Sample("1", Question("y.jpg", None, "refer"), Boxes(BOXES), "y.jpg")
    for known, message in ((mask, "the target is a mask"), (unknown, "do not give the image's size")):
        [(_, failure)] = OracleQuantised([known]).answer([(0, known.question)])
        assert isinstance(failure, Failure) and message in failure.reason


def test_fingerprint_depends_on_the_targets() -> None:
    one, other = sample("name", Text(("dog",))), sample("name", Text(("cat",)))
    assert Oracle([one]).fingerprint == Oracle([one]).fingerprint != Oracle([other]).fingerprint
    assert OracleQuantised([one]).fingerprint.endswith(Oracle([one]).fingerprint)


def test_embedding_of_an_image_is_that_of_its_captions_and_no_others() -> None:
    target, other = Text(("a cat", "the cat")), Text(("a dog",))
    questions = [Question("1.jpg", None, "embed"), Question("", None, "embed", text="a cat")]
    another = Question("2.jpg", None, "embed")
    oracle = Oracle([*(Sample(q.text, q, target, "1.jpg") for q in questions), Sample("2", another, other, "2.jpg")])
    image, caption, wrong = (answer for _, answer in oracle.answer(enumerate([*questions, another])))
    assert isinstance(image, Answer) and isinstance(wrong, Answer) and isinstance(image.value, Embedding)
    assert image == caption and isinstance(wrong.value, Embedding)
    assert abs(float(image.value.array[0].astype(float) @ wrong.value.array[0].astype(float))) < 0.5
    matching = [Question("1.jpg", None, "match", text=text) for text in ("the cat", "a dog")]
    oracle = Oracle([Sample(q.text, q, target, "1.jpg") for q in matching])
    assert [a.value for _, a in oracle.answer(enumerate(matching)) if isinstance(a, Answer)] == [Match(1.0), Match(0.0)]
