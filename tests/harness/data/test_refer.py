"""The refer toolkit's files, and result files for them."""

from __future__ import annotations

import copy
import json
import math
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from harness.core import Answer, Boxes, Mask, Polygons, Reading, Row, Sample, Score, Size, Source, Value
from harness.data import refer
from harness.errors import DataError
from harness.geometry.masks import area, rasterise
from tasks import TASKS
from tests import refer_files


def read(root: Path, split: str = "val", folder: str = "refcoco", by: str = "unc") -> list[refer.Ref]:
    return list(refer.read(Source(root, split), folder, by))


def test_read_joins_refs_with_their_annotations(tmp_path: Path) -> None:
    refer_files.write(tmp_path)
    first, second, crowd = read(tmp_path)
    assert [(s.id, s.text) for s in first.sentences] == [("101", "the left square"), ("102", "square on the left")]
    assert first.size == Size(20, 10)
    assert first.image_name == "COCO_train2014_000000000007.jpg"  # from instances.json, not from the ref
    assert first.box == (2.0, 2.0, 6.0, 6.0)
    assert second.box == (10.5, 1.25, 14.5, 5.75)  # x + width, y + height, not rounded
    # Two parts, 4 x 4 and 3 x 2 pixels, that share 2 x 2: 16 + 6 - 4.
    assert isinstance(second.outline, Polygons)
    assert area(rasterise(second.outline, second.size)) == 18
    assert isinstance(crowd.outline, Mask)
    assert area(crowd.outline) == 10
    boxes = refer.read(Source(tmp_path, "val"), "refcoco", "unc", outlines=False)
    assert [(ref.id, ref.box, ref.outline) for ref in boxes] == [(r.id, r.box, None) for r in (first, second, crowd)]
    assert [ref.id for ref in read(tmp_path, "testA")] == ["4"]
    with pytest.raises(DataError, match="has no split 'testB'; it has testA, val"):
        read(tmp_path, "testB")


def test_names_of_splits_with_line_breaks_stay_on_one_line(tmp_path: Path) -> None:
    refer_files.write(tmp_path, refs=[refer_files.ref(1, 70, 7, "v\nal\x1b[2J", {101: "the left square"})])
    with pytest.raises(DataError, match=r"has no split 'val'; it has v al \[2J$"):
        read(tmp_path, "val")


def test_read_finds_other_data_sets_and_authors_of_splits(tmp_path: Path) -> None:
    refer_files.write(tmp_path, name="refcocog", by="umd")
    assert len(read(tmp_path, folder="refcocog", by="umd")) == 3
    with pytest.raises(DataError, match=r"refer/refcocog/refs\(google\)\.p is not there"):
        read(tmp_path, folder="refcocog", by="google")


def test_read_accepts_pickles_of_python_2(tmp_path: Path) -> None:
    refs = refer_files.refs()
    refs[0]["sentences"][0]["sent"] = "caf\xe9"
    old = (
        pickle.dumps(refs, protocol=0)
        .replace(b"Vcaf\xe9", b"S'caf\\xc3\\xa9'")
        .replace(b"Vcaf\\u00e9", b"S'caf\\xc3\\xa9'")
    )
    assert b"S'caf" in old
    refer_files.write(tmp_path, refs=old)
    assert read(tmp_path)[0].sentences[0].text == "café"


Change = Callable[[list[dict[str, Any]], dict[str, Any]], Any]


def without(key: str) -> Change:
    return lambda refs, instances: refs[0].pop(key)


BROKEN: dict[str, tuple[Change, str]] = {
    "no such annotation": (lambda refs, instances: refs[0].update(ann_id=999), "999"),
    "no such image": (lambda refs, instances: instances["images"].pop(0), "7"),
    "annotation of another image": (lambda refs, instances: refs[0].update(image_id=8), "of image 7"),
    "no sentences": (without("sentences"), "sentences"),
    "no split": (without("split"), "split"),
    "a box of three": (
        lambda refs, instances: instances["annotations"][0].update(bbox=[1, 2, 3]),
        r"annotations\[0\].bbox",
    ),
    "a malformed segmentation": (lambda refs, instances: instances["annotations"][0].update(segmentation="x"), "70"),
    "a width in words": (
        lambda refs, instances: instances["images"][0].update(width="wide"),
        "instances.json",
    ),
    "no annotations": (lambda refs, instances: instances.pop("annotations"), "annotations"),
    "a ref without its annotation": (lambda refs, instances: instances["annotations"].pop(2), "ref 3 is annotation 80"),
    "a ref without its image": (lambda refs, instances: instances["images"].pop(1), "ref 3 .* no such image"),
    "an annotation twice": (
        lambda refs, instances: instances["annotations"].append({**instances["annotations"][0], "bbox": [0, 0, 1, 1]}),
        "has the annotation id 70 twice",
    ),
    "an image of a million by a million": (
        lambda refs, instances: instances["images"][0].update(width=10**6, height=10**6),
        "1000000 x 1000000 pixels",
    ),
    "a sentence twice": (lambda refs, instances: refs[1]["sentences"][0].update(sent_id=102), "twice .first: 102"),
    "an image of no width": (lambda refs, instances: instances["images"][0].update(width=0), "70: its image is 0 x 10"),
    "a box of negative height": (
        lambda refs, instances: instances["annotations"][0].update(bbox=[1, 1, 1, -1]),
        "70: its bbox",
    ),
    "a mask of another size": (
        lambda refs, instances: instances["annotations"][2].update(segmentation={"size": [20, 10], "counts": [200]}),
        "80: a mask of",
    ),
    "half a character": (lambda refs, instances: refs[0]["sentences"][0].update(sent="\ud83d"), "ref 1: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_read_of_malformed_files_names_the_record_on_one_line(tmp_path: Path, name: str) -> None:
    change, message = BROKEN[name]
    refs, instances = copy.deepcopy(refer_files.refs()), copy.deepcopy(refer_files.instances())
    change(refs, instances)
    refer_files.write(tmp_path, refs=refs, instances=instances)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def lenient() -> dict[str, Any]:
    """instances.json with what pycocotools reads and COCO does not publish."""
    data = refer_files.instances()
    for image in data["images"]:
        image.update(id=float(image["id"]), width=20.0, height=None if image["id"] == 8 else 10.0)
    for one in data["annotations"]:
        one.update(id=float(one["id"]), image_id=float(one["image_id"]))
        del one["area"], one["iscrowd"]
    return data


def test_read_of_instances_that_pycocotools_reads_converts_and_notes_them(tmp_path: Path) -> None:
    folder = refer_files.write(tmp_path, instances=lenient())
    source = Source(tmp_path, "val")
    refs = list(refer.read(source, "refcoco", "unc", outlines=False))
    assert [ref.box for ref in refs] == [(2.0, 2.0, 6.0, 6.0), (10.5, 1.25, 14.5, 5.75), (2.0, 0.0, 3.0, 10.0)]
    assert [ref.size for ref in refs] == [Size(20, 10), Size(20, 10), None]
    path = folder / "instances.json"
    assert source.reading.said() == (
        # 2 images, 4 annotations, and the image of each of the 3 refs of this split
        f"{path}: ids that are floats, read as integers: 9 (first: $.images[0].id, $.images[1].id, "
        "$.annotations[0].id)",
        f"{path}: image sizes that are floats, read as integers: 1 (first: $.images[0])",
        f"{path}: images whose size is null: 1 (first: $.images[1])",
    )
    with pytest.raises(DataError, match="annotation 80: its image has a width or height that is null, and an outline"):
        list(refer.read(source, "refcoco", "unc"))
    with pytest.raises(DataError, match=r"\$\.images\[0\]\.id is the float 7\.0; .*, or leave --strict out"):
        list(refer.read(Source(tmp_path, "val", reading=Reading(strict=True)), "refcoco", "unc", outlines=False))


def test_read_of_string_ids_in_both_files_joins_them(tmp_path: Path) -> None:
    refs, data = refer_files.refs(), refer_files.instances()
    for entry in (*refs, *data["annotations"]):
        entry["image_id"] = str(entry["image_id"])
    for image in data["images"]:
        image["id"] = str(image["id"])
    refer_files.write(tmp_path, refs=refs, instances=data)
    source = Source(tmp_path, "val")
    assert [ref.box for ref in refer.read(source, "refcoco", "unc")] == [
        (2.0, 2.0, 6.0, 6.0), (10.5, 1.25, 14.5, 5.75), (2.0, 0.0, 3.0, 10.0),
    ]  # fmt: skip
    assert all("ids that are strings, kept as strings" in note for note in source.reading.said())
    with pytest.raises(DataError, match=r"is the string '7'; .*, or leave --strict out"):
        list(refer.read(Source(tmp_path, "val", reading=Reading(strict=True)), "refcoco", "unc"))


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"images": NaN}', b""])
def test_read_of_instances_that_are_not_json_raises(tmp_path: Path, data: bytes) -> None:
    refer_files.write(tmp_path, instances=data)
    with pytest.raises(DataError, match=r"instances\.json"):
        read(tmp_path)


@pytest.mark.parametrize("data", [b"", pickle.dumps({"not": "a list"}), pickle.dumps([1, 2]), pickle.dumps(Size(1, 2))])
def test_read_of_pickle_that_is_not_a_list_of_refs_raises(tmp_path: Path, data: bytes) -> None:
    refer_files.write(tmp_path, refs=data)
    with pytest.raises(DataError, match=r"refs\(unc\)\.p"):
        read(tmp_path)


def test_read_accepts_ids_that_are_integers_of_numpy(tmp_path: Path) -> None:
    refs = refer_files.refs()
    for ref in refs:
        ref.update(ref_id=np.int64(ref["ref_id"]), ann_id=np.int32(ref["ann_id"]), image_id=np.int64(ref["image_id"]))
    refer_files.write(tmp_path / "a", refs=refs)
    refer_files.write(tmp_path / "b")
    assert read(tmp_path / "a") == read(tmp_path / "b")
    refer_files.write(tmp_path / "c", refs=pickle.dumps([np.dtype("i8")], 2))  # a type without a number
    with pytest.raises(DataError, match="cannot be read as a list of refs"):
        read(tmp_path / "c")


class CreatesFolder:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_read_refuses_pickles_with_code_without_running_it(tmp_path: Path) -> None:
    refs: list[Any] = refer_files.refs()
    refs[0]["sentences"][0]["tokens"] = CreatesFolder(tmp_path / "ran")  # in a field that the reader ignores
    refer_files.write(tmp_path, refs=refs)
    with pytest.raises(DataError, match=r"refs\(unc\)\.p cannot be read as a list of refs: the pickle holds code"):
        read(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_read_accepts_annotations_that_replace_the_official_ones(tmp_path: Path) -> None:
    folder = refer_files.write(tmp_path / "elsewhere", by="umd")
    assert [ref.id for ref in refer.read(Source(tmp_path, "testA", folder), "refcocog", "umd")] == ["4"]
    given = (folder / "refs(umd).p").rename(folder / "mine.p")  # next to instances.json
    assert [ref.id for ref in refer.read(Source(tmp_path, "testA", given), "refcocog", "umd")] == ["4"]


@pytest.mark.parametrize("lost", ["refs(unc).p", "instances.json"])
def test_read_of_missing_file_names_it_and_its_origin(tmp_path: Path, lost: str) -> None:
    file = refer_files.write(tmp_path) / lost
    file.unlink()
    with pytest.raises(DataError, match=f"{re.escape(str(file))} is not there; it comes from {refer.ORIGIN}") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_read_compressed_mask_equals_pycocotools(tmp_path: Path) -> None:
    pixels = np.zeros((10, 20), np.uint8, order="F")
    pixels[3:5, 4:9] = pixels[9, 19] = 1  # 2 x 5 and 1
    instances = refer_files.instances()
    counts = coco.encode(pixels)["counts"].decode()
    instances["annotations"][2]["segmentation"] = {"size": [10, 20], "counts": counts}
    refer_files.write(tmp_path, instances=instances)
    outline = read(tmp_path)[2].outline
    assert isinstance(outline, Mask)
    assert (coco.decode({"size": [10, 20], "counts": outline.counts}) == pixels).all()
    assert area(outline) == 11


# ---------------------------------------------------------------------------- predictions


def samples(tmp_path: Path, task: str) -> list[Sample[Any]]:
    refer_files.write(tmp_path)
    return list(TASKS[task].load(Source(tmp_path, "val")))


def rows(samples_: list[Sample[Any]], values: list[Any]) -> list[Row[Any]]:
    return [Row(s, Answer(("x",), value), Score({"iou": 0.0})) for s, value in zip(samples_, values, strict=True)]


def test_written_boxes_are_read_back(tmp_path: Path) -> None:
    asked = samples(tmp_path, "refcoco")
    values = [
        Boxes(((1.5, 2.0, 4.5, 8.25), (0, 0, 1, 1)), ("a", "b")),
        Boxes(((0.0, 0.0, 20.0, 10.0),)),
        None,
        Boxes(()),
    ]
    file = tmp_path / "boxes.json"
    refer.BOXES.write(file, rows(asked, values))
    assert json.loads(file.read_text())[0] == {"sent_id": 101, "bbox": [1.5, 2.0, 3.0, 6.25]}  # the first box
    back = refer.BOXES.read(file, asked)
    assert back["101"].value == Boxes(((1.5, 2.0, 4.5, 8.25),))
    assert back["103"].value is None
    assert back["104"].value is None


def test_written_masks_are_read_back(tmp_path: Path) -> None:
    asked = samples(tmp_path, "refcoco_res")
    values = [asked[0].target, asked[2].target, asked[3].target, None]
    file = tmp_path / "masks.json"
    refer.MASKS.write(file, rows(asked, values))
    back = refer.MASKS.read(file, asked)
    assert [back[s.id].value for s in asked] == values


def entry(number: int, **value: Any) -> dict[str, Any]:
    return {"sent_id": number, **value}


def boxes(*numbers: int) -> list[dict[str, Any]]:
    return [entry(number, bbox=[1, 2, 3, 4]) for number in numbers]


@pytest.mark.parametrize(("content", "message"), [
    (boxes(101, 102, 103), "1 sent_ids have no answer .first: 104"),
    (boxes(101, 102, 103, 104, 104), "answered more than once .first: 104"),
    (boxes(101, 102, 103, 104, 105), "not in this split .first: 105"),
    ([*boxes(101, 102, 103), entry(104, bbox=[1, 2, 3])], "sent_id 104: a bbox is"),
    ([*boxes(101, 102, 103), entry(104, bbox="box")], "sent_id 104"),
    ([*boxes(101, 102, 103), entry(104)], "bbox"),
    ([*boxes(101, 102, 103), {"bbox": [1, 2, 3, 4]}], "sent_id"),
    ({"101": [1, 2, 3, 4]}, "is not as expected"),
])  # fmt: skip
def test_box_predictions_of_other_sentences_or_form_raise(tmp_path: Path, content: Any, message: str) -> None:
    asked = samples(tmp_path, "refcoco")
    file = tmp_path / "p.json"
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        refer.BOXES.read(file, asked)


@pytest.mark.parametrize(("segmentation", "message"), [
    ({"size": [20, 10], "counts": [200]}, "height, width"),
    ({"size": [10, 20], "counts": [100]}, "does not fill"),
    ([[1, 2, 3]], "lacks a y"),
    ([["a", "b"]], "expected a coordinate"),
    (7, "a segmentation is"),
])  # fmt: skip
def test_mask_predictions_of_other_size_or_form_raise(tmp_path: Path, segmentation: Any, message: str) -> None:
    asked = samples(tmp_path, "refcoco_res")
    file = tmp_path / "p.json"
    file.write_text(json.dumps([entry(int(s.id), segmentation=segmentation) for s in asked]))
    with pytest.raises(DataError, match=message):
        refer.MASKS.read(file, asked)


def test_raw_answer_is_the_text_of_the_entry(tmp_path: Path) -> None:
    asked = samples(tmp_path, "refcoco")
    file = tmp_path / "p.json"
    file.write_text(json.dumps([entry(104, bbox=[]), *boxes(103, 101, 102)]))  # in any order
    back = refer.BOXES.read(file, asked)
    assert {i: answer.raw for i, answer in back.items()} == {"104": ("[]",), **dict.fromkeys(
        ("101", "102", "103"), ("[1, 2, 3, 4]",)
    )}  # fmt: skip
    assert back["104"].value is None
    assert back["102"].value == Boxes(((1.0, 2.0, 4.0, 6.0),))  # x + width, y + height


@pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", "null", "true", '"1"', "[1]"])
@pytest.mark.parametrize("task", ["refcoco", "refcoco_res"])
def test_predictions_with_undefined_numbers_raise(tmp_path: Path, task: str, number: str) -> None:
    asked = samples(tmp_path, task)[:1]
    value = f'"bbox": [1, 2, 3, {number}]' if task == "refcoco" else f'"segmentation": [[1, 2, 3, 2, 3, {number}]]'
    file = tmp_path / "p.json"
    file.write_text(f'[{{"sent_id": 101, {value}}}]')
    with pytest.raises(DataError, match=r"p\.json") as caught:
        TASKS[task].predictions.read(file, asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("task", "value"), [
    ("refcoco", Boxes(((math.nan, 0, 1, 1),))),
    ("refcoco", Boxes(((0, 0, math.inf, 1), (0, 0, 1, 1)))),  # the first box
    ("refcoco_res", Polygons((((math.nan, 0), (1, 1), (0, 1)),))),
])  # fmt: skip
def test_values_with_undefined_numbers_are_written_as_empty(tmp_path: Path, task: str, value: Value) -> None:
    asked = samples(tmp_path, task)
    file = tmp_path / "p.json"
    TASKS[task].predictions.write(file, rows(asked, [value] * len(asked)))
    assert [answer.value for answer in TASKS[task].predictions.read(file, asked).values()] == [None] * len(asked)


def test_written_predictions_are_always_readable(tmp_path: Path) -> None:
    """Also a mask of another image, and coordinates beyond all limits."""
    asked = samples(tmp_path, "refcoco_res")
    far = Polygons((((0.0, 0.0), (1e16, 0.0), (1.0, 1.0)), ((1.0, 1.0), (5.0, 1.0), (5.0, 5.0))))
    masks = tmp_path / "masks.json"
    refer.MASKS.write(masks, rows(asked, [Mask(Size(3, 3), b"9"), far, None, Polygons(())]))
    back = refer.MASKS.read(masks, asked)
    assert back[asked[0].id].value is None
    assert back[asked[1].id].value == Polygons(far.rings[1:])
    wide = Boxes(((-1.7e308, 0.0, 1.7e308, 1.0),))
    boxes_file = tmp_path / "boxes.json"
    refer.BOXES.write(boxes_file, rows(asked, [wide, None, None, None]))
    assert refer.BOXES.read(boxes_file, asked)[asked[0].id].value is None


def test_predictions_nested_too_deeply_raise(tmp_path: Path) -> None:
    deep = "[" * 3000 + "]" * 3000
    asked = samples(tmp_path, "refcoco_res")
    file = tmp_path / "p.json"
    file.write_text(json.dumps([entry(int(s.id), segmentation=[]) for s in asked]).replace("[]", deep, 1))
    with pytest.raises(DataError):
        refer.MASKS.read(file, asked)
