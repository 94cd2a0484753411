"""CVAT's XML, by the elements and attributes that its documentation lists."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

from PIL import Image

from harness.exports import cvat
from harness.exports.shapes import Picture, Shape
from tests.harness.exports.pictured import QUAD, SIZE, TRIANGLE, everything
from tests.tools import run_with

READER = """
import json, sys
import datumaro

[item] = datumaro.Dataset.import_from(sys.argv[1], "cvat")
print(json.dumps([[each.type.name, each.points, each.group, each.attributes] for each in item.annotations]))
"""


def test_cvat_file_has_boxes_and_polygons_inside_the_image() -> None:
    root = ElementTree.fromstring(cvat.write(everything(), "refcoco <val>"))
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    task = root.find("meta/task")
    assert task is not None and task.findtext("name") == "refcoco <val>" and task.findtext("size") == "1"
    labels = [label.findtext("name") for label in task.findall("labels/label")]
    assert labels == ["cat", "dog", "text", "the <red> cat"]
    [image] = root.findall("image")
    assert image.attrib == {"id": "0", "name": "a.jpg", "width": "200", "height": "100"}
    cat, dog = image.findall("box")
    assert [cat.get(edge) for edge in ("xtl", "ytl", "xbr", "ybr")] == ["10.00", "20.00", "40.00", "60.00"]
    assert [dog.get(edge) for edge in ("xtl", "ytl", "xbr", "ybr")] == ["150.00", "0.00", "200.00", "60.00"]
    assert (cat.get("label"), cat.get("source"), cat.get("occluded")) == ("cat", "auto", "0")
    assert [each.text for each in cat.findall("attribute")] == ["0.2500", None]
    first, second, line = image.findall("polygon")
    assert first.get("points") == "20.00,10.00;60.00,10.00;20.00,50.00"
    assert first.get("group_id") == second.get("group_id") == "1" and line.get("group_id") is None
    assert {each.get("name"): each.text for each in line.findall("attribute")} == {"score": None, "text": "STOP & go"}


def test_attributes_of_shapes_are_declared_for_every_label() -> None:
    root = ElementTree.fromstring(cvat.write(everything(), "t"))
    for label in root.iter("label"):
        assert [each.findtext("name") for each in label.findall("attributes/attribute")] == ["score", "text"]


def test_control_characters_in_names_make_no_broken_xml() -> None:
    hostile = [Picture("a\x00\ud800.jpg", SIZE, None, [Shape('"\x1b<', (0.0, 0.0, 9.0, 9.0))])]
    root = ElementTree.fromstring(cvat.write(hostile, "\x01"))
    assert root.find("image/box").get("label") == '" <'  # type: ignore[union-attr]


def test_datumaro_reads_the_file(tmp_path: Path) -> None:
    """Datumaro is the library that CVAT itself reads formats with."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", SIZE).save(tmp_path / "images/a.jpg")
    (tmp_path / "annotations.xml").write_bytes(cvat.write(everything(), "t"))
    read = json.loads(run_with("datumaro", "-c", READER, str(tmp_path)).stdout.splitlines()[-1])
    assert [each[:3] for each in read] == [
        ["bbox", [10, 20, 40, 60], 0],
        ["bbox", [150, 0, 200, 60], 0],
        ["polygon", [number for point in TRIANGLE for number in point], 1],
        ["polygon", [80, 60, 90, 60, 90, 70], 1],
        ["polygon", [number for point in QUAD for number in point], 0],
    ]
    assert (read[0][3]["score"], read[4][3]["text"]) == ("0.2500", "STOP & go")
