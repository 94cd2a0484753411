"""DocVQA's questions and result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Boxes, Question, Row, Sample, Score, Text
from harness.data import docvqa
from harness.errors import DataError


def entry(number: int, **changes: Any) -> dict[str, Any]:
    """A question as published, without what is not read."""
    common = {"questionId": number, "question": "what is the date?", "image": "documents/xnbl0037_1.png", "docId": 279}
    return {**common, "question_types": ["handwritten", "form"], "answers": ["1/8/93"], **changes}


def write(path: Path, *entries: dict[str, Any]) -> Path:
    path.write_text(json.dumps({"dataset_name": "docvqa", "dataset_version": "1.0", "data": list(entries)}))
    return path


def test_questions_are_read_in_order_with_types_as_groups(tmp_path: Path) -> None:
    first, second = docvqa.read(
        write(tmp_path / "val.json", entry(338), entry(337, question_types=["form", "form"])), ""
    )
    assert (first.id, first.image, first.answers) == ("338", "documents/xnbl0037_1.png", ("1/8/93",))
    assert (first.groups, second.groups) == (("handwritten", "form"), ("form",))


def test_file_of_test_has_no_answers_and_no_types(tmp_path: Path) -> None:
    bare = {key: value for key, value in entry(1).items() if key not in ("answers", "question_types")}
    [asked] = docvqa.read(write(tmp_path / "test.json", bare), "")
    assert (asked.answers, asked.groups) == (None, ())


def test_image_of_infographics_has_another_key(tmp_path: Path) -> None:
    image = {key: value for key, value in entry(1, image_local_name="32671.jpeg").items() if key != "image"}
    [asked] = docvqa.read(write(tmp_path / "val.json", image), "")
    assert asked.image == "32671.jpeg"


@pytest.mark.parametrize(("entries", "message"), [
    ([entry(1), entry(1)], "has the questionId 1 twice"),
    ([entry(1), entry(2, answers=[])], r"1 of 2 questions have no answers \(first: \$\.data\[1\]\); correct the file"),
    ([entry(1, image="")], r"\$\.data\[0\] names no image; correct the file"),
    ([entry(1, answers=[7])], r"\$\.data\[0\]\.answers\[0\]"),
    ([entry(1, questionId="1")], r"\$\.data\[0\]\.questionId"),
])  # fmt: skip
def test_malformed_questions_are_a_data_error(tmp_path: Path, entries: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(docvqa.read(write(tmp_path / "val.json", *entries), ""))


def sample(name: str) -> Sample[Text]:
    return Sample(name, Question("a.png", None, "vqa", text="?"), Text(("x",)), "a.png")


def test_result_file_has_numbers_and_an_answer_to_each_question(tmp_path: Path) -> None:
    rows = [
        Row(sample("337"), Answer(("1/8/93",), Text(("1/8/93",))), Score({})),
        Row(sample("338"), Answer(("<loc_1>",), None), Score({}, readable=False)),
        Row(sample("339"), Answer(("",), Boxes(())), Score({}, readable=False)),
    ]
    path = tmp_path / "results.json"
    docvqa.PREDICTIONS.write(path, rows)
    assert json.loads(path.read_text()) == [
        {"questionId": 337, "answer": "1/8/93"},
        {"questionId": 338, "answer": ""},
        {"questionId": 339, "answer": ""},
    ]
    answers = docvqa.PREDICTIONS.read(path, [row.sample for row in rows])
    assert answers["337"].value == Text(("1/8/93",))


@pytest.mark.parametrize(("entries", "message"), [
    ([{"questionId": 337, "answer": "a"}] * 2, "1 questionIds are answered more than once"),
    ([{"questionId": 1, "answer": "a"}], "1 questionIds are not in this split"),
    ([], "1 questionIds have no answer"),
    ([{"questionId": 337, "answer": ["a"]}], r"\$\[0\]\.answer"),  # the evaluator refuses lists too
])  # fmt: skip
def test_result_file_that_does_not_fit_is_a_data_error(tmp_path: Path, entries: list[Any], message: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        docvqa.PREDICTIONS.read(path, [sample("337")])
