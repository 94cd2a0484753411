"""COCO's instances, and its detection result file versus the reader of pycocotools."""

from __future__ import annotations

import contextlib
import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import harness
from harness.core import Answer, Boxes, Reading, Row, Run, Sample, Score, Source
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


def load(root: Path, reading: Reading | None = None, **changes: Any) -> list[Sample[Any]]:
    """The samples of a file, which is read strictly unless a `reading` is given."""
    path = root / "coco/annotations/instances_val2017.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(instances(**changes)))
    return list(TASKS["coco_detection"].load(Source(root, "val2017", reading=reading or Reading(strict=True))))


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
    (one_annotation(area=None), r"\$\.annotations\[0\] has no area; obtain it again from https://cocodataset"),
    (one_annotation(area="9"), r"\$\.annotations\[0\]\.area"),
    (one_annotation(area=-1), "the area -1"),
    (one_annotation(image_id=7.5), r"\$\.annotations\[0\]\.image_id is 7\.5; an id is an integer or a string"),
    (one_annotation(image_id=7.0), "is the float 7.0"),
    (one_annotation(iscrowd=False), "has iscrowd False"),
    ({"images": [{"id": 7, "file_name": "7.jpg", "width": None, "height": 5}]}, r"\$\.images\[0\] has a width or hei"),
    ({"images": [{"id": 7, "file_name": "7.jpg", "width": 6.5, "height": 5}]}, r"has the size \[6.5, 5\]"),
    ({"images": [{"id": 7, "file_name": "7.jpg", "width": 6.0, "height": 5}]}, r"has the size \[6.0, 5\]"),
    ({"images": [{"id": "7", "file_name": "7.jpg"}]}, "is the string '7'"),
    ({"categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}, "has the category id 1 twice"),
    ({"categories": [{"id": 1, "name": "a"}, {"id": 18, "name": "a"}]}, r"\$\.categories\[1\] has .* 'a' twice"),
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
    ({"image_id": "7"}, r"\$\[0\]\.image_id is the string '7'"),
    ({"image_id": [7]}, r"\$\[0\]\.image_id"),
    ({"image_id": 7.0}, r"\$\[0\]\.image_id is the float 7\.0; correct the file, or leave --strict out"),
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


# ---------------------------------------------------------------------------- files that pycocotools reads


Content = dict[str, Any]
Predictions = list[dict[str, Any]]
SCENE: Content = {
    "images": [{"id": number, "file_name": f"{number}.jpg", "width": 100, "height": 80} for number in (7, 9, 12)],
    "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
    "annotations": [
        {
            "id": number + 1, "image_id": (7, 9, 12)[number % 3], "category_id": (1, 18)[number % 2],
            "bbox": [5 * number, 3 * number, 10 + number, 12], "area": 12 * (10 + number), "iscrowd": int(number == 5),
        }
        for number in range(8)
    ],
}  # fmt: skip
FOUND: Predictions = [
    {**{key: truth[key] for key in ("image_id", "category_id")}, "score": 0.9 - number / 10,
     "bbox": [truth["bbox"][0] + number / 2, *truth["bbox"][1:]]}
    for number, truth in enumerate(SCENE["annotations"])
]  # fmt: skip


def each(records: str, key: str, convert: Callable[[Any], Any]) -> Callable[[Content, Predictions], None]:
    """A change of a field of all records of annotations (`images`, ...) or of the predictions."""

    def change(content: Content, found: Predictions) -> None:
        for record in found if records == "predictions" else content[records]:
            record[key] = convert(record[key])

    return change


def string_ids(content: Content, found: Predictions) -> None:
    each("images", "id", lambda number: f"{number:06d}")(content, found)
    for records in ("annotations", "predictions"):
        each(records, "image_id", lambda number: f"{number:06d}")(content, found)


LENIENT: dict[str, tuple[Callable[[Content, Predictions], object], str]] = {
    "float image ids": (each("images", "id", float), "ids that are floats, read as integers: 3 (first: $.images[0].id"),
    "float category ids": (each("annotations", "category_id", float), "ids that are floats, read as integers: 8"),
    "float annotation ids": (each("annotations", "id", float), "ids that are floats, read as integers: 8"),
    "float sizes": (each("images", "width", float), "image sizes that are floats, read as integers: 3"),
    "sizes of half a pixel": (each("images", "width", lambda w: w + 0.5), "no whole numbers, ignored: 3"),
    "null sizes": (each("images", "height", lambda _: None), "images whose size is null: 3"),
    "boolean iscrowd": (each("annotations", "iscrowd", bool), "`iscrowd` that is no integer, read as 0 or 1: 8"),
    "string image ids": (string_ids, "ids that are strings, kept as strings: 11 (first: $.images[0].id, $.images[1]"),
    "a category name twice": (
        lambda content, _: content["categories"].insert(0, {"id": 0, "name": "dog"}),
        "categories with the name of another category, called 'dog (0)': 1 (first: $.categories[0])",
    ),
    "two categories of one name, both with objects": (
        each("categories", "name", lambda _: "dog"),
        "categories with the name of another category, called 'dog (18)': 1 (first: $.categories[1])",
    ),
    "an annotation of no image": (
        lambda content, _: content["annotations"].append({**content["annotations"][0], "id": 77, "image_id": 5}),
        "annotations of unlisted images, dropped: 1 (first: $.annotations[8])",
    ),
    "an annotation of no category": (
        lambda content, _: content["annotations"].append({**content["annotations"][0], "id": 77, "category_id": 5}),
        "annotations of unlisted categories, dropped: 1 (first: $.annotations[8])",
    ),
    "float ids of predictions": (each("predictions", "image_id", float), "ids that are floats, read as integers: 8"),
    "a prediction of no category": (
        lambda _, found: found.append({**found[0], "category_id": 5, "score": 0.99}),
        "detections of unknown categories, dropped: 1 (first: $[8])",
    ),
    "a prediction of negative width": (
        lambda _, found: found.append({**found[0], "bbox": [20, 5, -9, 9], "score": 0.99}),
        "detections with a negative width or height, dropped: 1 (first: $[8])",
    ),
}  # fmt: skip


def pycocotools_map(annotations: Path, predictions: Path) -> float:
    """mAP in percent of two files, by pycocotools alone."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(annotations))
        evaluation = COCOeval(truth, truth.loadRes(str(predictions)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(100 * evaluation.stats[0])


def scored(folder: Path, content: Content, found: Predictions, *, strict: bool = False) -> Run:
    (folder / "gt.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    annotations, out = folder / "gt.json", folder / "results"
    return harness.score("coco_detection", folder / "found.json", annotations=annotations, strict=strict, out=out)


@pytest.mark.parametrize("name", LENIENT)
def test_score_of_files_that_pycocotools_reads_equals_pycocotools_and_says_what_was_converted(
    tmp_path: Path, name: str
) -> None:
    change, note = LENIENT[name]
    content, found = copy.deepcopy(SCENE), copy.deepcopy(FOUND)
    change(content, found)
    run = scored(tmp_path, content, found)
    expected = pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json")
    assert 10 < expected < 90
    assert run.metrics["mAP"].value == expected
    assert note in "\n".join(run.provenance["notes"])
    with pytest.raises(DataError, match="or leave --strict out"):
        scored(tmp_path, content, found, strict=True)


def test_written_results_have_the_string_ids_of_the_annotations(tmp_path: Path) -> None:
    content, found = copy.deepcopy(SCENE), copy.deepcopy(FOUND)
    string_ids(content, found)
    scored(tmp_path, content, found)
    task, reading = TASKS["coco_detection"], Reading()
    samples = list(task.load(Source(tmp_path, "val2017", tmp_path / "gt.json", reading)))
    assert task.predictions.read_leniently is not None
    answers = task.predictions.read_leniently(tmp_path / "found.json", samples, reading)
    task.predictions.write(tmp_path / "again.json", [Row(s, answers[s.id], Score({})) for s in samples])
    ids = {entry["image_id"] for entry in json.loads((tmp_path / "again.json").read_text())}
    assert ids == {"000007", "000009", "000012"}


def test_score_of_plain_files_has_no_notes_and_is_the_same_if_strict(tmp_path: Path) -> None:
    run = scored(tmp_path, SCENE, FOUND, strict=True)
    assert "notes" not in run.provenance
    assert run.metrics == scored(tmp_path, SCENE, FOUND).metrics


def test_missing_area_is_that_of_the_segmentation_or_else_of_the_box(tmp_path: Path) -> None:
    changed = one_annotation()
    [annotation] = changed["annotations"]
    del annotation["area"]
    triangle = [0.0, 0.0, 40.0, 0.0, 0.0, 40.0]
    rings = mask.frPyObjects([triangle], 50, 100)
    reading = Reading()
    for segmentation, size, area in (
        ([triangle], (100, 50), float(mask.area(rings[0]))),  # about half of the box
        ([triangle], (0, 0), 1600.0),  # the image's size is unknown
        ([], (100, 50), 1600.0),
        ([[1.0, 2.0]], (100, 50), 1600.0),
        (None, (100, 50), 1600.0),
        ("none", (100, 50), 1600.0),
    ):
        annotation.update(bbox=[0, 0, 40, 40], segmentation=segmentation)
        images = [{"id": 7, "file_name": "7.jpg", "width": size[0], "height": size[1]}]
        [sample] = load(tmp_path, reading, images=images, **changed)
        assert sample.target is not None and sample.target.areas == (area,)
    [note] = reading.notes.values()
    assert note.count == 6


@pytest.mark.parametrize(("images", "message"), [
    ([{"id": 7, "file_name": "a.jpg"}, {"id": "8", "file_name": "b.jpg"}], "some image ids are integers and"),
    ([{"id": 7, "file_name": "a.jpg"}, {"id": 7.0, "file_name": "b.jpg"}], "has the image id 7 twice"),
    ([{"id": 7.25, "file_name": "a.jpg"}], r"\$\.images\[0\]\.id is 7\.25; an id is an integer or a string"),
    ([{"id": True, "file_name": "a.jpg"}], r"\$\.images\[0\]\.id"),
])  # fmt: skip
def test_read_of_ids_that_pycocotools_cannot_sort_raises(tmp_path: Path, images: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, Reading(), images=images, annotations=[])


def test_prediction_with_an_id_of_another_type_is_refused_with_an_id_of_the_annotations(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"\$\[0\] is of image '7', .*; the annotations have ids such as 7$"):
        scored(tmp_path, SCENE, [{**FOUND[0], "image_id": "7"}])


def test_message_about_a_users_own_file_does_not_send_the_user_to_the_published_one(tmp_path: Path) -> None:
    content = copy.deepcopy(SCENE)
    content["annotations"][0]["bbox"] = [0, 0, -1, 1]
    with pytest.raises(DataError, match=r"has the bbox .* the area 120.*; correct the file$"):
        scored(tmp_path, content, FOUND)


@given(st.lists(st.decimals(-9999, 9999, places=4).map(float), min_size=2, max_size=2),
       st.lists(st.decimals(0, 9999, places=4).map(float), min_size=2, max_size=2))  # fmt: skip
def test_to_xywh_restores_sides_of_four_decimals_exactly(corner: list[float], sides: list[float]) -> None:
    assert list(to_xywh(from_xywh([*corner, *sides]))) == [*corner, *sides]


# ---------------------------------------------------------------------------- annotation id 0


def test_annotation_id_zero_counts_here_and_the_record_has_the_numbers_of_pycocotools(tmp_path: Path) -> None:
    content = copy.deepcopy(SCENE)
    whole = scored(tmp_path, content, FOUND).metrics["mAP"].value
    content["annotations"][0]["id"] = 0
    run = scored(tmp_path, content, FOUND)
    theirs = pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json")
    assert run.metrics["mAP"].value == whole != theirs
    [remark] = run.provenance["remarks"]
    assert (
        f"annotation id 0: pycocotools counts a detection of that object as wrong, and gives mAP {theirs:.1f}" in remark
    )
    assert f"mAP {theirs:.1f} (here {whole:.1f})" in remark
    assert "nan" not in remark  # APl: no truth is large


def test_annotation_id_zero_without_an_effect_is_not_remarked_on(tmp_path: Path) -> None:
    content = copy.deepcopy(SCENE)
    content["annotations"][5]["id"] = 0  # a crowd: never counted
    run = scored(tmp_path, content, FOUND)
    assert run.metrics["mAP"].value == pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json")
    assert run.provenance["remarks"] == []


# ---------------------------------------------------------------------------- negative sizes


def test_negative_sizes_are_dropped_here_and_the_record_has_the_numbers_of_pycocotools(tmp_path: Path) -> None:
    """Both sides negative: a positive area that overlaps nothing, so a wrong detection of the highest score."""
    whole = scored(tmp_path, SCENE, FOUND)
    found = [*FOUND, {**FOUND[0], "bbox": [20, 15, -9, -9], "score": 0.99}]
    run = scored(tmp_path, SCENE, found)
    theirs, ours = pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json"), run.metrics["mAP"].value
    assert ours == whole.metrics["mAP"].value
    assert ours is not None and theirs < ours
    [remark] = run.provenance["remarks"]
    start = "1 detections with a negative width or height: pycocotools counts them among the detections, and gives mAP"
    assert remark.startswith(f"{start} {theirs:.1f} (here {ours:.1f})")
    assert run.counts == whole.counts  # nor are they counted as found
    assert [run.metrics[name].value for name in ("precision", "F1")] == [
        whole.metrics[name].value for name in ("precision", "F1")
    ]


def test_negative_sizes_and_annotation_id_zero_are_one_remark_with_the_numbers_of_pycocotools(tmp_path: Path) -> None:
    content = copy.deepcopy(SCENE)
    content["annotations"][0]["id"] = 0
    run = scored(tmp_path, content, [*FOUND, {**FOUND[0], "bbox": [20, 15, -9, -9], "score": 0.99}])
    theirs = pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json")
    [remark] = run.provenance["remarks"]
    assert remark.startswith("annotation id 0 and 1 detections with a negative width or height: pycocotools counts a")
    assert f"mAP {theirs:.1f} (here " in remark


def test_one_negative_side_without_an_effect_is_noted_and_not_remarked_on(tmp_path: Path) -> None:
    # The area is negative, outside every range, so pycocotools counts the detection neither as right nor as wrong.
    # Its score is the lowest of its image, so it takes the place of no other in AR1 either.
    run = scored(tmp_path, SCENE, [*FOUND, {**FOUND[0], "bbox": [20, 5, -9, 9], "score": 0.01}])
    assert run.provenance["remarks"] == []
    assert "detections with a negative width or height, dropped: 1" in run.provenance["notes"][0]


def test_hundred_negative_detections_of_higher_score_leave_no_place_for_others_in_pycocotools(tmp_path: Path) -> None:
    negative = [{**FOUND[0], "bbox": [20, 5, -9, 9], "score": 0.99}] * 100
    run = scored(tmp_path, SCENE, [*FOUND, *negative])
    theirs = pycocotools_map(tmp_path / "gt.json", tmp_path / "found.json")
    assert theirs < (run.metrics["mAP"].value or 0)
    assert f"gives mAP {theirs:.1f} (here " in run.provenance["remarks"][0]


def test_negative_size_that_vanishes_in_rounding_is_dropped_too(tmp_path: Path) -> None:
    whole = scored(tmp_path, SCENE, FOUND).metrics
    assert scored(tmp_path, SCENE, [*FOUND, {**FOUND[0], "bbox": [20, 5, -1e-20, 9], "score": 0.99}]).metrics == whole
