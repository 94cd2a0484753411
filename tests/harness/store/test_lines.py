"""Answers and scores as lines of JSON, and back."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.core import (
    Answer,
    Boxes,
    Embedding,
    Grounded,
    Mask,
    Match,
    Objects,
    Polygons,
    Quads,
    Score,
    Size,
    Text,
    Trail,
    Value,
)
from harness.store import Appender, Kept, encoded
from harness.store.lines import MALFORMED, parse_answer, parse_score, score_line

VALUES: list[Value | None] = [
    None,
    Text(("a dog", "ein Hund äöü\n")),
    Boxes(((0.5, 1.25, 3.0, 1e-9),), ("dog",), (0.25,), (0.5,)),
    Boxes((), ()),
    Grounded((((0.0, 0.0, 1.0, 1.0), (0.5, 0.0, 1.0, 1.0)), ())),
    Quads((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),), ("EXIT",)),
    Polygons((((0.0, 0.0), (1.0, 0.0), (1.0, 1.0)), ((5.0, 5.0), (6.0, 5.0), (6.0, 6.0)))),
    Mask(Size(20, 10), b"PPYo0"),
    Embedding.of([[0.25, -1.0, 1e-9], [3.0, 4.0, 5.0]]),
    Match(-1.5),
]


def written(kept: Kept) -> str:
    """The line of an answer, without its newline."""
    stream = io.BytesIO()
    Appender(stream).write(kept)
    text = stream.getvalue().decode()
    assert text.endswith("\n") and text.count("\n") == 1
    return text[:-1]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_answer_round_trips(value: Value | None) -> None:
    answer = Answer(("<loc_1>", "x"), value, tokens=5, truncated=True, seconds=0.25, batch=3)
    kept = Kept("7", "digest", replace(answer, trail=Trail("a", "b", "c", "d") if value else None))
    assert parse_answer(written(kept)) == kept


def test_prompts_round_trip_and_lines_without_them_are_as_before() -> None:
    bare = Kept("7", "digest", Answer(("x",), None))
    assert "prompts" not in json.loads(written(bare))
    kept = Kept("7", "digest", replace(bare.answer, prompts=("What is <this>?", "a \ud800 b")))
    assert parse_answer(written(kept)).answer.prompts == ("What is <this>?", "a ? b")


def test_log_probabilities_round_trip_and_lines_without_them_are_as_before() -> None:
    bare = Kept("7", "digest", Answer(("a<loc_1>",), None))
    assert "log_probs" not in json.loads(written(bare))
    kept = Kept("7", "digest", replace(bare.answer, log_probs=((("a", -0.25), ("<loc_1>", 0.0), ("</s>", -1.5)),)))
    assert parse_answer(written(kept)) == kept
    with pytest.raises(MALFORMED):
        parse_answer(written(kept).replace("-0.25", '"x"'))


def test_answer_line_has_the_documented_fields() -> None:
    record = json.loads(written(Kept("7", "digest", Answer(("a<loc_1>",), Text(("a",))))))
    assert record == {
        "id": "7", "raw": ["a<loc_1>"], "value": {"kind": "text", "texts": ["a"]}, "tokens": 0, "truncated": False,
        "seconds": 0.0, "batch": 1, "asked": "digest",
    }  # fmt: skip


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_answer_with_undefined_number_is_not_written(number: float) -> None:
    stream = io.BytesIO()
    with pytest.raises(ValueError, match="not JSON compliant"):
        Appender(stream).write(Kept("7", "digest", Answer(("x",), Boxes(((0.0, 1.0, 2.0, number),)))))
    assert stream.getvalue() == b""


def test_encoded_value_leaves_out_fields_that_are_none() -> None:
    assert encoded(Boxes(((0.0, 1.0, 2.0, 3.0),), ("dog",))) == {
        "kind": "boxes", "boxes": ((0.0, 1.0, 2.0, 3.0),), "labels": ("dog",),
    }  # fmt: skip
    assert encoded(None) is None


def test_embedding_is_stored_as_base64_of_its_half_floats() -> None:
    """1.0 is 0x3c00 and -1.0 is 0xbc00: bytes 00 3c and 00 bc."""
    record = json.loads(written(Kept("7", "d", Answer(("",), Embedding.of([[1.0], [-1.0]])))))
    assert record["value"] == {"kind": "embedding", "data": "ADwAvA==", "vectors": 2}


def test_encoded_refuses_a_value_that_is_only_a_target() -> None:
    with pytest.raises(TypeError, match="a value of type Objects cannot be an answer"):
        encoded(Objects((), (), (), (), ()))


@pytest.mark.parametrize("line", ['{"id": "9", "raw": ["x"', '{"id": "9"}', "\x00\x00", "[]", "null", "3"])
def test_damaged_answer_line_raises_a_malformed_error(line: str) -> None:
    with pytest.raises(MALFORMED):
        parse_answer(line)


def test_answer_of_unknown_kind_raises_a_malformed_error() -> None:
    line = written(Kept("7", "digest", Answer(("a",), Text(("a",))))).replace('"text"', '"sound"')
    with pytest.raises(MALFORMED):
        parse_answer(line)


def test_score_round_trips_with_null_for_nan() -> None:
    line = score_line("7", Score({"iou": np.float64(0.1), "R@1": math.nan}, readable=True)).decode()
    assert line == '{"id": "7", "readable": true, "iou": 0.1, "R@1": null}\n'
    name, score = parse_score(line)
    assert (name, score.readable, score.values["iou"]) == ("7", True, 0.1)
    assert math.isnan(score.values["R@1"])


@pytest.mark.parametrize(("values", "readable", "line"), [
    ({"hits": np.int64(3)}, np.bool_(True), '{"id":"8","readable":true,"hits":3}\n'),
    ({"iou": np.float32(0.5), "R@1": math.nan}, False, '{"id": "8", "readable": false, "iou": 0.5, "R@1": null}\n'),
])  # fmt: skip
def test_score_line_of_numpy_numbers_is_plain_json(values: Any, readable: Any, line: str) -> None:
    assert score_line("8", Score(values, readable=readable)).decode() == line


def test_score_line_with_infinity_raises() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        score_line("7", Score({"iou": math.inf}))


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "1"}', '{"readable": true}', "null"])
def test_damaged_score_line_raises_a_malformed_error(line: str) -> None:
    with pytest.raises(MALFORMED):
        parse_score(line)


@pytest.mark.parametrize("value", [
    {"kind": "text", "texts": []},
    {"kind": "text", "texts": "a"},
    {"kind": "boxes", "boxes": [[0, 0, 1]]},
    {"kind": "boxes", "boxes": [[0, 0, 1, 1]], "labels": ["a", "b"]},
    {"kind": "boxes", "boxes": [[0, 0, 1, 1]], "region_scores": []},
    {"kind": "boxes", "boxes": [[0, 0, 1, 1]], "xywh": [[0, 0, 1, 1], [0, 0, 1, 1]]},
    {"kind": "quads", "quads": [], "labels": ["a"]},
    {"kind": "polygons", "rings": [[]]},
    {"kind": "mask", "size": [4], "counts": "04L4"},
    {"kind": "mask", "size": [4, 4], "counts": "\u0100"},
    {"kind": "embedding", "data": ""},
    {"kind": "embedding", "data": "AAAA", "vectors": 2},  # 3 bytes
    {"kind": "embedding", "data": "AHw="},  # float16's infinity
    {"kind": "embedding", "data": "*"},
    {"kind": "embedding", "data": "ADw=", "vectors": 0},
    {"kind": "match"},
    {"kind": "objects"},
    {},
])  # fmt: skip
def test_value_whose_parts_contradict_is_damaged(value: dict[str, Any]) -> None:
    record = {"id": "7", "asked": "d", "raw": ["a"], "tokens": 0, "truncated": False, "seconds": 0, "batch": 1}
    assert parse_answer(json.dumps(record | {"value": None})).id == "7"
    with pytest.raises(MALFORMED):
        parse_answer(json.dumps(record | {"value": value}))


@pytest.mark.parametrize("field", [
    {"id": 7}, {"raw": "a"}, {"raw": [1]}, {"tokens": "3"}, {"tokens": -1}, {"tokens": 10**400}, {"truncated": 0},
    {"seconds": None}, {"seconds": -1.0}, {"seconds": 1e300}, {"batch": 0}, {"asked": None}, {"trail": ["a"]},
    {"trail": [1, 2, 3, 4]}, {"value": []},
])  # fmt: skip
def test_answer_with_field_of_another_type_is_damaged(field: dict[str, Any]) -> None:
    record = {"id": "7", "asked": "d", "raw": ["a"], "tokens": 0, "truncated": False, "seconds": 0, "batch": 1}
    with pytest.raises(MALFORMED):
        parse_answer(json.dumps(record | {"value": None} | field))
