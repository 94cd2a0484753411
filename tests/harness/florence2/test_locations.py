"""The location codec versus arithmetic, versus transformers' post-processor, and as its own inverse."""

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
def reference() -> Any:
    """transformers' post-processor."""
    config = {"phrase_grounding": {"banned_grounding_tokens": [BANNED]}}
    return Florence2PostProcessor(config, PreTrainedTokenizerFast(tokenizer_object=Backend(BPE())))


def loc(*bins: int) -> str:
    return "".join(f"<loc_{number}>" for number in bins)


def cut(numbers: Any) -> list[int]:
    """Coordinates truncated to whole pixels, as transformers truncates them."""
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
def test_boxes_equal_transformers_boxes(text: str, reference: Any) -> None:
    expected = reference.parse_description_with_bboxes_from_text_and_spans(text, SIZE)
    parsed = locations.read_boxes(items(text), SIZE)
    assert [cut(box) for box in parsed.boxes] == [box["bbox"] for box in expected]
    assert list(parsed.labels) == [box["cat_name"] for box in expected]


# The difference: the text, our labels and boxes in bins, and transformers' labels.
BOX_DIFFERENCES: dict[str, tuple[str, list[tuple[str, tuple[int, ...]]], list[str]]] = {
    "transformers ends a label at a newline": (f"two\nlines{BOX}", [("two\nlines", (10, 20, 30, 40))], []),
    "transformers begins a label after the last `<`": (f"a < b{BOX}", [("a < b", (10, 20, 30, 40))], ["b"]),
    "transformers drops letters beyond ASCII": (f"café{BOX}", [("café", (10, 20, 30, 40))], ["caf"]),
    "a markup token ends a label; transformers keeps the text behind its `<`": (
        f"car<and>bus{BOX}",
        [("bus", (10, 20, 30, 40))],
        ["and>bus"],
    ),
    "stray bins before a label are dropped; transformers adds the last to the label": (
        f"car{loc(1, 2, 3)}bus{OTHER}",
        [("bus", (500, 600, 700, 800))],
        ["loc_3>bus"],
    ),
    "a box before the first label has an empty one; transformers drops the box, and changes the next label": (
        f"{OTHER}car{BOX}",
        [("", (500, 600, 700, 800)), ("car", (10, 20, 30, 40))],
        ["loc_800>car"],
    ),
    "a number above 999 is text; transformers parses it as a bin outside the image": (
        f"car<loc_1000>{BOX}",
        [("car<loc_1000>", (10, 20, 30, 40))],
        ["car"],
    ),
}


@pytest.mark.parametrize(("text", "ours", "labels"), BOX_DIFFERENCES.values(), ids=BOX_DIFFERENCES.keys())
def test_boxes_that_differ_on_purpose_differ_as_documented(
    text: str, ours: Any, labels: list[str], reference: Any
) -> None:
    parsed = locations.read_boxes(items(text), Size(1000, 1000))  # a bin is a pixel
    assert [(label, tuple(cut(box))) for label, box in zip(parsed.labels, parsed.boxes, strict=True)] == ours
    expected = reference.parse_description_with_bboxes_from_text_and_spans(text, Size(1000, 1000))
    assert [box["cat_name"] for box in expected] == labels


def test_pronoun_that_transformers_bans_is_kept(reference: Any) -> None:
    text = f"{BANNED}{BOX}"
    assert reference.parse_phrase_grounding_from_text_and_spans(text, SIZE) == []
    assert locations.read_boxes(items(text), SIZE).labels == (BANNED,)


def test_quads_equal_transformers_quads(reference: Any) -> None:
    text = f"STOP{loc(1, 2, 3, 4, 5, 6, 7, 8)} ahead {loc(11, 12, 13, 14, 15, 16, 17, 18)}"
    expected = reference.parse_ocr_from_text_and_spans(text, None, SIZE)
    parsed = locations.read_quads(items(text), SIZE)
    assert list(parsed.labels) == [quad["text"] for quad in expected] == ["STOP", "ahead"]
    assert [cut(x for point in quad for x in point) for quad in parsed.quads] == [quad["quad_box"] for quad in expected]


SAME_OUTLINES = {
    "one ring": loc(1, 2, 3, 4, 5, 6, 7, 8),
    "two rings": f"{loc(1, 2, 3, 4, 5, 6)}<sep>{loc(11, 12, 13, 14, 15, 16)}",
    "an odd coordinate": loc(1, 2, 3, 4, 5, 6, 7),
    "start and end": f"<s>{loc(1, 2, 3, 4, 5, 6)}</s>",
    "in poly": f"<poly>{loc(1, 2, 3, 4, 5, 6)}<sep>{loc(11, 12, 13, 14, 15, 16)}</poly>",
}


@pytest.mark.parametrize("text", SAME_OUTLINES.values(), ids=SAME_OUTLINES.keys())
def test_outlines_equal_transformers_outlines(text: str, reference: Any) -> None:
    expected = reference.parse_description_with_polygons_from_text_and_spans(text, SIZE, allow_empty_phrase=True)
    rings = [ring for outline in expected for ring in outline["polygons"]]
    parsed = locations.read_polygons(items(text), SIZE)
    assert [cut(x for point in ring for x in point) for ring in parsed.rings] == rings
    assert rings


def test_ring_of_two_points_is_dropped(reference: Any) -> None:
    text = f"{loc(1, 2, 3, 4)}<sep>{loc(11, 12, 13, 14, 15, 16)}"
    [expected] = reference.parse_description_with_polygons_from_text_and_spans(text, SIZE, allow_empty_phrase=True)
    assert [len(ring) for ring in expected["polygons"]] == [4, 6]
    assert [len(ring) for ring in locations.read_polygons(items(text), SIZE).rings] == [3]


def test_parsed_coordinates_are_bin_centres() -> None:
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
def test_to_bin_of_a_coordinate_is_its_bin_or_the_nearest(x: float, side: float, expected: int) -> None:
    assert locations.to_bin(x, side) == expected


@given(st.integers(0, 999), st.integers(1, 5000))
def test_bin_parsed_and_written_again_is_the_same(number: int, side: int) -> None:
    assert locations.to_bin(locations.from_bin(number, side), side) == number


coordinates = st.tuples(st.floats(0, 640), st.floats(0, 480))


@given(st.lists(st.lists(coordinates, min_size=3, max_size=9), min_size=1, max_size=4))
def test_outline_written_and_parsed_is_within_half_a_bin(rings: list[list[tuple[float, float]]]) -> None:
    size = Size(640, 480)
    value = Polygons(tuple(tuple(ring) for ring in rings))
    parsed = locations.read_polygons(items(locations.write_polygons(value, size)), size)
    assert [len(ring) for ring in parsed.rings] == [len(ring) for ring in value.rings]
    for ring, other in zip(value.rings, parsed.rings, strict=True):
        for (x, y), (u, v) in zip(ring, other, strict=True):
            assert abs(x - u) <= 0.32 + 1e-9
            assert abs(y - v) <= 0.24 + 1e-9


labels = st.text(st.characters(blacklist_characters="<", blacklist_categories=("Cs",)), min_size=1, max_size=8).map(
    str.strip
)


@given(st.lists(st.tuples(labels.filter(bool), coordinates, coordinates), min_size=1, max_size=5))
def test_boxes_written_and_parsed_keep_labels_and_are_within_half_a_bin(
    boxes: list[tuple[str, tuple[float, float], tuple[float, float]]],
) -> None:
    size = Size(640, 480)
    value = Boxes(tuple((*a, *b) for _, a, b in boxes), tuple(label for label, _, _ in boxes))
    parsed = locations.read_boxes(items(locations.write_boxes(value, size)), size)
    assert parsed.labels == value.labels
    assert [x for box in parsed.boxes for x in box] == pytest.approx([x for box in value.boxes for x in box], abs=0.33)


def test_quad_of_bin_centres_written_and_parsed_is_the_same() -> None:
    quad = ((1.5, 2.25), (10.5, 2.25), (10.5, 9.25), (1.5, 9.25))  # centres of bins
    value = Quads((quad,), ("EXIT",))
    assert locations.read_quads(items(locations.write_quads(value, SIZE)), SIZE) == value


@given(
    st.text(max_size=40),
    st.lists(st.sampled_from([*locations.MARKS, "<s>", "<loc_5>", "<loc_", "loc_7>", "<"]), max_size=9),
)
def test_any_text_is_parsed_without_an_error(text: str, extra: list[str]) -> None:
    mixed = text[:20] + "".join(extra) + text[20:] + "".join(extra)
    pieces = items(mixed)
    assert locations.raw(pieces) == mixed.replace("<s>", "").replace("</s>", "").replace("<pad>", "") or "<s>" in mixed
    locations.read_boxes(pieces, SIZE)
    locations.read_quads(pieces, SIZE)
    locations.read_polygons(pieces, SIZE)


def test_boxes_with_log_probabilities_have_region_and_label_scores() -> None:
    # Region: exp of the mean of -0.1, -0.2, -0.3, -0.4, which is exp(-0.25); label: exp of the mean of -1 and -2.
    pieces = [Item("a dog", log_probs=(-1.0, -2.0))]
    pieces += [Item(f"<loc_{b}>", bin=b, log_probs=(-p,)) for b, p in ((1, 0.1), (2, 0.2), (3, 0.3), (4, 0.4))]
    parsed = locations.read_boxes(pieces, SIZE)
    assert parsed.region_scores == pytest.approx((math.exp(-0.25),))
    assert parsed.label_scores == pytest.approx((math.exp(-1.5),))
    assert locations.read_boxes(items(f"a{BOX}"), SIZE).region_scores is None
