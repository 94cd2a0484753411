"""Questions with ten answers, as VQA v2, TextVQA and VizWiz publish them, and their result files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core import Answer, Question, Row, Run, Score, Size, Source, Text
from harness.data import vqa
from harness.errors import DataError, UsageError
from harness.evaluation.plan import splits_of
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
    ([annotation(42000), annotation(42001, answers=[{"answer": 7}] * 10)], r"annotation 1 is not .*\$\.answers\[0\]"),
])  # fmt: skip
def test_vqav2_files_that_do_not_belong_together_raise(tmp_path: Path, annotations: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        vqav2(tmp_path, questions(42000, 42001), annotations)


def test_vqav2_test_dev_has_questions_without_targets(tmp_path: Path) -> None:
    write(tmp_path / "vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", questions(7000))
    [sample] = TASKS["vqav2"].load(Source(tmp_path, "test-dev"))
    assert sample.target is None
    assert sample.question.image == "coco/test2015/COCO_test2015_000000000007.jpg"


# ---------------------------------------------------------------------------- splits that a server scores


class Echo:
    """Answers every question with its own text."""

    fingerprint = "echo"
    provenance: Mapping[str, Any] = {}

    def answer(self, questions: Iterable[tuple[int, Question]]) -> Iterator[tuple[int, Answer]]:
        for ticket, question in questions:
            yield ticket, Answer((question.text,), Text((question.text,)))


def exported(root: Path, task: str, split: str, **options: Any) -> tuple[Run, list[dict[str, Any]]]:
    """The run of Echo on a split, and the entries of the exported file."""
    run = harness.evaluate(task, Echo(), data=root, split=split, export=root / "x", out=root / "results", **options)
    return run, json.loads((root / f"x/{task}_{split}.json").read_text())


def as_official_loader(results: Any, asked: dict[str, Any]) -> bool:
    """The condition of VQA's official `loadRes`: a list whose question ids are all those of the questions."""
    assert isinstance(results, list)
    ids = [question["question_id"] for question in asked["questions"]]
    return {entry["question_id"] for entry in results} == set(ids) and len(results) == len(ids)


def write_test2015(root: Path, *, whole: bool = True) -> dict[str, Any]:
    """Writes questions of test-dev, with their images, and those of test2015, which are returned."""
    write(root / "vqav2/v2_OpenEnded_mscoco_test-dev2015_questions.json", questions(9001, 7000))
    content = questions(7000, 7001, 8000, 9001)
    if whole:
        write(root / "vqav2/v2_OpenEnded_mscoco_test2015_questions.json", content)
    for number in (7, 8, 9):
        image = root / f"coco/test2015/COCO_test2015_{number:012d}.jpg"
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(b"never decoded")
    return content


def test_export_of_test_dev_answers_every_question_of_test2015(tmp_path: Path) -> None:
    content = write_test2015(tmp_path)
    run, results = exported(tmp_path, "vqav2", "test-dev")
    assert as_official_loader(results, content)
    answers = {entry["question_id"]: entry["answer"] for entry in results}
    assert answers == {9001: "Is it 9001?", 7000: "Is it 7000?", 7001: "", 8000: ""}
    assert run.counts["samples"] == 2 and run.counts["excluded"] == 2
    assert (
        "2 samples are excluded: they are questions of test2015 that are not in test-dev" in run.provenance["notes"][0]
    )
    assert not run.metrics
    # The file is scored as the run, with or without the questions that were not asked.
    for kept in (results, results[:2]):
        again = harness.score(
            "vqav2", write(tmp_path / "p.json", kept), data=tmp_path, split="test-dev", out=tmp_path / "r"
        )
        assert again.counts["samples"] == 2 and again.status == "complete"


def test_run_on_test_dev_without_test2015_says_that_the_server_refuses_its_predictions(tmp_path: Path) -> None:
    write_test2015(tmp_path, whole=False)
    run, results = exported(tmp_path, "vqav2", "test-dev")
    assert len(results) == 2
    [note] = run.provenance["notes"]
    assert note == (  # records travel, so no folder of this machine
        "v2_OpenEnded_mscoco_test2015_questions.json is not there: the predictions lack its questions, and the server "
        "refuses them"
    )


def test_test_dev_with_a_question_that_test2015_lacks_raises(tmp_path: Path) -> None:
    write_test2015(tmp_path)
    write(tmp_path / "vqav2/v2_OpenEnded_mscoco_test2015_questions.json", questions(7000, 8000))
    with pytest.raises(DataError, match=r"test2015_questions.json lacks 1 questions of its part \(first: 9001\)"):
        exported(tmp_path, "vqav2", "test-dev")


def test_test_std_asks_every_question_of_test2015(tmp_path: Path) -> None:
    content = write_test2015(tmp_path)
    run, results = exported(tmp_path, "vqav2", "test-std")
    assert as_official_loader(results, content)
    assert all(entry["answer"] == f"Is it {entry['question_id']}?" for entry in results)
    assert run.counts["samples"] == 4 and "excluded" not in run.counts and not run.metrics


@pytest.mark.parametrize("answers", [{}, {"answers": []}])
def test_test_splits_of_textvqa_and_vizwiz_are_exported_for_their_servers(tmp_path: Path, answers: Any) -> None:
    for image in ("textvqa/test_images/0f.jpg", "vizwiz/test/VizWiz_test_00000000.jpg"):
        (tmp_path / image).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / image).write_bytes(b"never decoded")
    entry = {"question_id": 39602, "image_id": "0f", "question": "what?", "image_width": 4, "image_height": 5}
    write(tmp_path / "textvqa/TextVQA_0.5.1_test.json", {"data": [{**entry, **answers}]})
    write(tmp_path / "vizwiz/Annotations/test.json", [
        {"image": "VizWiz_test_00000000.jpg", "question": "Which?", **answers},
    ])  # fmt: skip
    assert exported(tmp_path, "textvqa", "test")[1] == [{"question_id": 39602, "answer": "what?"}]
    assert exported(tmp_path, "vizwiz", "test")[1] == [{"image": "VizWiz_test_00000000.jpg", "answer": "Which?"}]


def test_all_splits_are_those_with_or_without_published_targets_but_not_the_hidden_ones() -> None:
    task = TASKS["vqav2"]
    assert list(splits_of(task, "all")) == ["val", "test-dev"]
    assert list(splits_of(task, "test-std")) == ["test-std"]
    with pytest.raises(UsageError, match="it has val, test, train"):
        list(splits_of(TASKS["vizwiz"], "test-std"))


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


def test_vizwiz_question_that_is_not_known_to_be_answerable_has_no_groups(tmp_path: Path) -> None:
    entry = {"image": "a.jpg", "question": "Which?", "answers": [{"answer": text} for text in TEN], "answerable": None}
    write(tmp_path / "vizwiz/Annotations/val.json", [entry])
    [sample] = TASKS["vizwiz"].load(Source(tmp_path, "val"))
    assert sample.groups == () and sample.target == Text(tuple(TEN))


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
