"""The shapes of answers, by image."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.core import Box, Boxes, Grounded, Mask, Phrase, Polygons, Quads, Question, Sample, Size, Text
from harness.errors import UsageError
from harness.exports.shapes import Shape, around, clipped, inside, labels_of, pictures, shapes_of
from harness.geometry.masks import rasterise
from tests.harness.exports.pictured import QUAD, SIZE, TRIANGLE, answer, detection, found, shown


def test_box_has_the_product_of_its_two_scores() -> None:
    first, second = shapes_of(detection().question, found())
    assert first == Shape("cat", (10.0, 20.0, 40.0, 60.0), score=0.25)  # 0.5 x 0.5
    assert (second.label, second.score) == ("dog", 0.8)


def test_box_without_scores_has_none_and_the_expression_as_its_label() -> None:
    question = Question("a.jpg", SIZE, "refer", "the left cat")
    assert shapes_of(question, Boxes(((1.0, 2.0, 3.0, 4.0),))) == [Shape("the left cat", (1.0, 2.0, 3.0, 4.0))]
    assert shapes_of(Question("a.jpg", SIZE, "propose"), Boxes(((1.0, 2.0, 3.0, 4.0),)))[0].label == "object"


def test_grounded_boxes_have_the_words_of_their_phrases() -> None:
    question = Question("a.jpg", SIZE, "ground", "a cat and dogs", (Phrase("a cat", 0, 5), Phrase("dogs", 10, 14)))
    value = Grounded((((0.0, 0.0, 5.0, 5.0),), ((1.0, 1.0, 2.0, 2.0), (3.0, 3.0, 4.0, 4.0))))
    assert [shape.label for shape in shapes_of(question, value)] == ["a cat", "dogs", "dogs"]


def test_line_of_text_has_its_text() -> None:
    [shape] = shapes_of(Question("a.jpg", SIZE, "ocr_regions"), Quads((QUAD,), ("STOP",)))
    assert shape == Shape("text", (100.0, 20.0, 140.0, 40.0), (QUAD,), text="STOP")


def test_mask_has_the_outline_that_rasterises_to_the_same_mask() -> None:
    mask = rasterise(Polygons((TRIANGLE,)), SIZE)
    [shape] = shapes_of(Question("a.jpg", SIZE, "segment", "it"), mask)
    assert shape.value is mask and rasterise(Polygons(shape.rings), SIZE) == mask
    assert shape.box == around(shape.rings)


@pytest.mark.parametrize(
    "box", [(5.0, 5.0, 5.0, 9.0), (9.0, 5.0, 5.0, 9.0), (0.0, 0.0, math.nan, 1.0), (0, 0, math.inf, 1)]
)
def test_box_without_area_or_with_a_number_that_is_not_finite_is_left_out(box: Box) -> None:
    assert shapes_of(Question("a.jpg", SIZE, "refer", "it"), Boxes((box,))) == []


def test_answers_without_shapes_have_none() -> None:
    question = Question("a.jpg", SIZE, "segment", "it")
    empty = Mask(SIZE, rasterise(Polygons(()), SIZE).counts)
    line = Polygons((((1.0, 1.0), (5.0, 5.0)),))
    for value in (None, Text(("a",)), Polygons(()), empty, line):
        assert shapes_of(question, value) == []


def test_pictures_join_the_answers_of_an_image_and_read_a_size_that_is_not_known(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(tmp_path / "b.png")
    samples = [
        Sample(name, Question(image, None, "refer", name), Boxes(((0.0, 0.0, 1.0, 1.0),)), image)
        for name, image in (("1", "b.png"), ("2", "b.png"))
    ]
    answers = {name: answer(Boxes(((0.0, 0.0, 9.0, 9.0),))) for name in ("1", "2")}
    [picture] = pictures(samples, answers, tmp_path, "refcoco")
    assert picture.size == Size(40, 30) and [shape.label for shape in picture.shapes] == ["1", "2"]
    assert labels_of([picture]) == ["1", "2"]


def test_pictures_of_a_task_without_shapes_are_refused(tmp_path: Path) -> None:
    sample = Sample("1", Question("a.jpg", SIZE, "caption"), Text(("a",)), "a.jpg")
    with pytest.raises(UsageError, match="coco_caption has no boxes, outlines or masks to export"):
        pictures([sample], {}, tmp_path, "coco_caption")


def test_inside_clips_shapes_to_their_image_and_leaves_out_those_outside() -> None:
    outside = Boxes(((-50.0, 0.0, -10.0, 20.0), (190.0, 90.0, 250.0, 130.0)))
    beyond = Polygons((((-10.0, 10.0), (50.0, 10.0), (50.0, 120.0)),))
    [picture] = inside(shown(("refer", outside), ("segment", beyond)))
    box, polygon = picture.shapes
    assert box.box == (190.0, 90.0, 200.0, 100.0)
    assert polygon.rings == (((0.0, 10.0), (50.0, 10.0), (50.0, 100.0)),)
    assert clipped((-1.0, -1.0, 300.0, 300.0), SIZE) == (0.0, 0.0, 200.0, 100.0)
