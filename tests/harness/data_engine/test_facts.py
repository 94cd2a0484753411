"""Facts of a record, as data for a request and as the checks look them up."""

from __future__ import annotations

import json

import pytest

from harness.core import Quads, Size
from harness.data_engine.facts import MOST_REGIONS, Facts, Thing, facts_of, place_of
from harness.data_engine.records import Annotation, Verdict
from tests.harness.data_engine.rows import CAPTIONER, IMAGE, record, region, text

BRIEF = text("A man with two dogs.")
MAN = region((60, 10, 90, 90), "man")
DOG = region((0, 50, 20, 90))
DOG_IS = text("a small black dog", parents=(DOG.id,))
SIGN = Annotation(
    image=IMAGE, kind="written", origin=CAPTIONER.id,
    value=Quads((((0, 0), (9, 0), (9, 5), (0, 5)),), ("STOP",)),
)  # fmt: skip
FACTS = Facts(
    Size(100, 100),
    "A man with two dogs.",
    (
        Thing("r1", "dog", "a small black dog", (0, 50, 20, 90)),
        Thing("r2", "dog", "a white dog", (30, 50, 50, 90)),
        Thing("r3", "man", "", (60, 10, 90, 90)),
    ),
    ("STOP",),
)


def test_facts_are_regions_from_left_to_right_the_brief_text_and_written_words() -> None:
    found = facts_of(record(BRIEF, MAN, DOG, DOG_IS, SIGN))
    assert found is not None
    facts, source = found
    assert source == BRIEF and facts.source == "A man with two dogs." and facts.words == ("STOP",)
    assert facts.things == (
        Thing("r1", "a small black dog", "a small black dog", (0, 50, 20, 90)),
        Thing("r2", "man", "", (60, 10, 90, 90)),
    )
    assert facts.ids == {"t", "r1", "r2", "w1"}


def test_record_without_a_brief_text_or_a_region_has_no_facts() -> None:
    assert facts_of(record(MAN, DOG, DOG_IS)) is None  # the text is of a region
    assert facts_of(record(BRIEF)) is None
    assert facts_of(record(BRIEF, region((0, 0, 5, 5)))) is None  # a proposal names nothing
    dropped = Verdict(annotation=BRIEF.id, status="dropped", stage="texts.broken")
    assert facts_of(record(BRIEF, MAN).extended(verdicts=[dropped])) is None


def test_dropped_region_is_no_fact_and_its_text_none_of_the_image() -> None:
    dropped = Verdict(annotation=DOG.id, status="dropped", stage="boxes.score")
    found = facts_of(record(DOG_IS, BRIEF, MAN, DOG).extended(verdicts=[dropped]))
    assert found is not None and [thing.label for thing in found[0].things] == ["man"] and found[1] == BRIEF


def test_most_regions_are_the_largest() -> None:
    many = [region((0, 0, 5 + side, 5), f"thing {side}") for side in range(MOST_REGIONS + 5)]
    found = facts_of(record(BRIEF, *many, size=Size(1000, 1000)))
    assert found is not None and len(found[0].things) == MOST_REGIONS
    assert "thing 4" not in {thing.label for thing in found[0].things}


def test_data_has_whole_pixels_and_the_place_in_words() -> None:
    data = FACTS.as_data()
    assert json.loads(json.dumps(data)) == data
    assert data["regions"][0] == {
        "id": "r1", "label": "dog", "text": "a small black dog", "box": [0, 50, 20, 90], "place": "bottom left",
    }  # fmt: skip
    assert "text" not in data["regions"][2] and data["written_words"] == [{"id": "w1", "text": "STOP"}]


@pytest.mark.parametrize(
    ("box", "place"),
    [((0, 0, 10, 10), "top left"), ((40, 40, 60, 60), "middle"), ((40, 0, 60, 10), "top"), ((90, 40, 99, 60), "right")],
)
def test_place_is_one_of_nine(box: tuple[float, float, float, float], place: str) -> None:
    assert place_of(box, Size(100, 100)) == place


def test_known_counts_by_regions_and_by_the_brief_text() -> None:
    known = FACTS.known
    assert known.most("dog") == 2 and known.most("animal") == 2 and known.most("man") == 1
    assert known.most("dog", ["black"]) == 2  # the text says two dogs of no colour
    assert known.most("cat") == 0 and not known.is_several("man") and known.is_several("dog")


def test_known_attributes_are_of_the_thing() -> None:
    known = FACTS.known
    assert known.attributes("dog") == {"small", "black", "white"} and known.attributes("man") == frozenset()
    assert known.attributes("") == {"small", "black", "white"}
    assert [thing.box for thing in known.called("dog", ["white"])] == [(30, 50, 50, 90)]
    assert {"stop", "dog", "animal", "person"} <= known.vocabulary and "cat" not in known.vocabulary
