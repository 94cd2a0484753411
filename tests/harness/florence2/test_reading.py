"""How answers are parsed, for every kind and form."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import Box, Boxes, Grounded, Kind, Phrase, Polygons, Quads, Question, Size, Text, Value
from harness.florence2.locations import items
from harness.florence2.prompts import FORMS, prompts_of
from harness.florence2.reading import assign, read_answer

SIZE = Size(1000, 1000)  # bin n is read at n + 0.5
DOG, CAT = Phrase("dog", said="a dog with a hat"), Phrase("cat")


def read(question: Question, *texts: str, form: str = "") -> Value | None:
    return read_answer(question, [items(text) for text in texts], SIZE, form)


def question(kind: Kind, text: str = "", phrases: tuple[Phrase, ...] = ()) -> Question:
    return Question("x.jpg", SIZE, kind, text, phrases)


ONE = "<loc_1><loc_2><loc_3><loc_4>"
OTHER = "<loc_5><loc_6><loc_7><loc_8>"
FIRST: Box = (1.5, 2.5, 3.5, 4.5)
SECOND: Box = (5.5, 6.5, 7.5, 8.5)


def test_a_box_found_for_a_category_is_of_that_category() -> None:
    """Whatever label was written; and no category has a say in another's answer."""
    value = read(question("find", phrases=(DOG, CAT)), f"animal{ONE}", f"cat{OTHER}{ONE}")
    assert value == Boxes((FIRST, SECOND, FIRST), ("dog", "cat", "cat"))
    value = read(question("find", phrases=(DOG, CAT)), f"dog{ONE}", "", form="said")
    assert value == Boxes((FIRST,), ("dog",))
    value = read(question("find", phrases=(DOG, CAT)), f"animal{ONE}cat{OTHER}", form="joined")
    assert value == Boxes((FIRST, SECOND), ("animal", "cat"))  # labels are mapped when they are marked


def test_grounding_by_phrase() -> None:
    asked = question("ground", "A man, a man and a hat", (Phrase("A man"), Phrase("a man"), Phrase("a hat")))
    value = read(asked, f"A man{ONE}a  man{OTHER}{ONE}the rest{ONE}")
    assert value == Grounded(((FIRST,), (SECOND, FIRST), ()))
    value = read(asked, f"a man{ONE}a hat{OTHER}")  # written once, it serves both
    assert value == Grounded(((FIRST,), (FIRST,), (SECOND,)))
    value = read(asked, f"A man{ONE}", "", f"anything{OTHER}{ONE}", form="each")
    assert value == Grounded(((FIRST,), (), (SECOND, FIRST)))


@given(st.lists(st.sampled_from("abAB"), min_size=1, max_size=6), st.lists(st.sampled_from("abc"), max_size=6))
def test_no_box_is_given_to_another_phrase_or_lost(phrases: list[str], labels: list[str]) -> None:
    groups = [(label, ((float(place), 0.0, 1.0, 1.0),)) for place, label in enumerate(labels)]
    found = assign([Phrase(text) for text in phrases], groups)
    for text, boxes in zip(phrases, found, strict=True):
        assert {labels[int(box[0])] for box in boxes} <= {text.lower()}
        assert bool(boxes) == (text.lower() in labels)
    given = {box for boxes in found for box in boxes}
    assert given == {box for label, boxes in groups for box in boxes if label in "".join(phrases).lower()}


@pytest.mark.parametrize(("kind", "written", "value"), [
    ("caption", "a dog", Text(("a dog",))),
    ("caption", "", Text(("",))),
    ("caption", ONE, None),
    ("vqa", "<loc_1>", None),
    ("detect", "", Boxes(())),
    ("detect", "I see a dog", None),
    ("detect", "dog<loc_1><loc_2>", None),
    ("refer", "<loc_1><loc_2><loc_3>", None),
    ("segment", "", Polygons(())),
    ("segment", "<loc_1><loc_2>", None),
    ("segment", "a dog", None),
    ("ocr_regions", "", Quads((), ())),
    ("ocr_regions", f"STOP{ONE}", None),
    ("ocr", "STOP", Text(("STOP",))),
])  # fmt: skip
def test_nothing_is_an_answer_and_garbage_is_not(kind: Kind, written: str, value: Value | None) -> None:
    assert read(question(kind, phrases=(DOG,)), written) == value


def test_one_unreadable_query_of_several_finds_nothing() -> None:
    asked = question("find", phrases=(DOG, CAT))
    assert read(asked, "no idea", f"cat{ONE}") == Boxes((FIRST,), ("cat",))
    assert read(asked, "no idea", "none") is None
    assert read(question("ground", phrases=(DOG, CAT)), "", "no idea", form="each") == Grounded(((), ()))


def test_any_text_is_read_without_an_error() -> None:
    draw = random.Random(0)
    parts = ["dog", " ", ONE, OTHER, "<loc_999>", "<sep>", "<and>", "<poly>", "</s>", "<loc_1000>", "\u2028", "é"]
    for _ in range(2000):
        text = "".join(draw.choices(parts, k=draw.randrange(8)))
        for kind in FORMS:
            read(question(kind, "x", (DOG, CAT)), *[text] * len(prompts_of(question(kind, "x", (DOG, CAT)))))
