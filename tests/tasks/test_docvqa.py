"""DocVQA as a task: both layouts of its files, ANLS by type of question, and a model's answers to it."""

from __future__ import annotations

from pathlib import Path

import pytest

import harness
from harness.core import Answer, Source, Text
from harness.errors import DataError
from harness.runner import mark, reduce
from tasks import TASKS
from tests.harness.data.test_docvqa import entry, write

TASK = TASKS["docvqa"]


def test_questions_and_pages_of_the_two_published_layouts(tmp_path: Path) -> None:
    (tmp_path / "docvqa/val").mkdir(parents=True)
    write(tmp_path / "docvqa/val/val_v1.0.json", entry(1))
    [sample] = TASK.load(Source(tmp_path, "val"))
    assert sample.question.image == sample.cluster == "docvqa/val/documents/xnbl0037_1.png"
    (tmp_path / "docvqa/spdocvqa_qas").mkdir()
    write(tmp_path / "docvqa/spdocvqa_qas/val_v1.0_withQT.json", entry(2))
    [sample] = TASK.load(Source(tmp_path, "val"))  # where both are there, the newer
    assert (sample.id, sample.question.image) == ("2", "docvqa/spdocvqa_images/xnbl0037_1.png")
    assert (sample.question.text, sample.target) == ("what is the date?", Text(("1/8/93",)))


def test_file_of_infographics_is_read_as_annotations_of_the_user(tmp_path: Path) -> None:
    path = write(tmp_path / "infographicsVQA_val_v1.0_withQT.json", entry(1, image="", image_local_name="32671.jpeg"))
    [sample] = TASK.load(Source(tmp_path, "val", path))
    assert sample.question.image == "docvqa/spdocvqa_images/32671.jpeg"  # below the folder that --images names


def test_missing_questions_name_their_origin(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"spdocvqa_qas/val_v1\.0_withQT\.json is not there; it comes from .*docvqa\.org"
    ):
        list(TASK.load(Source(tmp_path, "val")))


def test_answers_of_test_are_not_published(tmp_path: Path) -> None:
    (tmp_path / "docvqa/spdocvqa_qas").mkdir(parents=True)
    write(tmp_path / "docvqa/spdocvqa_qas/test_v1.0.json", entry(1, answers=None))
    [sample] = TASK.load(Source(tmp_path, "test"))
    assert sample.target is None
    assert (TASK.splits, TASK.hidden_splits) == (("val",), ("test",))


def test_anls_is_a_mean_over_questions_also_by_type(tmp_path: Path) -> None:
    path = write(tmp_path / "val.json", entry(1, question_types=["form"]), entry(2), entry(3, answers=["x"]))
    samples = list(TASK.load(Source(tmp_path, "val", path)))
    answers = {
        "1": Answer(("",), Text(("1/8/93",))),
        "2": Answer(("",), Text(("1/8/90",))),  # one of six characters
        "3": Answer(("x",), None),
    }
    rows = mark(TASK, samples, answers)
    metrics = reduce(TASK, rows, seed=0)
    values = {name: one.value for name, one in metrics.items() if name.startswith("ANLS")}
    assert values["ANLS"] == pytest.approx(100 * (1 + 5 / 6 + 0) / 3)
    assert values["ANLS form"] == pytest.approx(100 * (1 + 5 / 6 + 0) / 3)
    assert values["ANLS handwritten"] == pytest.approx(100 * (5 / 6 + 0) / 2)
    assert [row.score.readable for row in rows] == [True, True, False]


def test_unparsable_answer_scores_zero_even_where_nothing_is_accepted(tmp_path: Path) -> None:
    [sample] = TASK.load(Source(tmp_path, "val", write(tmp_path / "val.json", entry(1, answers=[""]))))
    scores = [
        mark(TASK, [sample], {"1": Answer(("",), value)})[0].score.values["anls"] for value in (Text(("",)), None)
    ]
    assert scores == [1.0, 0.0]


def test_model_is_asked_about_the_pages_and_its_result_file_has_its_score(miniature: Path, tmp_path: Path) -> None:
    run = harness.evaluate(TASK.name, "florence2-nano", data="miniature", limit=3, beams=1, out=tmp_path / "r",
                           export=tmp_path / "exported")  # fmt: skip
    assert run.status == "partial" and run.headline == "ANLS"
    value = run.metrics["ANLS"].value
    assert value is not None and 0 <= value <= 100
