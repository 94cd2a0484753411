"""Official files of a content, read by the official readers and by pycocotools."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

from pycocotools.coco import COCO

from harness.core import Size, Source
from harness.data import captions, refer, vqa
from harness.data.own.content import Asked, CocoFile, Content, Picture, Said, Thing
from harness.data.own.writing import REFS, write

SQUARE = (2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0)  # 4 x 4 pixels
SIZE = Size(40, 30)


def test_objects_are_read_by_pycocotools(tmp_path: Path) -> None:
    things = [Thing("dog", (2.0, 2.0, 4.0, 4.0), (SQUARE,)), Thing("cat", (0.0, 0.0, 10.0, 5.0), crowd=True)]
    content = Content([Picture("x/a.png", "val", SIZE, things=things), Picture("b.png", "val", SIZE, things=[])])
    assert write(content, tmp_path) == {"detect": ["val"]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "detect/val.json"))
    assert [each["name"] for each in coco.loadCats(coco.getCatIds())] == ["cat", "dog"]  # sorted without a list
    assert [each["file_name"] for each in coco.loadImgs(coco.getImgIds())] == ["x/a.png", "b.png"]
    first, second = coco.loadAnns(coco.getAnnIds())
    assert (first["bbox"], first["area"], first["iscrowd"], first["category_id"]) == ([2.0, 2.0, 4.0, 4.0], 16.0, 0, 2)
    assert int(coco.annToMask(first).sum()) == 16
    assert (second["area"], second["iscrowd"]) == (50.0, 1)  # of the box, 10 x 5


def test_categories_keep_the_order_of_the_source_in_every_split(tmp_path: Path) -> None:
    one = Thing("dog", (0.0, 0.0, 1.0, 1.0))
    pictures = [Picture("a.png", "val", SIZE, things=[one]), Picture("b.png", "train", SIZE, things=[])]
    write(Content(pictures, ["dog", "ant", "cat"]), tmp_path)
    for split in ("val", "train"):
        record = json.loads((tmp_path / f"detect/{split}.json").read_text())
        assert [each["name"] for each in record["categories"]] == ["dog", "ant", "cat"]


def test_captions_and_questions_are_read_again(tmp_path: Path) -> None:
    ten = tuple(f"answer {number}" for number in range(10))
    pictures = [
        Picture("a.jpg", "val", SIZE, captions=["one", "two"], asked=[Asked("why?", ("so",)), Asked("who?", ten)]),
        Picture("b.jpg", "test", SIZE, captions=["three"]),
    ]
    assert write(Content(pictures), tmp_path) == {"caption": ["val", "test"], "vqa": ["val"]}
    [read] = captions.read(tmp_path / "caption/val.json", "")
    assert (read.file_name, read.references, read.size) == ("a.jpg", ("one", "two"), SIZE)
    first, second = vqa.read_textvqa(tmp_path / "vqa/val.json", "")
    assert (first.image, first.answers, first.size) == ("a.jpg", ("so",) * 10, SIZE)
    assert second.answers == ten


def test_expressions_with_and_without_outlines_are_two_tasks(tmp_path: Path) -> None:
    said = [Said("the box", (0.0, 0.0, 9.0, 9.0)), Said("The Square", (2.0, 2.0, 4.0, 4.0), (SQUARE,))]
    write(Content([Picture("a.png", "night", SIZE, said=said)]), tmp_path)
    boxes = list(refer.read(Source(tmp_path, "night", tmp_path / "refer" / REFS), "", "", outlines=False))
    assert [(ref.sentences[0].text, ref.box) for ref in boxes] == [
        ("the box", (0.0, 0.0, 9.0, 9.0)), ("The Square", (2.0, 2.0, 6.0, 6.0))
    ]  # fmt: skip
    [outline] = refer.read(Source(tmp_path, "night", tmp_path / "segment" / REFS), "", "")
    assert outline.sentences[0].text == "The Square" and outline.outline is not None


def test_official_file_keeps_its_records_without_those_of_images_left_out(tmp_path: Path) -> None:
    record = {
        "images": [{"id": 1, "file_name": "a.png"}, {"id": 2, "file_name": "gone.png"}],
        "annotations": [{"image_id": 1, "x": 1.50}, {"image_id": 2}, {"image_id": 3}],
        "categories": [{"id": 9, "name": "cat", "supercategory": "animal"}],
    }
    import msgspec

    file = msgspec.json.decode(json.dumps(record), type=CocoFile)
    assert write(Content([Picture("a.png", "val", SIZE)], official={("detect", "val"): file}), tmp_path) == {
        "detect": ["val"]
    }
    kept = json.loads((tmp_path / "detect/val.json").read_text())
    assert kept["images"] == record["images"][:1] and kept["categories"] == record["categories"]
    assert kept["annotations"] == [{"image_id": 1, "x": 1.5}, {"image_id": 3}]  # of no listed image: noted when read


def test_content_of_no_task_writes_nothing(tmp_path: Path) -> None:
    assert write(Content([Picture("a.png", "val", SIZE)]), tmp_path) == {}
    assert not list(tmp_path.iterdir())
