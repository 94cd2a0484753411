"""Captions as COCO, nocaps and TextCaps publish them, and their result files."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
from pycocotools.coco import COCO

from harness.core import Answer, Question, Reading, Row, Sample, Score, Size, Source, Text
from harness.data import captions
from harness.errors import DataError
from tasks import TASKS


def coco(**changes: Any) -> dict[str, Any]:
    """A file with two images of three captions and one caption; `changes` replaces its fields."""
    return {
        "images": [
            {"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "width": 640, "height": 480},
            {"id": 4, "file_name": "COCO_val2014_000000000004.jpg", "width": 10, "height": 20},
        ],
        "annotations": [
            {"image_id": 9, "id": 0, "caption": "A man."},
            {"image_id": 4, "id": 1, "caption": "a dog"},
            {"image_id": 9, "id": 2, "caption": "Two\nmen (one seated)"},
            {"image_id": 9, "id": 3, "caption": "A man."},
        ],
        **changes,
    }


def write(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))
    return path


def test_read_keeps_captions_unchanged_in_file_order(tmp_path: Path) -> None:
    man, dog = captions.read(write(tmp_path / "c.json", coco()), "somewhere")
    assert man.references == ("A man.", "Two\nmen (one seated)", "A man.")  # neither cleaned nor deduplicated
    assert (man.id, man.size, dog.size) == ("9", Size(640, 480), Size(10, 20))
    assert dog.references == ("a dog",)


def test_karpathy_file_selects_images_whose_captions_come_from_coco(tmp_path: Path) -> None:
    write(tmp_path / "coco/annotations/captions_val2014.json", coco())
    tested = {"cocoid": 9, "split": "test", "sentences": [{"raw": "other words", "tokens": ["other"]}]}
    write(tmp_path / "coco/dataset_coco.json", {"images": [tested, {"cocoid": 4, "split": "restval"}]})
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.question.image == "coco/val2014/COCO_val2014_000000000009.jpg"
    assert sample.target == Text(("A man.", "Two\nmen (one seated)", "A man."))
    with pytest.raises(DataError, match="has no split 'val'; it has restval, test"):
        list(TASKS["coco_caption"].load(Source(tmp_path, "val")))
    write(tmp_path / "coco/dataset_coco.json", {"images": [{"cocoid": 11, "split": "test"}]})
    with pytest.raises(DataError, match="lacks 1 images of the split"):
        list(TASKS["coco_caption"].load(Source(tmp_path, "test")))


def test_file_of_blip_with_image_ids_only_gives_names_without_sizes(tmp_path: Path) -> None:
    """`coco_karpathy_test_gt.json` lists images by id only."""
    write(tmp_path / "coco/coco_karpathy_test_gt.json", coco(images=[{"id": 9}, {"id": 4}]))
    for source in (Source(tmp_path, "test"), Source(tmp_path, "test", tmp_path / "coco/coco_karpathy_test_gt.json")):
        samples = list(TASKS["coco_caption"].load(source))
        assert [s.question.image[-16:] for s in samples] == ["000000000009.jpg", "000000000004.jpg"]
        assert samples[0].question.size is None


@pytest.mark.parametrize(("changes", "message"), [
    ({"annotations": [{"image_id": 5, "caption": "x"}]}, r"\$\.annotations\[0\] is of image 5, which the file"),
    ({"annotations": [{"image_id": "9", "caption": "x"}]}, r"\$\.annotations\[0\]\.image_id is the string '9'"),
    ({"annotations": [{"image_id": 9}]}, "missing required field `caption`"),
    ({"annotations": [{"image_id": 9, "caption": "x"}]}, "image 4 has no caption"),
    ({"images": [{"id": 9}, {"id": 9}]}, "has the image id 9 twice"),
    ({"images": None}, r"\$\.images"),
])  # fmt: skip
def test_read_of_malformed_captions_names_the_record(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(captions.read(write(tmp_path / "c.json", coco(**changes)), "somewhere"))


def test_read_of_missing_or_truncated_file_raises(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.json is not there; it comes from somewhere"):
        list(captions.read(tmp_path / "c.json", "somewhere"))
    (tmp_path / "c.json").write_text(json.dumps(coco())[:100])
    with pytest.raises(DataError, match=r"c\.json is not as expected"):
        list(captions.read(tmp_path / "c.json", "somewhere"))


def test_nocaps_samples_have_domains_as_groups(tmp_path: Path) -> None:
    images = [
        {"id": 0, "file_name": "a.jpg", "domain": "in-domain"},
        {"id": 1, "file_name": "b.jpg", "domain": "out-domain"},
    ]
    annotations = [{"image_id": i, "id": i, "caption": "x"} for i in (0, 1)]
    write(tmp_path / "nocaps/nocaps_val_4500_captions.json", {"images": images, "annotations": annotations})
    samples = list(TASKS["nocaps"].load(Source(tmp_path, "val")))
    assert [sample.groups for sample in samples] == [("in-domain",), ("out-domain",)]


def textcaps(*entries: tuple[str, list[str]]) -> dict[str, Any]:
    return {
        "data": [
            {"image_id": name, "caption_str": references[0], "reference_strs": references}
            for name, references in entries
        ]
    }


def test_textcaps_entries_of_an_image_become_one_sample(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", textcaps(("0f", ["a", "b"]), ("1e", ["c", "d"]), ("0f", ["b", "a"])))
    assert [(image.id, image.references) for image in captions.read_textcaps(path, "x")] == [
        ("0f", ("a", "b")),
        ("1e", ("c", "d")),
    ]
    write(path, textcaps(("0f", ["a", "b"]), ("0f", ["a", "c"])))
    with pytest.raises(DataError, match=r"\$\.data\[1\] of image 0f has no references, or other ones than before"):
        list(captions.read_textcaps(path, "x"))


# ---------------------------------------------------------------------------- predictions


def samples(*names: str) -> list[Sample[Text]]:
    return [Sample(name, Question(f"{name}.jpg", None, "caption"), Text(("x",)), name) for name in names]


@pytest.mark.parametrize(("content", "message"), [
    ([{"image_id": 9, "caption": "a"}], r"1 image_ids have no answer \(first: 4\)"),
    ([{"image_id": i, "caption": "a"} for i in (9, 4, 9)], "1 image_ids are answered more than once"),
    ([{"image_id": i, "caption": "a"} for i in (9, 4, 5)], "1 image_ids are not in this split"),
    ([{"image_id": "9", "caption": "a"}], r"\$\[0\]\.image_id is the string '9'"),
    ([{"image_id": 9}], "missing required field `caption`"),
    ([{"image_id": 9, "caption": None}], r"\$\[0\]\.caption"),
    ({"9": "a"}, "Expected `array`"),
])  # fmt: skip
def test_numbered_predictions_of_other_images_or_form_raise(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        captions.NUMBERED.read(write(tmp_path / "p.json", content), samples("9", "4"))


def test_named_predictions_need_string_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [{"image_id": "0f", "caption": "a"}])
    assert captions.NAMED.read(path, samples("0f"))["0f"].value == Text(("a",))
    write(path, [{"image_id": 15, "caption": "a"}])
    with pytest.raises(DataError, match="Expected `str`, got `int`"):
        captions.NAMED.read(path, samples("0f"))


@pytest.mark.parametrize("caption", ["", "x" * 10_000, "🐕 a dog", "כלב", "a\nb\r\u2028c", "\x00\x07", '<script>"&'])
def test_written_predictions_are_read_back(tmp_path: Path, caption: str) -> None:
    [sample] = samples("9")
    row = Row(sample, Answer((caption,), Text((caption,))), Score({}))
    captions.NUMBERED.write(tmp_path / "p.json", [row])
    assert json.loads((tmp_path / "p.json").read_text()) == [{"image_id": 9, "caption": caption}]
    assert captions.NUMBERED.read(tmp_path / "p.json", [sample])["9"].value == Text((caption,))


# ---------------------------------------------------------------------------- files that pycocotools reads


def mine(**changes: Any) -> dict[str, Any]:
    return {
        "images": [{"id": 9, "file_name": "9.jpg", "width": 4, "height": 5}, {"id": 4, "file_name": "4.jpg"}],
        "annotations": [
            {"id": place, "image_id": image, "caption": f"caption {place}"} for place, image in enumerate((9, 4, 9))
        ],
        **changes,
    }


ANNOTATION = {"id": 7, "image_id": 9, "caption": "a"}


@pytest.mark.parametrize(("changes", "ids", "size", "note"), [
    ({}, ["9", "4"], Size(4, 5), None),
    (
        {"images": [{"id": 9.0, "file_name": "9.jpg", "width": 4.0, "height": 5}, {"id": 4.0, "file_name": "4.jpg"}]},
        ["9", "4"], Size(4, 5), "ids that are floats, read as integers: 2 (first: $.images[0].id, $.images[1].id)",
    ),
    (
        {"images": [{"id": 9, "file_name": "9.jpg", "width": None, "height": None}, {"id": 4, "file_name": "4.jpg"}]},
        ["9", "4"], None, "images whose size is null: 1 (first: $.images[0])",
    ),
    (
        {"images": [{"id": "09", "file_name": "9.jpg"}], "annotations": [{**ANNOTATION, "image_id": "09"}]},
        ["09"], None, "ids that are strings, kept as strings: 2",
    ),
    (
        {"annotations": [*mine()["annotations"], {**ANNOTATION, "image_id": 5}]},
        ["9", "4"], Size(4, 5), "annotations of unlisted images, dropped: 1 (first: $.annotations[3])",
    ),
])  # fmt: skip
def test_captions_that_pycocotools_reads_are_read_as_it_does_and_noted(
    tmp_path: Path, changes: dict[str, Any], ids: list[str], size: Size | None, note: str | None
) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(mine(**changes)))
    reading = Reading()
    samples = list(TASKS["coco_caption"].load(Source(tmp_path, "test", path, reading)))
    assert [sample.id for sample in samples] == ids
    assert samples[0].question.size == size
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = COCO(str(path))
    expected = [[entry["caption"] for entry in theirs.imgToAnns[image["id"]]] for image in theirs.dataset["images"]]
    assert [list(sample.target.texts) for sample in samples if sample.target is not None] == expected
    said = "\n".join(reading.said())
    assert (note in said) if note else not said
    if note:
        with pytest.raises(DataError, match="correct the file, or leave --strict out"):
            list(TASKS["coco_caption"].load(Source(tmp_path, "test", path, Reading(strict=True))))
    # Predictions with the same ids are read, and written with ids of the same type.
    entries = [{"image_id": image["id"], "caption": "a cat"} for image in theirs.dataset["images"]]
    (tmp_path / "p.json").write_text(json.dumps(entries))
    predictions = TASKS["coco_caption"].predictions
    assert predictions.read_leniently is not None
    answers = predictions.read_leniently(tmp_path / "p.json", samples, reading)
    predictions.write(tmp_path / "again.json", [Row(s, answers[s.id], Score({})) for s in samples])
    assert json.loads((tmp_path / "again.json").read_text()) == entries


def test_image_without_a_file_name_and_with_an_id_in_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text(
        json.dumps({"images": [{"id": "cat"}], "annotations": [{**ANNOTATION, "image_id": "cat"}]})
    )
    with pytest.raises(DataError, match=r"mine\.json: image 'cat' has no file_name, and its id is no number"):
        list(TASKS["coco_caption"].load(Source(tmp_path, "test", tmp_path / "mine.json")))
