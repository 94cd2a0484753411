"""ICDAR 2015 as a task: scores of images, metrics over all of them, and a model's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import harness
from harness import runner
from harness.core import Answer, Boxes, Quad, Quads, Question, Sample, Source, Text
from harness.errors import DataError
from tasks import TASKS
from tests.tasks.miniature.scenes import samples_of

TASK = TASKS["icdar2015"]
LEFT: Quad = ((0.0, 0.0), (40.0, 0.0), (40.0, 10.0), (0.0, 10.0))
RIGHT: Quad = ((100.0, 0.0), (140.0, 0.0), (140.0, 10.0), (100.0, 10.0))


def sample(name: str, *words: tuple[Quad, str]) -> Sample[Quads]:
    target = Quads(tuple(quad for quad, _ in words), tuple(text for _, text in words))
    return Sample(name, Question(f"{name}.jpg", None, "ocr_regions"), target, f"{name}.jpg")


def answer(*words: tuple[Quad, str]) -> Answer:
    return Answer(("",), Quads(tuple(quad for quad, _ in words), tuple(text for _, text in words)))


def test_metrics_are_of_the_counts_of_all_images() -> None:
    """Image 1: two words, of which one is read and one found only.  Image 2: one word, missed; two false ones."""
    samples = [sample("1", (LEFT, "Exit"), (RIGHT, "Way")), sample("2", (LEFT, "ab"))]
    answers = {"1": answer((LEFT, "exit"), (RIGHT, "wax")), "2": answer((RIGHT, "a"), (RIGHT, "b"))}
    metrics = runner.reduce(TASK, runner.mark(TASK, samples, answers), seed=0)
    values = {name: metrics[name].value for name in TASK.metrics}
    assert values == pytest.approx({
        "end-to-end precision": 100 * 1 / 4, "end-to-end recall": 100 * 1 / 3, "end-to-end Hmean": 100 * 2 / 7,
        "detection precision": 100 * 2 / 4, "detection recall": 100 * 2 / 3, "detection Hmean": 100 * 4 / 7,
        # "ab" is too short to be spotted, and nothing covers it
        "word spotting precision": 100 * 1 / 4, "word spotting recall": 100 * 1 / 2, "word spotting Hmean": 100 * 2 / 6,
    })  # fmt: skip


@pytest.mark.parametrize(("value", "read", "regions", "readable"), [
    (Quads((LEFT,), ("exit",)), 1, 1, True),
    (Quads((tuple((x + 0.4, y - 0.4) for x, y in LEFT),), ("exit",)), 1, 1, True),  # type: ignore[arg-type]
    (Quads((LEFT,)), 0, 1, True),  # a region without a text
    (Quads(()), 0, 0, True),
    (Text(("exit",)), 0, 0, False),
    (Boxes(((0.0, 0.0, 40.0, 10.0),), ("exit",)), 0, 0, False),
    (None, 0, 0, False),
])  # fmt: skip
def test_score_of_an_answer(value: Any, read: int, regions: int, readable: bool) -> None:
    score = TASK.score(sample("1", (LEFT, "Exit")), Answer(("",), value))
    assert (score.values["read"], score.values["regions"], score.values["words"]) == (read, regions, 1)
    assert score.readable is readable


def test_no_words_and_no_regions_are_zero() -> None:
    metrics = runner.reduce(TASK, runner.mark(TASK, [sample("1")], {"1": answer()}), seed=0)
    assert {metrics[name].value for name in TASK.metrics} == {0.0}  # as in the evaluator, over all images


def test_sample_without_a_target_is_refused() -> None:
    hidden: Sample[Quads] = Sample("1", Question("1.jpg", None, "ocr_regions"), None, "1")
    with pytest.raises(ValueError, match="image 1 has no words"):
        TASK.score(hidden, answer())


def test_truth_of_either_task_is_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Challenge4_Test_Task4_GT cannot be read"):
        list(TASK.load(Source(tmp_path, "test")))
    for number, name in enumerate(("Challenge4_Test_Task1_GT", "Challenge4_Test_Task4_GT"), 1):
        (tmp_path / "icdar2015" / name).mkdir(parents=True)
        (tmp_path / f"icdar2015/{name}/gt_img_{number}.txt").write_text("0,0,40,0,40,10,0,10,Exit\n")
        [loaded] = TASK.load(Source(tmp_path, "test"))
        assert (loaded.id, loaded.target) == (str(number), Quads((LEFT,), ("Exit",)))
        assert loaded.question.image == loaded.cluster == f"icdar2015/ch4_test_images/img_{number}.jpg"


def test_oracle_finds_and_reads_every_word_of_the_miniature(miniature: Path, tmp_path: Path) -> None:
    run = harness.evaluate(TASK.name, "oracle", data="miniature", out=tmp_path)
    assert {name: run.metrics[name].value for name in TASK.metrics} == dict.fromkeys(TASK.metrics, 100.0)


def test_exported_words_have_the_same_scores(miniature: Path, tmp_path: Path) -> None:
    """Regions of a model, in fractions of pixels and in both directions."""
    samples = samples_of(miniature, TASK.name)
    answers = {}
    for place, one in enumerate(samples):
        turned = [quad if place % 2 else quad[::-1] for quad in one.target.quads]
        moved = tuple(tuple((x + 0.3 * place, y - 0.7) for x, y in quad) for quad in turned)
        answers[one.id] = Answer(("",), Quads(moved, one.target.labels))
    rows = runner.mark(TASK, samples, answers)
    path = tmp_path / "words.zip"
    TASK.predictions.write(path, rows)
    again = runner.mark(TASK, samples, TASK.predictions.read(path, samples))
    assert [row.score for row in again] == [row.score for row in rows]
    assert 0 < sum(row.score.values["found"] for row in rows) <= sum(row.score.values["words"] for row in rows)


def test_model_answers_with_regions(miniature: Path, tmp_path: Path) -> None:
    run = harness.evaluate(
        TASK.name, "florence2-nano", data="miniature", limit=3, beams=1, out=tmp_path, export=tmp_path / "exported"
    )
    assert run.status == "partial" and run.counts["samples"] == 3
    value = run.metrics["end-to-end Hmean"].value
    assert value is not None and 0 <= value <= 100
    assert list((tmp_path / "exported").rglob("*.zip"))
