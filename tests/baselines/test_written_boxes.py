"""Boxes as text: well-formed, half-formed and absurd outputs, and the conversion to pixels."""

from __future__ import annotations

import time

import pytest

from baselines.written_boxes import LONGEST, from_json, from_lists, from_pixels, says_none, to_pixels
from harness.core import Size

DOG = ((1.0, 2.0, 3.0, 4.0), "dog")
CAT = ((5.0, 6.5, 7.0, 8.0), "cat")


def pairs(found: list) -> list:
    return [(one.box, one.label) for one in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, {"bbox_2d": [5, 6.5, 7, 8], "label": "cat"}]', [DOG, CAT]),
        ('```json\n[\n\t{"bbox_2d": [1, 2, 3, 4], "label": "dog"}\n]\n```', [DOG]),
        ('Here it is:\n```json\n{"bbox_2d": [1, 2, 3, 4], "label": " dog "}\n```\nAnything else?', [DOG]),
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, {"bbox_2d": [5, 6.5, 7', [DOG]),  # cut off by a limit
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"}, {"bbox_2d": [5, 6.5, 7, 8], "label": "c', [DOG]),
        ('[{"bbox_2d": [1, 2, 3, 4], "label": "dog"} {"bbox_2d": [5, 6.5, 7, 8], "label": "cat"}', [DOG, CAT]),
        ('[{\n{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]', [DOG]),  # as in cookbooks/omni_recognition.ipynb
        ("[{'bbox_2d': [1, 2, 3, 4], 'label': 'dog'}]", [DOG]),  # ast.literal_eval of the authors reads it
        ("""[{'bbox_2d': [1, 2, 3, 4], 'label': "dog"}, {"bbox_2d": [5, 6.5, 7, 8], "label": "cat"}]""", [DOG, CAT]),
        ('{"objects": [{"bbox_2d": [1, 2, 3, 4], "label": "dog"}]}', [DOG]),
        ('{"bbox_2d": [1, 2, 3, 4], "label": "a {dog}"}', [(DOG[0], "a {dog}")]),
        ('{"bbox_2d": [1, 2, 3, 4]}', [(DOG[0], "")]),
        ('{"bbox_2d": [1, 2, 3, 4], "label": ["dog"]}', [(DOG[0], "")]),
        ('{"bbox_2d": [3, 4, 1, 2], "label": "dog"}', [((3.0, 4.0, 1.0, 2.0), "dog")]),  # inverted, as written
        ('{"bbox_2d": [-1, 2, 3000, 4], "label": "dog"}', [((-1.0, 2.0, 3000.0, 4.0), "dog")]),
    ],
)
def test_from_json_well_or_half_formed_gives_the_whole_boxes(text: str, expected: list) -> None:
    assert pairs(from_json(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "no dog", "[1, 2, 3, 4]", '{"bbox": [1, 2, 3, 4]}', '{"bbox_2d": [1, 2, 3]}',
        '{"bbox_2d": [1, 2, 3, 4, 5]}', '{"bbox_2d": "1, 2, 3, 4"}', '{"bbox_2d": [1, 2, 3, "4"]}',
        '{"bbox_2d": [1, 2, 3, true]}', '{"bbox_2d": [1, 2, 3, null]}', '{"bbox_2d": [NaN, 2, 3, 4]}',
        '{"bbox_2d": [1e999, 2, 3, 4]}', '{"bbox_2d": [' + "9" * 400 + ", 2, 3, 4]}",
        '{"bbox_2d": [' + "9" * 5000 + ", 2, 3, 4]}", '{"bbox_2d": {"x": 1}}', "{'bbox_2d': [1, 2, 3, open]}",
        "{'bbox_2d': [[[[1]]]]}", "{'bbox_2d': (1, 2, 3, 4)", "{1: {2: 3}}", "{[]: 1}", '{"\\ud800": 1}',
    ],
)  # fmt: skip
def test_from_json_absurd_text_gives_no_boxes(text: str) -> None:
    assert from_json(text) == []


def test_label_is_under_the_first_key_that_an_object_has() -> None:
    text = (
        '[{"bbox_2d": [1, 2, 3, 4], "label": "word", "text_content": "EXIT"}, {"bbox_2d": [1, 2, 3, 4], "label": "A"}]'
    )
    assert [found.label for found in from_json(text, ("text_content", "label"))] == ["EXIT", "A"]
    assert [found.label for found in from_json(text)] == ["word", "A"]


@pytest.mark.parametrize("size", [Size(640, 480), Size(480, 640), Size(20, 10), Size(3000, 17)])
@pytest.mark.parametrize("extent", [(1000.0, 1000.0), (644.0, 476.0)])
def test_numbers_of_a_box_are_read_back_within_half_a_unit(size: Size, extent: tuple[float, float]) -> None:
    box = (size.width / 7, size.height / 3, size.width / 1.5, size.height * 0.99)
    back = to_pixels(tuple(from_pixels(box, extent, size)), extent, size)  # type: ignore[arg-type]
    for side in range(4):
        unit = (size.width, size.height)[side % 2] / extent[side % 2]
        assert abs(back[side] - box[side]) <= unit / 2 + 1e-9


def test_numbers_of_a_box_that_reaches_beyond_the_image_end_at_its_edges() -> None:
    # 20 of 200 is 100 thousandths; 90 of 100 is 900
    assert from_pixels((-5.0, 90.0, 20.0, 300.0), (1000.0, 1000.0), Size(200, 100)) == [0, 900, 100, 1000]


def test_label_with_half_a_letter_is_made_valid_text() -> None:
    [found] = from_json('{"bbox_2d": [1, 2, 3, 4], "label": "\\ud83d dog"}')
    assert found.label == "? dog"


@pytest.mark.parametrize(
    "text", ["{" * LONGEST, '{"a":' * LONGEST, "{'a':[" * LONGEST, "[" * LONGEST, "[1,2," * LONGEST]
)
def test_long_absurd_text_is_read_in_seconds(text: str) -> None:
    start = time.perf_counter()
    assert from_json(text) == from_lists(text) == []
    assert time.perf_counter() - start < 20


def test_place_of_a_box_is_that_of_its_object() -> None:
    text = 'see {"bbox_2d": [1, 2, 3, 4]} and [[5, 6, 7, 8]]'
    [found] = from_json(text)
    assert text[found.start : found.end] == '{"bbox_2d": [1, 2, 3, 4]}'
    [_, found] = from_lists(text)
    assert text[found.start : found.end] == "[5, 6, 7, 8]"


def test_text_beyond_the_limit_is_not_read() -> None:
    listed, written = "[1,2,3,4],", '{"bbox_2d":[1,2,3,4]}'
    assert len(from_lists(listed * LONGEST)) == (LONGEST + 1) // len(listed)  # the last one needs no comma
    assert len(from_json(written * LONGEST)) == LONGEST // len(written)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[1, 2, 3, 4]]", [(DOG[0], "")]),
        ("<ref>dog</ref><box>[[1, 2, 3, 4]]</box>", [DOG]),
        ("<ref>dog</ref>[[1, 2, 3, 4], [5, 6.5, 7, 8]]", [DOG, (CAT[0], "dog")]),
        ("The dog is at [1,2,3,4].", [(DOG[0], "")]),
        ("[[1, 2, 3, 4", []),
        ("[[1, 2, 3]]", []),
        ("[[1, 2, 3, 4, 5]]", []),
        ("[[a, 2, 3, 4]]", []),
        ("[[1e3, 2, 3, 4]]", []),
        ("1, 2, 3, 4", []),
        ("", []),
        ("[[-1, 2, 3, 4000]]", [((-1.0, 2.0, 3.0, 4000.0), "")]),
        ("[[" + "9" * 400 + ", 2, 3, 4]]", []),
    ],
)
def test_from_lists_gives_the_whole_lists_of_four_numbers(text: str, expected: list) -> None:
    assert pairs(from_lists(text)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[]", True), ("[[]]", True), (" [ ]\n", True), ("```json\n[]\n```", True), ("", False), ("none", False),
     ("[1]", False), ("```json\n```", False), ("[", False)],
)  # fmt: skip
def test_says_none_is_true_for_an_empty_list_only(text: str, expected: bool) -> None:
    assert says_none(text) is expected


@pytest.mark.parametrize("size", [Size(640, 480), Size(480, 640), Size(20, 30), Size(5000, 100)])
@pytest.mark.parametrize("extent", [(1000.0, 1000.0), (644.0, 476.0), (1.0, 1.0)])
def test_to_pixels_of_a_written_box_gives_the_box_back(size: Size, extent: tuple[float, float]) -> None:
    box = (size.width * 0.1, size.height * 0.25, size.width * 0.5, size.height * 1.0)
    written = tuple(value / side * limit for value, side, limit in zip(box, size * 2, extent * 2, strict=True))
    assert to_pixels(written, extent, size) == pytest.approx(box)  # type: ignore[arg-type]


def test_to_pixels_of_a_box_outside_is_clipped() -> None:
    assert to_pixels((-5, -5, 2000, 900), (1000, 1000), Size(100, 50)) == (0, 0, 100, 45)
