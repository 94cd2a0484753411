"""JSON lines: every field, and malformed lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.own import jsonl
from harness.data.own.content import Asked, Content, Notes, Said, Thing
from harness.errors import DataError

CORNERS = [[1, 2], [5, 2], [5, 8]]
RING = (1.0, 2.0, 5.0, 2.0, 5.0, 8.0)
BOX = (1.0, 2.0, 4.0, 6.0)


def _read(tmp_path: Path, *lines: dict[str, Any] | str, notes: Notes | None = None) -> Content:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (tmp_path / "t.jsonl").write_text("\n".join(texts))
    return jsonl.read(tmp_path / "t.jsonl", tmp_path, notes or Notes(tmp_path))


def test_lines_of_one_image_and_split_are_joined(tmp_path: Path) -> None:
    first, second = _read(
        tmp_path,
        {"image": "train/a.png", "caption": "one", "captions": ["two"]},
        "",
        {"file_name": "train/a.png", "objects": []},
        {"image": "train/a.png", "objects": [{"label": "cat", "box": [1, 2, 5, 8]}]},
        {"image": "train/a.png", "split": "val", "question": "what?", "answer": "cat"},
    ).pictures
    assert (first.split, first.captions, first.things) == ("train", ["one", "two"], [Thing("cat", BOX)])
    assert (second.split, second.asked, second.things) == ("val", [Asked("what?", ("cat",))], None)


@pytest.mark.parametrize(("where", "rings"), [
    ({"box": [1, 2, 5, 8]}, ()), ({"bbox": [1, 2, 4, 6]}, ()), ({"polygon": CORNERS}, (RING,)),
    ({"polygons": [CORNERS], "box": [1, 2, 5, 8]}, (RING,)),
])  # fmt: skip
def test_place_of_an_object_has_several_forms(where: dict[str, Any], rings: tuple[Any, ...], tmp_path: Path) -> None:
    line = {"image": "a.png", "objects": [{"label": "cat", **where}], "expressions": [{"text": "it", **where}]}
    [read] = _read(tmp_path, {**line, "expression": "this", **where}).pictures
    assert read.things == [Thing("cat", BOX, rings)]
    assert read.said == [Said("it", BOX, rings), Said("this", BOX, rings)]


def test_question_has_one_answer_or_ten(tmp_path: Path) -> None:
    ten = [f"answer {number}" for number in range(10)]
    line = {"image": "a.png", "questions": [{"question": "q", "answers": ten}, {"question": "r", "answer": "yes"}]}
    [read] = _read(tmp_path, line).pictures
    assert read.asked == [Asked("q", tuple(ten)), Asked("r", ("yes",))]


def test_fields_that_are_not_read_are_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    _read(tmp_path, {"image": "a.png", "captoin": "a cat", "caption": "a"}, notes=notes)
    assert notes.reading.said()[0].endswith("t.jsonl line 1: captoin)")


@pytest.mark.parametrize(("line", "message"), [
    ("", "t.jsonl is empty"),
    ("{", "t.jsonl line 1: Input data was truncated"),
    ("[1]", "line 1: Expected `object`, got `array`"),
    ('{"image": NaN}', "line 1: "),
    ({"caption": "a"}, "line 1: there is no `image`"),
    ({"image": "a.png", "caption": 3}, r"line 1: Expected `str \| null`, got `int` - at `\$.caption`"),
    ({"image": "a.png", "objects": [{"label": "cat"}]}, "line 1: there is no `box`, `bbox` or `polygon`"),
    ({"image": "a.png", "objects": [{"lable": "cat"}]}, "Object contains unknown field `lable`|missing required field"),
    ({"image": "a.png", "objects": [{"label": "c", "box": [5, 2, 1, 8]}]},
     r"the box \[5.0, 2.0, 1.0, 8.0\] has a negative side or is too large; expected \[left, top, right, bottom\]"),
    ({"image": "a.png", "objects": [{"label": "c", "bbox": [5, 2, -1, 8]}]}, "expected .x, y, width, height."),
    ({"image": "a.png", "objects": [{"label": "c", "polygon": [[1, 2]]}]}, "an outline of fewer than three points"),
    ({"image": "a.png", "box": [1, 2, 5, 8]}, "a box or an outline needs an `expression`"),
    ({"image": "a.png", "question": "q", "answers": ["a", "b", "c"]}, "3 answers; VQA's accuracy is of one answer"),
    ({"image": "a.png", "question": "q"}, "0 answers"),
    ({"image": "../a.png", "caption": "a"}, "line 1: the image name '../a.png' is not a path below"),
    ({"image": "a.png", "split": "a/b", "caption": "a"}, "line 1: the split 'a/b' is no name"),
])  # fmt: skip
def test_malformed_line_is_refused_in_one_line(line: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as refused:
        _read(tmp_path, line)
    assert "\n" not in str(refused.value)
