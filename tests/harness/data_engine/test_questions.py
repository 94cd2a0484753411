"""Questions of each kind, and the annotations of their answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.core import Boxes, Grounded, Kind, Mask, Match, Phrase, Polygons, Quads, Question, Size, Text, Value
from harness.data_engine.questions import (
    KINDS,
    OF_IMAGES,
    Asked,
    annotations_of,
    measures_of,
    questions,
    refuse_unknown,
)
from harness.data_engine.records import Annotation, Verdict
from harness.errors import UsageError
from tests.harness.data_engine.engines import IMAGE, ONE, record, region

CAT, DOG = region((1.0, 2.0, 30.0, 40.0)), region((5.0, 5.0, 20.0, 20.0), "dog")
BRIEF = Annotation(image=IMAGE.sha256, kind="text", value=Text(("a cat",)), origin=ONE.id, length="brief")
OF_CAT = replace(BRIEF, value=Text(("grey fur",)), parents=(CAT.id,))
PHRASE = Annotation(
    image=IMAGE.sha256, kind="phrase", value=Boxes(((1.0, 2.0, 3.0, 4.0),), ("a cat",)), origin=ONE.id,
    parents=(BRIEF.id,), span=(0, 5),
)  # fmt: skip
RECORD = record(CAT, DOG, BRIEF, OF_CAT, PHRASE).extended(
    verdicts=[Verdict(annotation=DOG.id, status="dropped", stage="boxes.score")]
)


def chunks(texts: list[str] | tuple[str, ...] | object) -> list[tuple[Phrase, ...]]:
    return [(Phrase(text[2:], 2, len(text)),) if text.startswith("a ") else () for text in texts]  # type: ignore[attr-defined]


def asked(kind: Kind, *parents: str, phrases: tuple[Phrase, ...] = ()) -> Asked:
    return Asked("k", IMAGE, Question("a.png", IMAGE.size, kind, phrases=phrases), parents)


@pytest.mark.parametrize("kind", OF_IMAGES)
def test_question_about_an_image_is_one_whatever_is_known_of_it(kind: Kind) -> None:
    (one,) = questions(kind, RECORD, "o", ["cat", "dog"])
    named = (Phrase("cat"), Phrase("dog")) if kind in ("detect", "find") else ()
    assert one.question == Question("a.png", IMAGE.size, kind, phrases=named)
    assert one.parents == ()
    assert [one] == list(questions(kind, record(), "o", ["cat", "dog"]))


@pytest.mark.parametrize("kind", ["name", "describe", "outline"])
def test_question_about_regions_is_one_for_each_kept_region(kind: Kind) -> None:
    (one,) = questions(kind, RECORD, "o")
    assert (one.question.region, one.parents) == ((1.0, 2.0, 30.0, 40.0), (CAT.id,))


@pytest.mark.parametrize("kind", ["match", "embed"])
def test_each_text_of_a_kept_region_is_compared_with_it_and_its_label_too(kind: Kind) -> None:
    outside = region((500.0, 500.0, 600.0, 600.0), "cow")
    of_outside = replace(BRIEF, value=Text(("a cow",)), parents=(outside.id,))
    told = RECORD.extended([outside, of_outside])
    pairs = [(each.question.text, each.question.region, each.parents) for each in questions(kind, told, "o")]
    box = (1.0, 2.0, 30.0, 40.0)
    assert pairs == [("cat", box, (CAT.id, CAT.id)), ("grey fur", box, (OF_CAT.id, CAT.id))]
    (first, _) = questions(kind, told, "o")
    measured = {"image": IMAGE.sha256, "annotation": CAT.id, "origin": "o", "name": "similarity", "value": 0.25}
    assert measures_of(first, Match(0.25), "o") == [measured]
    assert annotations_of(first, Match(0.25), "o") == [] == measures_of(first, None, "o")


def test_ground_asks_the_chunks_of_texts_of_the_image() -> None:
    (one,) = questions("ground", RECORD, "o", chunks=chunks)
    assert (one.question.text, one.question.phrases, one.parents) == ("a cat", (Phrase("cat", 2, 5),), (BRIEF.id,))
    with pytest.raises(ValueError, match="noun chunks"):
        list(questions("ground", RECORD, "o"))


def test_segment_asks_each_phrase_with_one_box() -> None:
    (one,) = questions("segment", RECORD, "o")
    assert (one.question.text, one.parents) == ("a cat", (PHRASE.id,))
    two = replace(PHRASE, value=Boxes(((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)), ("a cat", "a cat")))
    assert list(questions("segment", record(two), "o")) == []


def test_key_depends_on_who_is_asked_what_about_which_bytes() -> None:
    def key(kind: Kind = "detect", origin: str = "o", sha: str = "1" * 64, categories: tuple[str, ...] = ()) -> str:
        (one,) = questions(kind, replace(record(), image=replace(IMAGE, sha256=sha)), origin, categories)
        return one.key

    keys = [key(), key("propose"), key(origin="p"), key(sha="2" * 64), key(categories=("cat",))]
    assert len(set(keys)) == 5
    assert key() == keys[0]


RING = ((0.0, 0.0), (9.0, 0.0), (9.0, 9.0))
QUAD = ((0.0, 0.0), (9.0, 0.0), (9.0, 3.0), (0.0, 3.0))


@pytest.mark.parametrize(
    ("kind", "value", "kinds"),
    [
        ("caption", Text(("a cat",)), [("text", "brief")]),
        ("more_detailed_caption", Text(("a cat",)), [("text", "more_detailed")]),
        ("detect", Boxes(((1, 2, 3, 4), (5, 6, 7, 8)), ("cat", "dog")), [("region", ""), ("region", "")]),
        ("propose", Boxes(((1, 2, 3, 4),), ("thing",)), [("region", "")]),
        ("regions", Boxes(((1, 2, 3, 4),), ("a grey cat",)), [("region", ""), ("text", "brief")]),
        ("ocr_regions", Quads((QUAD, RING + RING[:1]), ("STOP", "GO")), [("written", ""), ("written", "")]),
        ("name", Text(("cat",)), [("text", "category")]),
        ("describe", Text(("a cat",)), [("text", "brief")]),
        ("outline", Polygons((RING,)), [("outline", "")]),
        ("outline", Polygons(()), []),
        ("segment", Mask(Size(4, 4), b"04P1"), [("outline", "")]),
        ("detect", None, []),
        ("detect", Boxes(()), []),
        ("detect", Text(("a cat",)), []),  # not of its kind
        ("caption", Boxes(((1, 2, 3, 4),)), []),
    ],
)  # fmt: skip
def test_answer_gives_annotations_of_its_kind(kind: Kind, value: Value | None, kinds: list[tuple[str, str]]) -> None:
    parents = (CAT.id,) if kind in ("name", "describe", "outline", "segment") else ()
    made = annotations_of(asked(kind, *parents), value, "o")
    assert [(each.kind, each.length) for each in made] == kinds
    if parents:
        assert all(each.parents == parents for each in made)


def test_region_of_a_dense_caption_is_the_parent_of_its_text_and_a_proposal_has_no_label() -> None:
    box, text = annotations_of(asked("regions"), Boxes(((1, 2, 3, 4),), ("a grey cat",), (0.5,)), "o")
    assert (box.value, box.score) == (Boxes(((1.0, 2.0, 3.0, 4.0),)), 0.5)
    assert (text.value, text.parents) == (Text(("a grey cat",)), (box.id,))
    (proposal,) = annotations_of(asked("propose"), Boxes(((1, 2, 3, 4),), ("thing",)), "o")
    assert proposal.value == Boxes(((1.0, 2.0, 3.0, 4.0),))


def test_score_is_that_of_the_region_times_that_of_its_label() -> None:
    boxes = Boxes(((1, 2, 3, 4),), ("cat",), (0.5,), (0.25,))
    assert annotations_of(asked("detect"), boxes, "o")[0].score == 0.125
    assert annotations_of(asked("detect"), replace(boxes, region_scores=None), "o")[0].score == 0.25
    assert annotations_of(asked("detect"), Boxes(((1, 2, 3, 4),), ("cat",)), "o")[0].score is None


def test_equal_assertions_count_once_with_the_highest_score() -> None:
    boxes = Boxes(((1, 2, 3, 4),) * 3, ("cat",) * 3, (0.5, 0.75, 0.25))
    (one,) = annotations_of(asked("detect"), boxes, "o")
    assert one.score == 0.75


def test_phrase_without_a_box_is_no_annotation_and_the_others_have_their_spans() -> None:
    phrases = (Phrase("a cat", 0, 5), Phrase("a dog", 10, 15))
    grounded = Grounded(((), ((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0))))
    (one,) = annotations_of(asked("ground", BRIEF.id, phrases=phrases), grounded, "o")
    assert (one.kind, one.span, one.parents) == ("phrase", (10, 15), (BRIEF.id,))
    assert one.value == Boxes(((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)), ("a dog", "a dog"))


def test_lone_surrogates_are_replaced_because_files_cannot_hold_them() -> None:
    (one,) = annotations_of(asked("caption"), Text(("a \ud800 cat",)), "o")
    assert one.value == Text(("a ? cat",))


def test_kind_that_an_engine_does_not_ask_is_refused_with_those_that_it_asks() -> None:
    for kind in KINDS:
        refuse_unknown(kind)
    with pytest.raises(UsageError, match=r"specialist vqa: an engine has no use for its answers; kinds are caption, "):
        refuse_unknown("vqa")
    with pytest.raises(UsageError, match="specialist detekt: there is no such kind"):
        refuse_unknown("detekt")
