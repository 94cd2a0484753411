"""LabelMe's format: its shapes, groups, and malformed files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness.data.own import labelme
from harness.data.own.content import Notes, Picture, Thing
from harness.errors import DataError
from tests.own_files import picture

SQUARE = [[1.0, 2.0], [5.0, 2.0], [5.0, 6.0], [1.0, 6.0]]


def _shape(kind: str | None, points: list[list[float]], **more: Any) -> dict[str, Any]:
    return {"label": "cat", "points": points, "shape_type": kind, **more}


def _read(tmp_path: Path, shapes: list[dict[str, Any]], notes: Notes | None = None, **more: Any) -> list[Picture]:
    picture(tmp_path / "a.png")
    record = {"shapes": shapes, "imagePath": "a.png", "imageWidth": 40, "imageHeight": 30, **more}
    (tmp_path / "a.json").write_text(json.dumps(record))
    return labelme.read(tmp_path, tmp_path, notes or Notes(tmp_path)).pictures


@pytest.mark.parametrize(("kind", "points", "rings"), [
    ("rectangle", [[5.0, 6.0], [1.0, 2.0]], 0),  # any two opposite corners
    ("polygon", SQUARE, 1),
    (None, SQUARE, 1),
    ("rotation", SQUARE, 1),
])  # fmt: skip
def test_shape_becomes_an_object_with_the_box_around_it(
    kind: str | None, points: list[list[float]], rings: int, tmp_path: Path
) -> None:
    [read] = _read(tmp_path, [_shape(kind, points)])
    assert read.things is not None
    [thing] = read.things
    assert (thing.label, thing.xywh, len(thing.rings)) == ("cat", (1.0, 2.0, 4.0, 4.0), rings)


def test_circle_is_a_polygon_of_its_radius(tmp_path: Path) -> None:
    [read] = _read(tmp_path, [_shape("circle", [[10.0, 10.0], [13.0, 14.0]])])  # a radius of 5
    assert read.things is not None
    [thing] = read.things
    assert thing.xywh == pytest.approx((5.0, 5.0, 10.0, 10.0))
    [ring] = thing.rings
    assert {round(math.hypot(x - 10, y - 10), 9) for x, y in zip(ring[::2], ring[1::2], strict=True)} == {5.0}


def test_shapes_of_one_group_are_one_object(tmp_path: Path) -> None:
    far = [[20.0, 20.0], [22.0, 20.0], [22.0, 24.0]]
    shapes = [_shape("polygon", SQUARE, group_id=1), _shape("polygon", far, group_id=1), _shape("polygon", far)]
    [read] = _read(tmp_path, shapes)
    assert read.things is not None
    assert [(each.xywh, len(each.rings)) for each in read.things] == [
        ((1.0, 2.0, 21.0, 22.0), 2), ((20.0, 20.0, 2.0, 4.0), 1)
    ]  # fmt: skip


def test_points_lines_and_other_files_are_noted(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"images": []}')
    (tmp_path / "list.json").write_text("[]")
    notes = Notes(tmp_path)
    [read] = _read(tmp_path, [_shape("point", [[1.0, 1.0]]), _shape("line", [[1.0, 1.0], [2.0, 2.0]])], notes)
    assert read.things == []
    assert notes.reading.said() == (
        "shapes of type point that are no objects, left out: 1 (first: a.json: cat)",
        "shapes of type line that are no objects, left out: 1 (first: a.json: cat)",
        "JSON files without shapes, left out: 2 (first: list.json, other.json)",
    )


def test_image_path_is_relative_to_the_file_and_may_be_of_windows(tmp_path: Path) -> None:
    picture(tmp_path / "images/train/b.png")
    (tmp_path / "labels").mkdir()
    record = {"shapes": [], "imagePath": "..\\images\\train\\b.png"}
    (tmp_path / "labels/b.json").write_text(json.dumps(record))
    [read] = labelme.read(tmp_path / "labels", tmp_path, Notes(tmp_path)).pictures
    assert (read.name, read.split, read.size) == ("images/train/b.png", "train", None)
    with pytest.raises(DataError, match=r"imagePath .* is not below .*labels; --images names the folder of images"):
        labelme.read(tmp_path / "labels", tmp_path / "labels", Notes(tmp_path))


@pytest.mark.parametrize(("shapes", "more", "message"), [
    ([{"label": "cat"}], {}, r"a.json is not as expected: .*`points` - at `\$.shapes\[0\]`"),
    ([_shape("polygon", [[1.0]])], {}, r"\$.shapes\[0\].points\[0\]"),
    ([], {"imagePath": "/etc/a.png"}, "imagePath '/etc/a.png' is not below"),
    ([], {"imagePath": 3}, "`\\$.imagePath`"),
])  # fmt: skip
def test_malformed_file_is_named(
    shapes: list[dict[str, Any]], more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, shapes, **more)


def test_folder_without_files_of_labelme_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no JSON file of LabelMe"):
        labelme.read(tmp_path, tmp_path, Notes(tmp_path))


def test_single_file_is_its_own_source(tmp_path: Path) -> None:
    [read] = _read(tmp_path, [_shape("rectangle", [[1.0, 2.0], [5.0, 6.0]])])
    assert labelme.read(tmp_path / "a.json", tmp_path, Notes(tmp_path)).pictures == [read]
    assert read.things == [Thing("cat", (1.0, 2.0, 4.0, 4.0))]
