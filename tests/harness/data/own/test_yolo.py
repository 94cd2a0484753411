"""YOLO's format: data.yaml in its forms, text files of boxes and outlines, and malformed ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.own import yolo
from harness.data.own.content import Notes, Thing
from harness.errors import DataError
from tests.own_files import picture

YAML = "val: images\nnames: [cat, dog]\n"


def _folder(tmp_path: Path, yaml: str, labels: str | None, image: str = "images/a.png") -> Path:
    """A folder with an image of 40 x 30 pixels and its labels."""
    picture(tmp_path / image)
    (tmp_path / "data.yaml").write_text(yaml)
    if labels is not None:
        path = tmp_path / yolo.label_of(image)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(labels)
    return tmp_path


def _things(folder: Path, notes: Notes | None = None) -> list[Thing]:
    [read] = yolo.read(folder, folder, notes or Notes(folder)).pictures
    assert read.things is not None
    return read.things


def test_boxes_and_outlines_become_pixels(tmp_path: Path) -> None:
    """A box around (20, 15) of 10 x 6 pixels; an outline of 3 corners of the image."""
    folder = _folder(tmp_path, YAML, "1 0.5 0.5 0.25 0.2\n\n0 0 0 1 0 1 1\n")
    assert _things(folder) == [
        Thing("dog", (15.0, 12.0, 10.0, 6.0)),
        Thing("cat", (0.0, 0.0, 40.0, 30.0), ((0.0, 0.0, 40.0, 0.0, 40.0, 30.0),)),
    ]


@pytest.mark.parametrize("labels", [None, "", "\n"])
def test_image_without_labels_has_no_objects(labels: str | None, tmp_path: Path) -> None:
    assert _things(_folder(tmp_path, YAML, labels)) == []


def test_keypoints_are_not_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path, f"{YAML}kpt_shape: [1, 3]\n", "0 0.5 0.5 0.5 0.5 0.1 0.1 2\n")
    assert _things(folder) == [Thing("cat", (10.0, 7.5, 20.0, 15.0))]


def test_class_without_a_name_and_negative_sides_are_noted(tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    folder = _folder(tmp_path, YAML, "2 0.5 0.5 0.1 0.1\n0 0.5 0.5 -0.1 0.1\n-1 0.5 0.5 0.1 0.1\n")
    assert _things(folder, notes) == []
    assert notes.reading.said() == (
        "objects of a class that is not among the 2 names, left out: 2 (first: a.txt line 1: 2, a.txt line 3: -1)",
        "boxes with a negative side, left out: 1 (first: a.txt line 2)",
    )


@pytest.mark.parametrize(("labels", "message"), [
    ("0 0.5 0.5 0.1\n", r"a.txt line 1 has 3 numbers after the class; a box has 4, an outline 6, 8, ..."),
    ("0 0.5 0.5 0.1 0.1 0.9\n", "has 5 numbers"),
    ("cat 0.5 0.5 0.1 0.1\n", "line 1 is no class with numbers: 'cat 0.5"),
    ("0 0.5 nan 0.1 0.1\n", "has 4 numbers"),
    ("\xff\n", "line 1 is not utf-8"),
])  # fmt: skip
def test_malformed_line_is_named(labels: str, message: str, tmp_path: Path) -> None:
    folder = _folder(tmp_path, YAML, "")
    (folder / "labels/a.txt").write_bytes(labels.encode("latin-1"))
    with pytest.raises(DataError, match=message):
        _things(folder)


@pytest.mark.parametrize(("yaml", "message"), [
    ("val: images\n", r"missing required field `names`"),
    ("val: images\nnames: 3\n", "`\\$.names`"),
    ("val: images\nnames: {0: a, 2: b}\n", r"the numbers of `names` are \[0, 2\]; they count from 0"),
    ("val: images\nnames: [a, a]\n", "two categories have the same name"),
    ("val: [images\nnames: [a]\n", "is not as expected"),
    ("val: elsewhere\nnames: [a]\n", "names no folder of images that is below"),
    ("val: ../../other\nnames: [a]\n", "names no folder of images that is below"),
    ("val: /etc\nnames: [a]\n", "names no folder of images that is below"),
    ("", "data.yaml is empty"),
])  # fmt: skip
def test_malformed_yaml_is_refused(yaml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        _things(_folder(tmp_path, yaml, ""))


def test_roboflow_folders_are_found_without_their_dots(tmp_path: Path) -> None:
    """Roboflow writes ../train/images for the folder beside data.yaml."""
    yaml = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnc: 1\nnames: ['cat']\n"
    folder = _folder(tmp_path / "export", yaml, "0 0.5 0.5 0.1 0.1\n", "train/images/a.png")
    picture(folder / "valid/images/b.png")
    notes = Notes(folder)
    content = yolo.read(folder, folder, notes)
    assert [(each.name, each.split, len(each.things or ())) for each in content.pictures] == [
        ("train/images/a.png", "train", 1), ("valid/images/b.png", "val", 0)
    ]  # fmt: skip
    assert "(first: ../test/images)" in notes.reading.said()[0]


def test_list_of_images_is_read(tmp_path: Path) -> None:
    folder = _folder(tmp_path, "path: .\nval: val.txt\nnames: {0: cat}\n", "0 0.5 0.5 0.1 0.1\n", "images/val/a.png")
    (folder / "val.txt").write_text("./images/val/a.png\nimages/val/gone.png\n")
    notes = Notes(folder)
    content = yolo.read(folder / "data.yaml", folder, notes)
    assert [each.name for each in content.pictures] == ["images/val/a.png"]
    assert notes.reading.said() == ("images that are not there, left out: 1 (first: images/val/gone.png)",)
    (folder / "val.txt").write_text("../../secret.png\n")
    with pytest.raises(DataError, match=r"val.txt line 1: the image name"):
        yolo.read(folder, folder, Notes(folder))


def test_classes_txt_names_the_categories(tmp_path: Path) -> None:
    picture(tmp_path / "train/a.png")
    (tmp_path / "train/a.txt").write_text("1 0.5 0.5 0.5 0.5\n")
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    content = yolo.read(tmp_path, tmp_path, Notes(tmp_path))
    assert [(each.name, each.split, each.things) for each in content.pictures] == [
        ("train/a.png", "train", [Thing("dog", (10.0, 7.5, 20.0, 15.0))])
    ]
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(DataError, match=r"has neither a data.yaml nor a classes.txt"):
        yolo.read(tmp_path, tmp_path, Notes(tmp_path))


def test_sources_are_yaml_and_labels(tmp_path: Path) -> None:
    folder = _folder(tmp_path, YAML, "")
    assert yolo.sources(folder, folder) == [folder / "data.yaml", folder / "labels/a.txt"]
