"""COCO's format with scores, as pycocotools reads it."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from harness.core import Boxes, Polygons
from harness.exports import coco
from harness.exports.shapes import Picture, Shape, pictures
from tests.harness.exports.pictured import SIZE, TRIANGLE, answer, detection, everything, found, shown


def written(tmp_path: Path, data: bytes) -> tuple[Any, dict[str, Any]]:
    """The file as pycocotools reads it, and as plain JSON."""
    path = tmp_path / "predictions.json"
    path.write_bytes(data)
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path)), json.loads(data)


def test_pycocotools_scores_the_annotations_as_results_of_themselves(tmp_path: Path) -> None:
    """Perfect predictions have AP 1; image 7 and the categories 3 and 18 keep the ids of the annotation file."""
    sample = detection()
    shapes = pictures([sample], {sample.id: answer(found())}, tmp_path, "coco_detection")
    truth, plain = written(tmp_path, coco.write(shapes, [sample]))
    assert {category["id"]: category["name"] for category in plain["categories"]} == {3: "cat", 18: "dog"}
    assert [(each["image_id"], each["category_id"], each["bbox"], each["score"]) for each in plain["annotations"]] == [
        (7, 3, [10.0, 20.0, 30.0, 40.0], 0.25),
        (7, 18, [150.0, -10.0, 90.0, 70.0], 0.8),
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(truth, truth.loadRes(plain["annotations"]), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)


def test_outline_has_the_area_of_its_pixels_and_pycocotools_draws_it(tmp_path: Path) -> None:
    truth, plain = written(tmp_path, coco.write(shown(("segment", Polygons((TRIANGLE,)))), []))
    [annotation] = plain["annotations"]
    assert annotation["area"] == truth.annToMask(truth.loadAnns([1])[0]).sum()
    assert annotation["area"] == pytest.approx(40 * 40 / 2, rel=0.06)  # a right triangle with legs of 40 pixels
    assert plain["images"] == [{"id": 1, "file_name": "a.jpg", "width": 200, "height": 100}]


def test_labels_that_are_no_categories_get_the_next_ids(tmp_path: Path) -> None:
    sample = detection()
    value = Boxes(((0.0, 0.0, 9.0, 9.0),), ("zebra",))
    _, plain = written(tmp_path, coco.write(pictures([sample], {sample.id: answer(value)}, tmp_path, "t"), [sample]))
    assert plain["annotations"][0]["category_id"] == 19 and plain["annotations"][0]["score"] == 1.0
    assert plain["categories"][-1] == {"id": 19, "name": "zebra"}


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([None, 5, None], [6, 5, 7]), ([None, None], [1, 2]), ([4, 4], [1, 2]), ([0, None], [0, 1]), ([], [])],
)
def test_images_without_a_number_get_a_free_one(numbers: list[int | None], expected: list[int]) -> None:
    pictures_ = [Picture(f"{place}.jpg", SIZE, number) for place, number in enumerate(numbers)]
    ids = [image["id"] for image in json.loads(coco.write(pictures_, []))["images"]]
    assert len(set(ids)) == len(ids)
    assert ids == expected


def test_line_of_text_keeps_its_text_and_hostile_names_are_escaped(tmp_path: Path) -> None:
    annotations = json.loads(coco.write(everything(), []))["annotations"]
    assert [each.get("text") for each in annotations] == [None, None, None, "STOP & go"]
    assert annotations[3]["segmentation"] == [[100.0, 20.0, 140.0, 20.0, 140.0, 40.0, 100.0, 40.0]]
    hostile = [Picture("\ud800.jpg", SIZE, None, [Shape("\ud800\x1b", (0.0, 0.0, 1.0, 1.0))])]
    assert json.loads(coco.write(hostile, []))["categories"][0]["name"] == "\ud800\x1b"
