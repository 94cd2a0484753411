"""Files of people's annotations in COCO's format: what becomes of each record, and files that are refused."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core import Boxes, Polygons, Text
from harness.data_engine.people import CocoFile
from harness.errors import DataError
from tests.harness.data_engine.engines import IMAGE, SIZE

RING = [10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]
CAT: dict[str, Any] = {"image_id": 1, "bbox": [10.0, 20.0, 30.0, 40.0], "category_id": 7, "segmentation": [RING]}
FILE: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "width": SIZE.width, "height": SIZE.height}],
    "categories": [{"id": 7, "name": "cat"}],
    "annotations": [CAT],
}


def read(path: Path, **changes: Any) -> CocoFile:
    (path / "people.json").write_text(json.dumps(FILE | changes))
    return CocoFile.read(path / "people.json", "people", "CC BY 4.0")


def test_object_becomes_a_region_and_its_outline_and_a_caption_a_brief_text(tmp_path: Path) -> None:
    """x 10, y 20, 30 wide and 40 high: the edges are 10, 20, 40 and 60."""
    file = read(tmp_path, annotations=[CAT, {"image_id": 1, "caption": " A cat. "}])
    assert (file.origin.kind, file.origin.name, file.origin.licence) == ("human", "people", "CC BY 4.0")
    region, outline, caption = file.annotations("a.png", IMAGE)
    assert region.value == Boxes(((10.0, 20.0, 40.0, 60.0),), ("cat",)) and region.score is None
    assert outline.value == Polygons((((10.0, 20.0), (40.0, 20.0), (40.0, 60.0), (10.0, 60.0)),))
    assert outline.parents == (region.id,)
    assert (caption.value, caption.length, caption.parents) == (Text(("A cat.",)), "brief", ())
    assert {each.origin for each in (region, outline, caption)} == {file.origin.id}
    assert {each.image for each in (region, outline, caption)} == {IMAGE.sha256}


@pytest.mark.parametrize(
    ("changes", "reason", "kept"),
    [
        ({"iscrowd": 1}, "crowds", 0),
        ({"bbox": [10, 20, 0, 40]}, "boxes without area", 0),
        ({"bbox": [10, 20, -5, 40]}, "boxes without area", 0),
        ({"bbox": None}, "boxes without area", 0),
        ({"bbox": [1e300, 20, 5, 40]}, "boxes without area", 0),
        ({"segmentation": [[1.0, 2.0]]}, "outlines that cannot be read", 1),
        ({"segmentation": {"counts": "xx", "size": [1, 1]}}, "outlines that cannot be read", 1),
        ({"segmentation": "a circle"}, "outlines that cannot be read", 1),
        ({"segmentation": []}, "", 1),
    ],
)
def test_record_that_says_nothing_is_left_out_and_counted(
    tmp_path: Path, changes: dict[str, Any], reason: str, kept: int
) -> None:
    file = read(tmp_path, annotations=[CAT | changes])
    assert len(list(file.annotations("a.png", IMAGE))) == kept
    assert file.left_out == (Counter({reason: 1}) if reason else Counter())


def test_image_of_another_size_is_left_out_whole(tmp_path: Path) -> None:
    file = read(tmp_path)
    assert list(file.annotations("a.png", replace(IMAGE, size=SIZE._replace(width=50)))) == []
    assert file.left_out == Counter({"images of another size": 1})
    unknown = read(tmp_path, images=[{"id": 1, "file_name": "a.png"}])
    assert len(list(unknown.annotations("a.png", IMAGE))) == 2


def test_name_is_matched_whole_then_folder_by_folder(tmp_path: Path) -> None:
    names = ["a.png", "train/b.png", "c.png"]
    file = read(tmp_path, images=[{"id": place, "file_name": name} for place, name in enumerate(names)], annotations=[])
    matched = file.matched(["a.png", "photos/a.png", "photos/train/b.png", "b.png", "xc.png"])
    assert matched == {"a.png": "a.png", "photos/train/b.png": "train/b.png"}
    assert file.left_out == Counter({"images that the engine lacks": 1})
    with pytest.raises(DataError, match=r"the image c.png may be x/c.png or y/c.png; name the folder"):
        file.matched(["x/c.png", "y/c.png"])
    with pytest.raises(DataError, match=r"has none of the engine's images; its first is a.png"):
        file.matched(["z.png"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"annotations": [CAT | {"image_id": 5}]}, r"\$.annotations\[0\] is of the image 5, which \$.images lacks"),
        ({"annotations": [CAT | {"category_id": 9}]}, r"has the category 9, which \$.categories lacks"),
        ({"annotations": [CAT | {"bbox": [1, 2, 3]}]}, r"people.json is not as expected"),
        ({"annotations": None}, r"people.json is not as expected"),
        ({"images": FILE["images"] * 2}, r"two images with one file_name"),
    ],
)
def test_malformed_file_is_one_line_that_names_the_place(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, **changes)


def test_absent_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json is not there"):
        CocoFile.read(tmp_path / "none.json", "people", "")
