"""The gallery: the choice of rows, outcomes and sizes, and the drawn images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from baselines.trivial import WholeImage
from harness import runner
from harness.core import (
    Answer,
    Boxes,
    Embedding,
    Grounded,
    Mask,
    Polygons,
    Question,
    Row,
    Sample,
    Score,
    Size,
    Source,
    Text,
    Value,
)
from harness.geometry.masks import rasterise
from harness.report import gallery
from tasks import TASKS
from tests.rows import rows


def test_chosen_more_rows_than_images_has_the_worst_row_of_each_image_first() -> None:
    scores = [(str(place // 4), place / 40) for place in range(40)]  # ten images of four rows; scores rise
    values = [row.score.values["iou"] for row in gallery.chosen(rows(scores), 10)]
    assert values == sorted(values)
    assert {0.0, 0.1, 0.2, 0.3, 0.4} <= set(values)  # the worst row of each of the first five images
    assert max(values) == 39 / 40
    assert len(gallery.chosen(rows(scores[:3]), 10)) == 3


@pytest.mark.parametrize(
    ("score", "readable", "expected"),
    [
        (0.0, True, "wrong"),
        (0.499, True, "wrong"),
        (0.5, True, "partly correct"),
        (0.9, True, "correct"),
        (0.9, False, "unparsable"),
    ],
)
def test_outcome_follows_the_score(score: float, readable: bool, expected: str) -> None:
    sample: Sample[Any] = Sample("1", Question("x.png", Size(9, 9), "refer", "it"), None, "x")
    assert gallery.outcome(Row(sample, Answer(("x",), None), Score({"hit": score}, readable))) == expected
    assert expected in gallery.OUTCOMES


SQUARE = ((0.0, 0.0), (30.0, 0.0), (30.0, 30.0), (0.0, 30.0))  # 900 pixels; small is below 32 * 32 = 1024


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Polygons((SQUARE,)), "small"),
        (Polygons((SQUARE, SQUARE)), "medium"),  # parts of one object are added: 1800 pixels
        (Boxes(((0.0, 0.0, 30.0, 30.0),) * 2), "small"),  # boxes are not
        (Grounded((((0.0, 0.0, 96.0, 96.0),), ())), "large"),  # 96 * 96 = 9216 is the least large area
        (rasterise(Polygons((SQUARE,)), Size(40, 40)), "small"),
        (Text(("a dog",)), ""),
        (None, ""),
    ],
)
def test_object_size_is_the_size_class_of_coco(target: Value | None, expected: str) -> None:
    assert gallery.object_size(target) == expected


def test_draw_masks_tints_target_green_and_prediction_magenta(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), (128, 128, 128)).save(tmp_path / "x.png")
    target = Polygons((((100.0, 100.0), (300.0, 100.0), (300.0, 300.0), (100.0, 300.0)),))
    answer = Polygons((((400.0, 100.0), (600.0, 100.0), (600.0, 300.0), (400.0, 300.0)),))
    sample: Sample[Any] = Sample("1", Question("x.png", Size(640, 480), "segment"), target, "x.png")
    drawn = gallery.draw(Row(sample, Answer((), answer), Score({"iou": 0.0})), tmp_path)
    pixels = np.asarray(drawn).astype(int)
    assert drawn.size == (640, 480)
    inside, other, outside = pixels[200, 200], pixels[200, 500], pixels[400, 50]
    assert inside[1] > inside[0] and inside[1] > inside[2]  # green
    assert other[0] > other[1] and other[2] > other[1]  # magenta
    assert outside.tolist() == [128, 128, 128]


def test_draw_region_of_a_question_is_blue(tmp_path: Path) -> None:
    Image.new("RGB", (640, 480), (128, 128, 128)).save(tmp_path / "x.png")
    question = Question("x.png", Size(640, 480), "describe", region=(100.0, 50.0, 300.0, 250.0))
    sample: Sample[Any] = Sample("1", question, Text(("a dog",)), "x.png")
    row = Row(sample, Answer(("a cat",), Text(("a cat",))), Score({"CIDEr": 0.0}))
    pixels = np.asarray(gallery.draw(row, tmp_path)).astype(int)
    for x, y in ((100, 150), (300, 150), (200, 50), (200, 250)):  # the middle of each edge
        red, green, blue = pixels[y, x]
        assert blue > green > red
    assert pixels[150, 200].tolist() == pixels[400, 500].tolist() == [128, 128, 128]
    [image] = gallery.images_of([row], {})
    assert (image.question, image.target, image.output) == ("describe", "a dog", "a cat")


def test_write_samples_of_the_miniature_draws_the_largest_number_allowed(miniature: Path, tmp_path: Path) -> None:
    task = TASKS["refcoco_res"]
    samples = list(task.load(Source(miniature, "val")))[:30]
    answers = {
        samples[place].id: answer
        for place, answer in WholeImage().answer((place, sample.question) for place, sample in enumerate(samples))
        if isinstance(answer, Answer)
    }
    images = gallery.write(runner.mark(task, samples, answers), miniature, tmp_path, 6)
    assert len(images) == 6 == len(list(tmp_path.glob("*.jpg")))
    with Image.open(tmp_path / images[0].file) as image:
        assert min(image.size) >= 200


def test_write_a_missing_image_reports_the_problem_and_draws_the_others(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20)).save(tmp_path / "there.png")
    pair = [
        Row(
            Sample(name, Question(f"{name}.png", Size(30, 20), "refer", "it"), None, name),
            Answer(("x",), None), Score({"hit": score}),
        )
        for name, score in (("missing", 0.0), ("there", 1.0))
    ]  # fmt: skip
    missing, there = gallery.write(pair, tmp_path, tmp_path / "gallery", 4)
    assert "missing.png" in missing.problem and there.problem == ""
    assert [path.name for path in (tmp_path / "gallery").iterdir()] == [there.file]


def test_write_an_answer_that_cannot_be_drawn_reports_the_problem(tmp_path: Path) -> None:
    """A mask of another image's size, as a stranger's file of answers may hold."""
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    sample = Sample("1", Question("x.png", None, "segment", text="it"), None, "x")
    row = Row(sample, Answer(("x",), Mask(Size(4, 4), b"04L4")), Score({"hit": 0.0}))
    [image] = gallery.write([row], tmp_path, tmp_path / "gallery", 4)
    assert "x.png cannot be drawn: the mask is of size" in image.problem


def test_caption_that_is_searched_with_shows_its_own_image(tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (255, 0, 0)).save(tmp_path / "own.png")
    sample = Sample("caption/1", Question("", None, "embed", text="red"), Text(("red", "a red image")), "own.png")
    row = Row(sample, Answer(("1 x 2 numbers",), Embedding.of([1.0, 0.0])), Score({"right at 1": 1.0}))
    [image] = gallery.write([row], tmp_path, tmp_path / "to", 1)
    assert (image.problem, image.question, image.outcome) == ("", "red", "correct")
    with Image.open(tmp_path / "to" / image.file) as drawn:
        assert drawn.size[0] / drawn.size[1] == 1.5  # enlarged
