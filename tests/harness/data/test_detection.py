"""COCO's instances, and its detection result file versus the reader of pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from harness.core import Answer, Boxes, Row, Sample, Score, Source
from harness.errors import DataError
from harness.geometry.boxes import from_xywh, to_xywh
from tasks import TASKS


def instances(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 7, "file_name": "7.jpg", "width": 100, "height": 50}, {"id": 3, "file_name": "3.jpg"}],
        "categories": [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}],
        "annotations": [
            {"id": 0, "image_id": 7, "category_id": 1, "bbox": [1.25, 2, 3.1, 4], "area": 7.5, "iscrowd": 0},
            {"id": 5, "image_id": 7, "category_id": 18, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 1},
        ],
        **changes,
    }


def one_annotation(**changes: Any) -> dict[str, Any]:
    """The field `annotations` with one object, some of whose fields are changed."""
    return {"annotations": [{"image_id": 7, "category_id": 1, "bbox": [0, 0, 1, 1], "area": 1, **changes}]}


def load(root: Path, **changes: Any) -> list[Sample[Any]]:
    path = root / "coco/annotations/instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(instances(**changes)))
    return list(TASKS["coco_detection"].load(Source(root, "val2017")))


def test_read_yields_every_image_in_order_of_id(tmp_path: Path) -> None:
    second, first = load(tmp_path)
    assert (second.id, first.id) == ("3", "7")  # in the order of COCOeval, not of the file
    assert [phrase.text for phrase in first.question.phrases] == ["dog", "person"]  # in the file's order
    assert first.target.ids == (18, 1)
    assert first.target.categories == (1, 0)
    assert first.target.boxes[0] == (1.25, 2.0, 1.25 + 3.1, 6.0)
    assert first.target.areas == (7.5, 81.0)  # areas of segmentations, not 3.1 * 4
    assert first.target.crowd == (False, True)
    assert second.target.boxes == ()  # images without objects count too
    assert second.question.size is None


@pytest.mark.parametrize(("changes", "message"), [
    (one_annotation(image_id=8), r"\$\.annotations\[0\] is of image 8"),
    (one_annotation(category_id=2), "is of category 2"),
    (one_annotation(bbox=[0, 0, -1, 1]), r"has the bbox \[0.0, 0.0, -1.0, 1.0\]"),
    (one_annotation(bbox=[0, 0, 1]), r"\$\.annotations\[0\]\.bbox"),
    (one_annotation(bbox=[1e308, 0, 1e308, 1]), "has the bbox"),
    ({"annotations": [{"id": 5, **one_annotation()["annotations"][0]}] * 2}, "has the annotation id 5 twice"),
    (one_annotation(area=None), r"\$\.annotations\[0\]\.area"),
    ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "has the category id 1 twice"),
    ({"categories": [{"id": 1, "name": "a"}, {"id": 18, "name": "a"}]}, "has the category name 'a' twice"),
])  # fmt: skip
def test_read_of_malformed_instances_names_the_record(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, **changes)


def result(**changes: Any) -> dict[str, Any]:
    return {"image_id": 7, "category_id": 18, "bbox": [1.1, 2.2, 3.3, 4.4], "score": 0.25, **changes}


def test_read_results_groups_boxes_by_image_in_file_order(tmp_path: Path) -> None:
    samples = load(tmp_path)
    file = tmp_path / "r.json"
    file.write_text(json.dumps([result(), result(image_id=3, category_id=1), result(score=0.75)]))
    answers = TASKS["coco_detection"].predictions.read(file, samples)
    value = answers["7"].value
    assert isinstance(value, Boxes)
    assert value.labels == ("dog", "dog")
    assert value.region_scores == (0.25, 0.75)  # in the order of the file
    assert value.xywh == ((1.1, 2.2, 3.3, 4.4),) * 2  # unconverted
    file.write_text("[]")
    assert [answer.value for answer in TASKS["coco_detection"].predictions.read(file, samples).values()] == [
        Boxes((), (), (), xywh=()),
        Boxes((), (), (), xywh=()),
    ]


@pytest.mark.parametrize(("changes", "message"), [
    ({"image_id": 8}, r"\$\[0\] is of image 8, which is not among the 2"),
    ({"image_id": "7"}, r"Expected `int`, got `str` - at `\$\[0\]\.image_id`"),
    ({"category_id": 2}, "is of category 2, which the annotations do not have"),
    ({"bbox": [0, 0, -1, 1]}, "expected \\[x, y, width, height\\]"),
    ({"bbox": [1e308, 0, 1e308, 1]}, "expected \\[x, y, width, height\\]"),
    ({"score": None}, r"\$\[0\]\.score"),
])  # fmt: skip
def test_read_results_of_other_images_or_form_raises(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    samples = load(tmp_path)
    (tmp_path / "r.json").write_text(json.dumps([result(**changes)]))
    with pytest.raises(DataError, match=message):
        TASKS["coco_detection"].predictions.read(tmp_path / "r.json", samples)


def test_written_results_are_read_by_pycocotools(tmp_path: Path) -> None:
    samples = load(tmp_path)
    nan = float("nan")
    boxes = Boxes(
        ((0.1, 0.2, 5.5, 6.5), (9.0, 9.0, 1.0, 1.0), (0.0, 0.0, nan, 1.0), (-3.0, 0.0, 120.0, 60.0), (1, 1, 2, 2)),
        ("dog", "dog", "dog", "Person ", "unicorn"),
        (0.5, 0.5, 0.5, 0.5, 0.5),
        (0.5, 1.0, 1.0, 0.8, 1.0),
    )
    rows = [Row(s, Answer(("x",), boxes if s.id == "7" else None), Score({})) for s in samples]
    TASKS["coco_detection"].predictions.write(tmp_path / "r.json", rows)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(tmp_path / "coco/annotations/instances_val2017.json"))
        found = truth.loadRes(str(tmp_path / "r.json"))
    # The inverted box, the box with NaN and the unicorn are left out; a score is region score times label score.
    assert [(a["category_id"], a["bbox"], a["score"]) for a in found.dataset["annotations"]] == [
        (18, [0.1, 0.2, 5.4, 6.3], 0.25),
        (1, [-3.0, 0.0, 123.0, 60.0], 0.4),
    ]


@given(st.lists(st.decimals(-9999, 9999, places=4).map(float), min_size=2, max_size=2),
       st.lists(st.decimals(0, 9999, places=4).map(float), min_size=2, max_size=2))  # fmt: skip
def test_to_xywh_restores_sides_of_four_decimals_exactly(corner: list[float], sides: list[float]) -> None:
    assert list(to_xywh(from_xywh([*corner, *sides]))) == [*corner, *sides]
