"""The words of the data engine: ids, the verdict that holds, and values that do not fit their kind."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from harness.core import Boxes, Size, Text
from harness.data_engine.records import Annotation, ImageRow, Origin, Record, Verdict

IMAGE = "0" * 64
DETECTOR = Origin(kind="specialist", name="detector", fingerprint="f1")
CAT = Annotation(
    image=IMAGE, kind="region", value=Boxes(((1.0, 2.0, 3.0, 4.0),), ("cat",)), origin=DETECTOR.id, score=0.9
)
DOG = replace(CAT, value=Boxes(((1.0, 2.0, 3.0, 4.0),), ("dog",)))
RECORD = Record(image=ImageRow(reference="a.png", sha256=IMAGE, size=Size(8, 8)), annotations=(CAT, DOG))


def test_id_is_the_digest_of_what_is_asserted() -> None:
    value = '{"boxes":[[1.0,2.0,3.0,4.0]],"kind":"boxes","labels":["cat"]}'
    written = f'["{IMAGE}","region",{value},"{DETECTOR.id}","",[],null]'
    assert CAT.id == hashlib.sha256(written.encode()).hexdigest()[:24]


def test_id_of_another_score_is_the_same_and_of_another_parent_is_not() -> None:
    assert replace(CAT, score=0.1).id == CAT.id
    assert replace(CAT, value=Boxes(((1, 2, 3, 4),), ("cat",))).id == CAT.id  # whole pixels, as integers
    assert replace(CAT, parents=("p",)).id != CAT.id
    assert replace(CAT, origin=replace(DETECTOR, round=1).id).id != CAT.id


def test_kept_follows_the_last_verdict() -> None:
    dropped = Verdict(annotation=CAT.id, status="dropped", stage="boxes.score", measured=0.1, bound=0.4)
    again = Verdict(annotation=CAT.id, status="kept", stage="combine.confirmed")
    assert list(RECORD.extended(verdicts=[dropped]).kept()) == [DOG]
    assert list(RECORD.extended(verdicts=[dropped, again]).kept("region")) == [CAT, DOG]
    assert list(RECORD.kept("text")) == []


def test_extended_record_has_each_annotation_once_and_all_measures() -> None:
    record = RECORD.extended([CAT, DOG], {CAT.id: {"area": 4.0}}).extended(measures={CAT.id: {"witnesses": 1.0}})
    assert record.annotations == (CAT, DOG)
    assert record.measures == {CAT.id: {"area": 4.0, "witnesses": 1.0}}
    assert RECORD.measures == {}


@pytest.mark.parametrize(
    "change",
    [
        {"value": Text(("cat",))},
        {"value": Boxes(((0.0, 0.0, 1.0, 1.0),) * 2, ("a", "b"))},
        {"value": Boxes(((0.0, 0.0, 1.0, 1.0),), ("a",), (0.5,))},
        {"span": (0, 3)},
        {"kind": "phrase"},
        {"kind": "phrase", "span": (0, 3)},
    ],
)
def test_value_of_another_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"annotation|phrase"):
        replace(CAT, **change)  # type: ignore[arg-type]
