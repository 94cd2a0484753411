"""COCO's format: its own folders, Roboflow's, one file, and what is kept of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data.own import coco
from harness.data.own.content import Notes, Thing
from harness.errors import DataError
from tests.own_files import picture

IMAGE = {"id": 7, "file_name": "a.png", "width": 40, "height": 30}
OBJECT = {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0, "extra": "kept"}
INSTANCES = {"images": [IMAGE], "annotations": [OBJECT], "categories": [{"id": 3, "name": "cat"}]}
CAPTIONS = {"images": [IMAGE], "annotations": [{"id": 1, "image_id": 7, "caption": "a cat"}]}


def _write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_files_of_coco_s_folder_have_the_split_of_their_name_and_images_of_its_folder(tmp_path: Path) -> None:
    picture(tmp_path / "val2017/a.png")
    _write(tmp_path / "annotations/instances_val2017.json", INSTANCES)
    _write(tmp_path / "annotations/captions_val2017.json", CAPTIONS)
    _write(tmp_path / "annotations/person_keypoints_val2017.json", INSTANCES)
    content = coco.read(tmp_path, tmp_path, Notes(tmp_path))
    assert set(content.official) == {("detect", "val"), ("caption", "val")}
    [read] = content.pictures
    assert (read.name, read.split, read.captions) == ("val2017/a.png", "val", ["a cat"])
    assert read.things == [Thing("cat", (1.0, 2.0, 3.0, 4.0))]
    record = content.official["detect", "val"]
    assert bytes(record.images[0]["file_name"]) == b'"val2017/a.png"'
    assert json.loads(bytes(record.annotations[0]))["extra"] == "kept"


def test_roboflow_folders_are_splits(tmp_path: Path) -> None:
    for folder in ("train", "valid"):
        picture(tmp_path / folder / "a.png")
        _write(tmp_path / folder / coco.ROBOFLOW, INSTANCES)
    content = coco.read(tmp_path, tmp_path, Notes(tmp_path))
    assert [(each.name, each.split) for each in content.pictures] == [("train/a.png", "train"), ("valid/a.png", "val")]
    [alone] = coco.read(tmp_path / "train" / coco.ROBOFLOW, tmp_path / "train", Notes(tmp_path)).pictures
    assert (alone.name, alone.split) == ("a.png", "train")


def test_single_file_is_for_evaluation_whatever_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    path = _write(tmp_path / "instances_train.json", INSTANCES)
    assert [each.split for each in coco.read(path, tmp_path, Notes(tmp_path)).pictures] == ["val"]


@pytest.mark.parametrize(("content", "message"), [
    ("", "t.json is empty"),
    ("[]", "t.json is not as expected: Expected `object`, got `array`"),
    ({"images": []}, "missing required field `annotations`"),
    ({"images": [{"id": 1}], "annotations": [], "categories": []}, "missing required field `file_name`"),
    ({**INSTANCES, "annotations": [{"bbox": [1]}]}, "t.json is not as expected"),
    ({"images": [IMAGE], "annotations": []}, "has neither `categories` nor annotations with a `caption`"),
    ({**INSTANCES, "images": [{**IMAGE, "file_name": "../a.png"}]}, r"\$.images\[0\]: the image name '../a.png'"),
])  # fmt: skip
def test_malformed_file_is_refused_in_one_line(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message) as refused:
        coco.read(_write(tmp_path / "t.json", content), tmp_path, Notes(tmp_path))
    assert "\n" not in str(refused.value)


def test_two_files_of_one_split_and_a_folder_without_files_are_refused(tmp_path: Path) -> None:
    _write(tmp_path / "one.json", INSTANCES)
    _write(tmp_path / "two.json", INSTANCES)
    with pytest.raises(DataError, match=r"two.json is the second file of detect and the split val"):
        coco.read(tmp_path, tmp_path, Notes(tmp_path))
    with pytest.raises(DataError, match="has no JSON file, nor has its folder annotations"):
        coco.sources(tmp_path.parent / "nothing", tmp_path)
    for number in range(coco.MOST):
        _write(tmp_path / f"{number}.json", INSTANCES)
    with pytest.raises(DataError, match="has 66 JSON files; --format labelme reads one for each image"):
        coco.sources(tmp_path, tmp_path)


@pytest.mark.parametrize(("name", "split"), [
    ("instances_val2017.json", "val"), ("train/labels_test.json", "test"), ("valid/_annotations.coco.json", "val"),
    ("mine.json", "val"), ("captions_train.json", "train"), ("trainer.json", "val"),
])  # fmt: skip
def test_name_of_a_file_names_its_split(name: str, split: str) -> None:
    assert coco.split_of_file(Path(name)) == split
