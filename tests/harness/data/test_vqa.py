"""Questions with ten answers, as VQA v2, TextVQA and VizWiz publish them, and their result files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Row, Score, Size, Source, Text
from harness.data import vqa
from harness.errors import DataError
from tasks import TASKS

TEN = ["yes"] * 7 + ["no"] * 3


def questions(*numbers: int) -> dict[str, Any]:
    return {"questions": [{"question_id": n, "image_id": n // 1000, "question": f"Is it {n}?"} for n in numbers]}


def annotation(number: int, **changes: Any) -> dict[str, Any]:
    answers = [{"answer": text, "answer_confidence": "yes", "answer_id": i + 1} for i, text in enumerate(TEN)]
    common = {"question_id": number, "image_id": number // 1000, "question_type": "is it", "answer_type": "yes/no"}
    return {**common, "answers": answers, **changes}


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def vqav2(root: Path, asked: Any, annotations: list[Any]) -> list[Any]:
    write(root / "vqav2/v2_OpenEnded_mscoco_val2014_questions.json", asked)
    write(root / "vqav2/v2_mscoco_val2014_annotations.json", {"annotations": annotations})
    return list(TASKS["vqav2"].load(Source(root, "val")))


def test_vqav2_joins_questions_and_annotations_in_order_of_questions(tmp_path: Path) -> None:
    first, second = vqav2(tmp_path, questions(42001, 42000), [annotation(42000), annotation(42001)])
    assert (first.id, second.id) == ("42001", "42000")  # the order of the questions
    assert first.question.image == "coco/val2014/COCO_val2014_000000000042.jpg"
    assert first.question.text == "Is it 42001?"
    assert first.target == Text(tuple(TEN))
    assert first.groups == ("yes/no", "is it")


@pytest.mark.parametrize(("annotations", "message"), [
    ([annotation(42000)], r"1 questions are in one file only \(first: 42001\)"),
    ([annotation(42000), annotation(42001), annotation(42001)], "has the question_id 42001 twice"),
    ([annotation(42000), annotation(42001, image_id=7)], "question 42001 is of image 7, but of image 42 in v2_"),
    ([annotation(42000), annotation(42001, answers=[{"answer": "yes"}])], "question 42001 has 1 answers; it needs 10"),
    ([annotation(42000), annotation(42001, answers=[{"answer": "y", "answer_id": 1}] * 10)], "with different ids"),
    ([annotation(42000), annotation(42001, answers=[{"answer": 7}] * 10)], r"\$\.annotations\[1\]\.answers\[0\]"),
])  # fmt: skip
def test_vqav2_files_that_do_not_belong_together_raise(tmp_path: Path, annotations: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vqav2(tmp_path, questions(42000, 42001), annotations)


def test_vqav2_test_dev_has_questions_without_targets(tmp_path: Path) -> None:
    write(tmp_path / "vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", questions(7000))
    [sample] = TASKS["vqav2"].load(Source(tmp_path, "test-dev"))
    assert sample.target is None
    assert sample.question.image == "coco/test2015/COCO_test2015_000000000007.jpg"


def test_textvqa_reads_questions_answers_and_sizes(tmp_path: Path) -> None:
    entry = {"question_id": 3, "image_id": "0f", "question": "?", "answers": TEN, "image_width": 4, "image_height": 5}
    write(tmp_path / "textvqa/TextVQA_0.5.1_val.json", {"data": [entry]})
    [sample] = TASKS["textvqa"].load(Source(tmp_path, "val"))
    assert (sample.id, sample.question.image, sample.question.size) == ("3", "textvqa/train_images/0f.jpg", Size(4, 5))
    write(tmp_path / "textvqa/TextVQA_0.5.1_val.json", {"data": [{**entry, "answers": TEN[:9]}]})
    with pytest.raises(DataError, match=r"\$\.data\[0\] has 9 answers"):
        list(TASKS["textvqa"].load(Source(tmp_path, "val")))


def test_textvqa_with_answers_to_some_questions_only_raises(tmp_path: Path) -> None:
    entry = {"question_id": 1, "image_id": "a", "question": "what?", "answers": ["x"] * 10}
    write(tmp_path / "textvqa/TextVQA_0.5.1_val.json", {"data": [entry, {**entry, "question_id": 2, "answers": None}]})
    with pytest.raises(DataError, match=r"1 of 2 questions have no answers \(first: entry 1\)"):
        list(TASKS["textvqa"].load(Source(tmp_path, "val")))


def vizwiz(root: Path, *answerable: int) -> list[Any]:
    entries = [
        {
            "image": f"VizWiz_val_{i:08d}.jpg",
            "question": "What is this?",
            "answers": [{"answer": text, "answer_confidence": "maybe"} for text in TEN],
            "answer_type": "other" if can else "unanswerable",
            "answerable": can,
        }
        for i, can in enumerate(answerable)
    ]
    write(root / "vizwiz/Annotations/val.json", entries)
    return list(TASKS["vizwiz"].load(Source(root, "val")))


def test_vizwiz_id_is_the_image_and_groups_say_whether_it_is_answerable(tmp_path: Path) -> None:
    first, second = vizwiz(tmp_path, 1, 0)
    assert first.id == "VizWiz_val_00000000.jpg"
    assert (first.groups, second.groups) == (("other", "answerable"), ("unanswerable", "not answerable"))


# ---------------------------------------------------------------------------- predictions


@pytest.mark.parametrize(("content", "message"), [
    ([{"question_id": 42000, "answer": "a"}], r"1 question_ids have no answer \(first: 42001\)"),
    ([{"question_id": n, "answer": "a"} for n in (42000, 42001, 42000)], "answered more than once"),
    ([{"question_id": n, "answer": "a"} for n in (42000, 42001, 7)], "not in this split"),
    ([{"question_id": "42000", "answer": "a"}], "got `str`"),
    ([{"question_id": 42000, "answer": 3}], "got `int`"),
])  # fmt: skip
def test_numbered_predictions_of_other_questions_or_form_raise(tmp_path: Path, content: Any, message: str) -> None:
    samples = vqav2(tmp_path, questions(42000, 42001), [annotation(42000), annotation(42001)])
    with pytest.raises(DataError, match=message):
        vqa.NUMBERED.read(write(tmp_path / "p.json", content), samples)


def test_written_predictions_are_read_back(tmp_path: Path) -> None:
    samples = vizwiz(tmp_path, 1, 0)
    rows = [Row(s, Answer(("",), v), Score({})) for s, v in zip(samples, (Text(("a \n✓",)), None), strict=True)]
    vqa.NAMED.write(tmp_path / "p.json", rows)
    written = json.loads((tmp_path / "p.json").read_text())
    assert written == [
        {"image": "VizWiz_val_00000000.jpg", "answer": "a \n✓"},
        {"image": "VizWiz_val_00000001.jpg", "answer": ""},
    ]
    assert [a.value for a in vqa.NAMED.read(tmp_path / "p.json", samples).values()] == [Text(("a \n✓",)), Text(("",))]
