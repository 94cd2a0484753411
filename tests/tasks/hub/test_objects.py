"""Forms of images with objects, and of images alone."""

from __future__ import annotations

import json

import pytest

from tasks.hub import FORMS
from tests.tasks.hub.rows import ROWS, look


def test_object_of_an_unknown_category_is_refused() -> None:
    row = {**ROWS["detection"], "objects": {"category": [80], "bbox": [[0.0, 0.0, 1.0, 1.0]], "area": [1]}}
    with pytest.raises(ValueError, match="has the category 80; there are 1"):
        FORMS["detection"]("val2017", names=["a"], ids=[18]).add(row, look)


def test_detection_converts_corners_and_category_numbers() -> None:
    form = FORMS["detection"]("val2017", names=["dog"], ids=[18])
    row = {**ROWS["detection"], "objects": [{"category": 0, "bbox": [1.5, 2.0, 3.75, 4.0], "area": 4.5}]}
    assert form.add(row, look) == "coco/val2017/000000000001.jpg"
    content = json.loads(form.files()["coco/annotations/instances_val2017.json"])
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 18, "bbox": [1.5, 2.0, 2.25, 2.0], "area": 4.5, "iscrowd": 0}
    ]
    assert content["categories"] == [{"id": 18, "name": "dog"}]


def test_images_only_names_images_by_the_template() -> None:
    form = FORMS["images_only"]("test", reference="flickr30k/{file_name}")
    assert form.add({"file_name": "1.jpg"}, look) == "flickr30k/1.jpg"
    assert form.files() == {}
