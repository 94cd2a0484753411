"""Pascal VOC's format: pixels that count from 1 or edges, lists, difficult objects, and malformed files."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.core import Size
from harness.data.own import voc
from harness.data.own.content import Notes, Picture, Thing
from harness.errors import DataError
from tests.own_files import picture

BOX = "<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>"
FILE = (
    "<annotation>{more}<filename>a.png</filename><size><width>40</width><height>30</height></size>"
    "<object><name>cat</name>{box}</object></annotation>"
)
DEVKIT = "<source><annotation>PASCAL VOC2007</annotation></source>"


def _read(tmp_path: Path, xml: str, notes: Notes | None = None) -> list[Picture]:
    picture(tmp_path / "a.png")
    (tmp_path / "a.xml").write_text(xml)
    return voc.read(tmp_path, tmp_path, notes or Notes(tmp_path)).pictures


@pytest.mark.parametrize(("more", "edges", "xywh"), [
    ("", (0, 0, 40, 30), (0, 0, 40, 30)),
    ("", (1.5, 2, 11, 8), (1.5, 2, 9.5, 6)),
    (DEVKIT, (1, 1, 40, 30), (0, 0, 40, 30)),  # the first and the last pixel of 40 x 30
    (DEVKIT, (3, 3, 3, 3), (2, 2, 1, 1)),  # one pixel
])  # fmt: skip
def test_boxes_of_the_devkit_count_pixels_and_others_are_edges(
    more: str, edges: tuple[float, ...], xywh: tuple[float, ...], tmp_path: Path
) -> None:
    [read] = _read(tmp_path, FILE.format(more=more, box=BOX.format(*edges)))
    assert (read.name, read.split, read.size) == ("a.png", "val", Size(40, 30))
    assert read.things is not None and [each.xywh for each in read.things] == [xywh]


def test_difficult_object_is_a_crowd_and_inverted_box_is_left_out(tmp_path: Path) -> None:
    box = f"{BOX.format(1, 1, 5, 5)}<difficult>1</difficult></object><object><name>dog</name>{BOX.format(9, 1, 5, 5)}"
    notes = Notes(tmp_path)
    [read] = _read(tmp_path, FILE.format(more="", box=box), notes)
    assert read.things == [Thing("cat", (1.0, 1.0, 4.0, 4.0), crowd=True)]
    assert notes.reading.said() == (
        "objects marked difficult, never counted as missed: 1 (first: a.xml: cat)",
        "boxes with a negative side, left out: 1 (first: a.xml: dog)",
    )


def test_lists_of_the_devkit_name_the_splits(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        picture(tmp_path / f"JPEGImages/{name}.png")
        (tmp_path / "Annotations").mkdir(exist_ok=True)
        xml = FILE.format(more="", box=BOX.format(1, 1, 5, 5)).replace("a.png", f"{name}.png")
        (tmp_path / f"Annotations/{name}.xml").write_text(xml)
    lists = tmp_path / voc.LISTS
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\n")
    (lists / "val.txt").write_text("b\n")
    (lists / "trainval.txt").write_text("a\nb\n")
    (lists / "cat_val.txt").write_text("b  1\n")
    for folder in (tmp_path, tmp_path / "Annotations"):
        notes = Notes(tmp_path)
        read = voc.read(folder, tmp_path, notes).pictures
        assert [(each.name, each.split) for each in read] == [
            ("JPEGImages/a.png", "train"),
            ("JPEGImages/b.png", "val"),
        ]
        assert notes.reading.said() == ("images that no list of ImageSets/Main names, left out: 1 (first: c.xml)",)


@pytest.mark.parametrize(("xml", "message"), [
    ("<annotation><object>", "a.xml is no XML file"),
    ("", "a.xml is no XML file"),
    (FILE.format(more="", box=BOX.format("left", 1, 2, 3)), "a.xml: <bndbox><xmin> is 'left'; expected a number"),
    (FILE.format(more="", box=BOX.format("nan", 1, 2, 3)), "expected a number"),
    (FILE.format(more="", box=""), "a.xml: <bndbox><xmin> is ''"),
    (FILE.format(more="", box="").replace("cat", ""), "an <object> has no <name>"),
    (FILE.format(more="", box="").replace("a.png", "../../a.png"), "a.xml: <filename>: the image name '../../a.png'"),
    ("<svg/>", "has no XML file with an <annotation>"),
])  # fmt: skip
def test_malformed_file_is_named(xml: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        _read(tmp_path, xml)


def test_image_is_found_by_the_stem_where_its_ending_is_wrong(tmp_path: Path) -> None:
    [read] = _read(tmp_path, FILE.format(more="", box=BOX.format(1, 1, 5, 5)).replace("a.png", "a.jpeg"))
    assert read.name == "a.png"
