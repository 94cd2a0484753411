"""gRefCOCO's files, and result files for them."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco

from harness.core import Answer, Boxes, Mask, Polygons, Reading, Row, Sample, Score, Size, Source, Text, Value
from harness.data import grefer
from harness.errors import DataError
from harness.geometry.masks import pixels, rasterise
from tasks import TASKS
from tests import grefer_files, refer_files


def read(root: Path, split: str = "val") -> list[grefer.Ref]:
    return list(grefer.read(Source(root, split)))


def test_read_joins_refs_with_all_their_objects(tmp_path: Path) -> None:
    grefer_files.write(tmp_path)
    one, two, none, crowd, silent = read(tmp_path)
    assert [(s.id, s.text) for s in two.sentences] == [("102", "both things"), ("103", "all of them")]
    assert (one.size, one.image_name) == (Size(20, 10), "COCO_train2014_000000000007.jpg")
    assert one.boxes == ((2.0, 2.0, 6.0, 6.0),)
    assert two.boxes == ((2.0, 2.0, 6.0, 6.0), (10.5, 1.25, 14.5, 5.75))  # in the order of ann_id
    assert (none.boxes, none.outline) == ((), Polygons(()))
    assert crowd.boxes == ((2.0, 2.0, 6.0, 6.0), (2.0, 0.0, 3.0, 10.0))
    assert isinstance(crowd.outline, Polygons) and len(crowd.outline.rings) == 1  # the crowd has no outline
    assert silent.sentences == ()
    assert [ref.id for ref in read(tmp_path, "testA")] == ["6"]


def test_outline_of_several_objects_is_the_union_of_their_masks(tmp_path: Path) -> None:
    instances = refer_files.instances()
    instances["annotations"][2]["iscrowd"] = 0  # a run-length code of column 2, which meets the square
    grefer_files.write(tmp_path, instances=instances)
    _, two, _, column, _ = read(tmp_path)
    expected = np.zeros((10, 20), bool)
    for number in (0, 1):  # each object alone, by pycocotools
        for ring in instances["annotations"][number]["segmentation"]:
            expected |= coco.decode(coco.frPyObjects([ring], 10, 20))[:, :, 0].astype(bool)
    assert two.outline is not None and column.outline is not None
    assert (pixels(rasterise(two.outline, Size(20, 10))) == expected).all()
    expected = np.zeros((10, 20), bool)
    expected[:, 2] = True
    expected[2:6, 2:6] = True
    assert isinstance(column.outline, Mask)
    assert (pixels(column.outline) == expected).all()


def test_read_without_outlines_gives_the_same_boxes(tmp_path: Path) -> None:
    grefer_files.write(tmp_path)
    plain = list(grefer.read(Source(tmp_path, "val"), outlines=False))
    assert [(ref.boxes, ref.outline) for ref in plain] == [(ref.boxes, None) for ref in read(tmp_path)]


def test_read_takes_a_single_number_for_ann_id_as_the_authors_do(tmp_path: Path) -> None:
    refs = grefer_files.refs()
    refs[0]["ann_id"], refs[2]["ann_id"] = 70, -1
    grefer_files.write(tmp_path / "a", refs=refs)
    grefer_files.write(tmp_path / "b")
    assert read(tmp_path / "a") == read(tmp_path / "b")


def test_annotations_are_a_folder_or_a_file_next_to_its_instances(tmp_path: Path) -> None:
    folder = grefer_files.write(tmp_path)
    for given in (folder, folder / "grefs(unc).json"):
        assert len(list(grefer.read(Source(Path("nowhere"), "val", given)))) == 5
    with pytest.raises(DataError, match=r"grefs\(unc\)\.json is not there; --annotations names it"):
        list(grefer.read(Source(Path("nowhere"), "val", tmp_path)))


BROKEN: dict[str, tuple[Callable[[list[dict[str, Any]], dict[str, Any]], Any], str]] = {
    "an unknown annotation": (lambda refs, _: refs[1].update(ann_id=[70, 99]), "ref 2 is of the annotations .70, 99."),
    "nothing and something": (lambda refs, _: refs[1].update(ann_id=[70, -1]), "ref 2 is of the annotations .70, -1."),
    "an empty list of annotations": (lambda refs, _: refs[1].update(ann_id=[]), "ref 2 is of the annotations .. of im"),
    "an annotation of another image": (lambda refs, _: refs[1].update(ann_id=[80]), "ref 2 is of the annotations .80."),
    "an unknown image": (lambda refs, _: refs[2].update(image_id=9), "ref 3 .* of image 9, which do not exist"),
    "a sentence twice": (
        lambda refs, _: refs[1]["sentences"][0].update(sent_id=103),
        "1 sentences twice .first: sent_id 103 of ref 2.; obtain it again from https://github.com/henghuiding/gRef",
    ),
    "no sentences": (lambda refs, _: refs[0].pop("sentences"), "sentences"),
    "an annotation twice": (
        lambda _, instances: instances["annotations"].append(instances["annotations"][0]),
        "has the annotation id 70 twice",
    ),
    "an image of no width": (lambda _, instances: instances["images"][0].update(width=0), "ref 1: its image is 0 x 10"),
    "a box of negative height": (
        lambda _, instances: instances["annotations"][0].update(bbox=[1, 1, 1, -1]),
        "ref 1: the bbox of annotation 70 is",
    ),
    "a malformed outline": (lambda _, instances: instances["annotations"][0].update(segmentation="x"), "ref 1: a segm"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_read_of_malformed_files_names_the_record_on_one_line(tmp_path: Path, name: str) -> None:
    change, message = BROKEN[name]
    refs, instances = copy.deepcopy(grefer_files.refs()), copy.deepcopy(refer_files.instances())
    change(refs, instances)
    grefer_files.write(tmp_path, refs=refs, instances=instances)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_read_of_instances_that_pycocotools_reads_converts_and_notes_them(tmp_path: Path) -> None:
    instances = refer_files.instances()
    for one in (*instances["images"], *instances["annotations"]):
        one["id"] = float(one["id"])
    for one in instances["annotations"]:
        one.update(image_id=float(one["image_id"]), iscrowd=bool(one["iscrowd"]))
    instances["images"][1]["width"] = None
    grefer_files.write(tmp_path / "lenient", instances=instances)
    grefer_files.write(tmp_path / "published")
    source = Source(tmp_path / "lenient", "val")
    refs = list(grefer.read(source, outlines=False))
    published = list(grefer.read(Source(tmp_path / "published", "val"), outlines=False))
    assert [ref.boxes for ref in refs] == [ref.boxes for ref in published]
    assert [ref.size for ref in refs] == [Size(20, 10)] * 2 + [None] * 3
    said = " ".join(source.reading.said())
    for what in ("ids that are floats", "`iscrowd` that is no integer", "images whose size is null: 1"):
        assert what in said
    with pytest.raises(DataError, match="ref 3: its image has a width or height that is null, and an outline"):
        list(grefer.read(source))
    with pytest.raises(DataError, match="or leave --strict out"):
        list(grefer.read(Source(tmp_path / "lenient", "val", reading=Reading(strict=True))))


def test_read_of_a_split_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    grefer_files.write(tmp_path)
    with pytest.raises(DataError, match="has no split 'testB'; it has testA, val"):
        read(tmp_path, "testB")


# ---------------------------------------------------------------------------- predictions


def samples(root: Path, task: str) -> list[Sample[Any]]:
    grefer_files.write(root)
    return list(TASKS[task].load(Source(root, "val")))


def written(root: Path, task: str, value: Value | None) -> tuple[list[Row[Any]], list[Row[Any]], Any]:
    """Rows with this answer to each sample, the same after they were written and read, and the first entry."""
    of_task = TASKS[task]
    rows = [Row(s, Answer(("x",), value), Score({})) for s in samples(root, task)]
    of_task.predictions.write(root / "p.json", rows)
    answers = of_task.predictions.read(root / "p.json", [row.sample for row in rows])
    return (
        rows,
        [Row(row.sample, answers[row.sample.id], row.score) for row in rows],
        json.loads((root / "p.json").read_text())[0],
    )


SQUARE = ((2.0, 2.0), (6.0, 2.0), (6.0, 6.0), (2.0, 6.0))


@pytest.mark.parametrize(("task", "value", "entry"), [
    ("grefcoco", Boxes(((2.0, 2.0, 6.0, 6.0), (0.5, 0.0, 3.0, 2.0))), {"bboxes": [[2, 2, 4, 4], [0.5, 0, 2.5, 2]]}),
    ("grefcoco", Boxes(()), {"bboxes": []}),
    ("grefcoco", None, {"bboxes": None}),
    ("grefcoco", Text(("a square",)), {"bboxes": None}),
    ("grefcoco", Boxes(((6.0, 6.0, 2.0, 2.0), (math.nan, 0, 1, 1))), {"bboxes": [[6, 6, 0, 0], [0, 0, 0, 0]]}),
    ("grefcoco_res", Polygons((SQUARE,)), {"segmentation": [[2, 2, 6, 2, 6, 6, 2, 6]]}),
    ("grefcoco_res", Polygons(()), {"segmentation": []}),
    ("grefcoco_res", None, {"segmentation": None}),
    ("grefcoco_res", Text(("a square",)), {"segmentation": None}),
    ("grefcoco_res", Mask(Size(3, 3), b"9"), {"segmentation": None}),  # of another size
])  # fmt: skip
def test_written_predictions_are_read_back_and_score_the_same(
    tmp_path: Path, task: str, value: Value | None, entry: dict[str, Any]
) -> None:
    before, after, first = written(tmp_path, task, value)
    assert first == {"ref_id": 1, "sent_id": 101, **entry}
    for one, other in zip(before, after, strict=True):
        assert TASKS[task].score(one.sample, one.answer) == TASKS[task].score(other.sample, other.answer)


@pytest.mark.parametrize(("entries", "message"), [
    ([{"ref_id": 1, "sent_id": 101, "bboxes": []}], r"4 ref_id/sent_ids have no answer \(first: 2/102, 2/103, 3/104\)"),
    ([{"ref_id": 9, "sent_id": 101, "bboxes": []}], "1 ref_id/sent_ids are not in this split"),
    ([{"ref_id": 1, "sent_id": 101, "bboxes": [[1, 2, 3]]}], r"\$\[0\]\.bboxes\[0\]"),
    ([{"ref_id": 1, "sent_id": 101}], "bboxes"),
])  # fmt: skip
def test_predictions_of_other_sentences_or_form_raise(tmp_path: Path, entries: Any, message: str) -> None:
    of_split = samples(tmp_path, "grefcoco")
    (tmp_path / "p.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=message):
        grefer.BOXES.read(tmp_path / "p.json", of_split)


def test_prediction_with_an_impossible_box_names_the_sentence(tmp_path: Path) -> None:
    of_split = samples(tmp_path, "grefcoco")
    entries = [
        {"ref_id": int(s.id.split("/")[0]), "sent_id": int(s.id.split("/")[1]), "bboxes": [[0, 0, -1, 1]]}
        for s in of_split
    ]
    (tmp_path / "p.json").write_text(json.dumps(entries))
    with pytest.raises(DataError, match=r"ref_id/sent_id 1/101: a bbox is \[0\.0, 0\.0, -1\.0, 1\.0\]; expected"):
        grefer.BOXES.read(tmp_path / "p.json", of_split)
