"""The location codec: against arithmetic, against itself both ways, and against transformers' post-processor."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer as Backend
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast
from transformers.models.florence2.processing_florence2 import Florence2PostProcessor

from harness.core import Boxes, Polygons, Quads, Size
from harness.florence2 import locations
from harness.florence2.locations import Item, items

SIZE = Size(1000, 500)  # a bin is 1 pixel wide and half a pixel high
BANNED = "it"


@pytest.fixture(scope="module")
def theirs() -> Any:
    config = {"phrase_grounding": {"banned_grounding_tokens": [BANNED]}}
    return Florence2PostProcessor(config, PreTrainedTokenizerFast(tokenizer_object=Backend(BPE())))


def loc(*bins: int) -> str:
    return "".join(f"<loc_{number}>" for number in bins)


def cut(numbers: Any) -> list[int]:
    """Coordinates as transformers gives them: cut to whole pixels."""
    return [math.floor(x) for x in numbers]


BOX, OTHER = loc(10, 20, 30, 40), loc(500, 600, 700, 800)
SAME_BOXES = {
    "one": f"car{BOX}",
    "two of a label": f"car{BOX}{OTHER}",
    "two labels": f"car{BOX}a red bus{OTHER}",
    "white space": f"  a car {BOX} bus{OTHER}",
    "start and end tokens": f"<s>car{BOX}</s><pad><pad>",
    "inverted": f"car{loc(30, 40, 10, 20)}",
    "five bins": f"car{BOX}<loc_7>",
    "seven bins": f"car{BOX}{loc(1, 2, 3)}bus{OTHER}",
    "no bins": "nothing here",
    "nothing": "",
    "outermost bins": f"sky{loc(0, 0, 999, 999)}",
}


@pytest.mark.parametrize("text", SAME_BOXES.values(), ids=SAME_BOXES.keys())
def test_boxes_as_transformers(text: str, theirs: Any) -> None:
    expected = theirs.parse_description_with_bboxes_from_text_and_spans(text, SIZE)
    ours = locations.read_boxes(items(text), SIZE)
    assert [cut(box) for box in ours.boxes] == [one["bbox"] for one in expected]
    assert list(ours.labels) == [one["cat_name"] for one in expected]


# Why they differ: the text, what ours reads (labels and boxes in bins), and the labels theirs reads.
BOX_DIFFERENCES: dict[str, tuple[str, list[tuple[str, tuple[int, ...]]], list[str]]] = {
    "a newline in a label ends it in theirs": (f"two\nlines{BOX}", [("two\nlines", (10, 20, 30, 40))], []),
    "theirs begins a label after the last `<`": (f"a < b{BOX}", [("a < b", (10, 20, 30, 40))], ["b"]),
    "theirs drops letters beyond ASCII": (f"café{BOX}", [("café", (10, 20, 30, 40))], ["caf"]),
    "a mark ends a label; theirs keeps what follows its `<`": (
        f"car<and>bus{BOX}",
        [("bus", (10, 20, 30, 40))],
        ["and>bus"],
    ),
    "stray bins before a label are dropped; theirs makes the last one part of it": (
        f"car{loc(1, 2, 3)}bus{OTHER}",
        [("bus", (500, 600, 700, 800))],
        ["loc_3>bus"],
    ),
    "a box before any label has an empty one; theirs drops it, and spoils the next": (
        f"{OTHER}car{BOX}",
        [("", (500, 600, 700, 800)), ("car", (10, 20, 30, 40))],
        ["loc_800>car"],
    ),
    "a number that is no bin is text; theirs reads it, outside the image": (
        f"car<loc_1000>{BOX}",
        [("car<loc_1000>", (10, 20, 30, 40))],
        ["car"],
    ),
}


@pytest.mark.parametrize(("text", "ours", "labels"), BOX_DIFFERENCES.values(), ids=BOX_DIFFERENCES.keys())
def test_boxes_that_differ_on_purpose(text: str, ours: Any, labels: list[str], theirs: Any) -> None:
    found = locations.read_boxes(items(text), Size(1000, 1000))  # a bin is a pixel
    assert [(label, tuple(cut(box))) for label, box in zip(found.labels, found.boxes, strict=True)] == ours
    expected = theirs.parse_description_with_bboxes_from_text_and_spans(text, Size(1000, 1000))
    assert [one["cat_name"] for one in expected] == labels


def test_pronouns_are_kept(theirs: Any) -> None:
    text = f"{BANNED}{BOX}"
    assert theirs.parse_phrase_grounding_from_text_and_spans(text, SIZE) == []
    assert locations.read_boxes(items(text), SIZE).labels == (BANNED,)


def test_ocr_as_transformers(theirs: Any) -> None:
    text = f"STOP{loc(1, 2, 3, 4, 5, 6, 7, 8)} ahead {loc(11, 12, 13, 14, 15, 16, 17, 18)}"
    expected = theirs.parse_ocr_from_text_and_spans(text, None, SIZE)
    ours = locations.read_quads(items(text), SIZE)
    assert list(ours.labels) == [one["text"] for one in expected] == ["STOP", "ahead"]
    assert [cut(x for point in quad for x in point) for quad in ours.quads] == [one["quad_box"] for one in expected]


SAME_OUTLINES = {
    "one ring": loc(1, 2, 3, 4, 5, 6, 7, 8),
    "two rings": f"{loc(1, 2, 3, 4, 5, 6)}<sep>{loc(11, 12, 13, 14, 15, 16)}",
    "an odd coordinate": loc(1, 2, 3, 4, 5, 6, 7),
    "start and end": f"<s>{loc(1, 2, 3, 4, 5, 6)}</s>",
    "in poly": f"<poly>{loc(1, 2, 3, 4, 5, 6)}<sep>{loc(11, 12, 13, 14, 15, 16)}</poly>",
}


@pytest.mark.parametrize("text", SAME_OUTLINES.values(), ids=SAME_OUTLINES.keys())
def test_outlines_as_transformers(text: str, theirs: Any) -> None:
    expected = theirs.parse_description_with_polygons_from_text_and_spans(text, SIZE, allow_empty_phrase=True)
    rings = [ring for one in expected for ring in one["polygons"]]
    ours = locations.read_polygons(items(text), SIZE)
    assert [cut(x for point in ring for x in point) for ring in ours.rings] == rings
    assert rings


def test_a_ring_of_two_points_is_dropped(theirs: Any) -> None:
    text = f"{loc(1, 2, 3, 4)}<sep>{loc(11, 12, 13, 14, 15, 16)}"
    [expected] = theirs.parse_description_with_polygons_from_text_and_spans(text, SIZE, allow_empty_phrase=True)
    assert [len(ring) for ring in expected["polygons"]] == [4, 6]
    assert [len(ring) for ring in locations.read_polygons(items(text), SIZE).rings] == [3]


def test_coordinates_are_bin_centres() -> None:
    # Bins are 0.64 wide and 0.48 high: the first is centred at 0.32 and 0.24, the last at 639.68 and 479.76.
    [box] = locations.read_boxes(items(f"x{loc(0, 0, 999, 999)}"), Size(640, 480)).boxes
    assert box == pytest.approx((0.32, 0.24, 639.68, 479.76))


@pytest.mark.parametrize(("x", "side", "expected"), [
    (0.0, 640.0, 0),
    (0.63, 640.0, 0),
    (0.65, 640.0, 1),
    (639.9, 640.0, 999),
    (640.0, 640.0, 999),  # the right edge belongs to the last bin
    (700.0, 640.0, 999),
    (-5.0, 640.0, 0),
])  # fmt: skip
def test_to_bin(x: float, side: float, expected: int) -> None:
    assert locations.to_bin(x, side) == expected


@given(st.integers(0, 999), st.integers(1, 5000))
def test_a_bin_survives_being_read_and_written(number: int, side: int) -> None:
    assert locations.to_bin(locations.from_bin(number, side), side) == number


coordinates = st.tuples(st.floats(0, 640), st.floats(0, 480))


@given(st.lists(st.lists(coordinates, min_size=3, max_size=9), min_size=1, max_size=4))
def test_outlines_come_back_within_half_a_bin(rings: list[list[tuple[float, float]]]) -> None:
    size = Size(640, 480)
    value = Polygons(tuple(tuple(ring) for ring in rings))
    back = locations.read_polygons(items(locations.write_polygons(value, size)), size)
    assert [len(ring) for ring in back.rings] == [len(ring) for ring in value.rings]
    for ring, other in zip(value.rings, back.rings, strict=True):
        for (x, y), (u, v) in zip(ring, other, strict=True):
            assert abs(x - u) <= 0.32 + 1e-9
            assert abs(y - v) <= 0.24 + 1e-9


labels = st.text(st.characters(blacklist_characters="<", blacklist_categories=("Cs",)), min_size=1, max_size=8).map(
    str.strip
)


@given(st.lists(st.tuples(labels.filter(bool), coordinates, coordinates), min_size=1, max_size=5))
def test_boxes_come_back(boxes: list[tuple[str, tuple[float, float], tuple[float, float]]]) -> None:
    size = Size(640, 480)
    value = Boxes(tuple((*a, *b) for _, a, b in boxes), tuple(label for label, _, _ in boxes))
    back = locations.read_boxes(items(locations.write_boxes(value, size)), size)
    assert back.labels == value.labels
    assert [x for box in back.boxes for x in box] == pytest.approx([x for box in value.boxes for x in box], abs=0.33)


def test_quads_come_back() -> None:
    quad = ((1.5, 2.25), (10.5, 2.25), (10.5, 9.25), (1.5, 9.25))  # centres of bins
    value = Quads((quad,), ("EXIT",))
    assert locations.read_quads(items(locations.write_quads(value, SIZE)), SIZE) == value


@given(
    st.text(max_size=40),
    st.lists(st.sampled_from([*locations.MARKS, "<s>", "<loc_5>", "<loc_", "loc_7>", "<"]), max_size=9),
)
def test_no_text_breaks_the_parser(text: str, extra: list[str]) -> None:
    mixed = text[:20] + "".join(extra) + text[20:] + "".join(extra)
    found = items(mixed)
    assert locations.raw(found) == mixed.replace("<s>", "").replace("</s>", "").replace("<pad>", "") or "<s>" in mixed
    locations.read_boxes(found, SIZE)
    locations.read_quads(found, SIZE)
    locations.read_polygons(found, SIZE)


def test_confidence_keeps_region_and_label_apart() -> None:
    # Region: exp of the mean of -0.1, -0.2, -0.3, -0.4, which is exp(-0.25); label: exp of the mean of -1 and -2.
    pieces = [Item("a dog", log_probs=(-1.0, -2.0))]
    pieces += [Item(f"<loc_{b}>", bin=b, log_probs=(-p,)) for b, p in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4))]
    found = locations.read_boxes(pieces, SIZE)
    assert found.region_scores == pytest.approx((math.exp(-0.25),))
    assert found.label_scores == pytest.approx((math.exp(-1.5),))
    assert locations.outline_score(pieces) == pytest.approx(math.exp(-0.25))
    assert locations.read_boxes(items(f"a{BOX}"), SIZE).region_scores is None
