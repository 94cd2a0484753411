"""Captions as COCO, nocaps and TextCaps publish them, and predictions of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Row, Sample, Score, Size, Source, Text
from harness.data import captions
from harness.errors import DataError
from tasks import TASKS


def coco(**changes: Any) -> dict[str, Any]:
    """Two images, of three and one captions."""
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


def test_captions_as_they_were_written(tmp_path: Path) -> None:
    man, dog = captions.read(write(tmp_path / "c.json", coco()), "somewhere")
    assert man.references == ("A man.", "Two\nmen (one seated)", "A man.")  # nothing cleaned, none dropped
    assert (man.id, man.size, dog.size) == ("9", Size(640, 480), Size(10, 20))
    assert dog.references == ("a dog",)


def test_karpathys_split_chooses_images_and_the_annotations_have_the_words(tmp_path: Path) -> None:
    write(tmp_path / "coco/annotations/captions_val2014.json", coco())
    listed = [{"cocoid": 9, "split": "test", "sentences": [{"raw": "other words", "tokens": ["other"]}]}]
    write(tmp_path / "coco/dataset_coco.json", {"images": [*listed, {"cocoid": 4, "split": "restval"}]})
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.question.image == "coco/val2014/COCO_val2014_000000000009.jpg"
    assert sample.target == Text(("A man.", "Two\nmen (one seated)", "A man."))
    with pytest.raises(DataError, match="has no split 'val'; it has restval, test"):
        list(TASKS["coco_caption"].load(Source(tmp_path, "val")))
    write(tmp_path / "coco/dataset_coco.json", {"images": [{"cocoid": 11, "split": "test"}]})
    with pytest.raises(DataError, match="lacks 1 images of the split"):
        list(TASKS["coco_caption"].load(Source(tmp_path, "test")))


def test_blips_file_has_ids_alone(tmp_path: Path) -> None:
    """`coco_karpathy_test_gt.json` lists images by id only."""
    write(tmp_path / "coco/coco_karpathy_test_gt.json", coco(images=[{"id": 9}, {"id": 4}]))
    for source in (Source(tmp_path, "test"), Source(tmp_path, "test", tmp_path / "coco/coco_karpathy_test_gt.json")):
        samples = list(TASKS["coco_caption"].load(source))
        assert [s.question.image[-16:] for s in samples] == ["000000000009.jpg", "000000000004.jpg"]
        assert samples[0].question.size is None


@pytest.mark.parametrize(("changes", "said"), [
    ({"annotations": [{"image_id": 5, "caption": "x"}]}, r"\$\.annotations\[0\] is of image 5, which is not in it"),
    ({"annotations": [{"image_id": "9", "caption": "x"}]}, r"got `str` - at `\$\.annotations\[0\]\.image_id`"),
    ({"annotations": [{"image_id": 9}]}, "missing required field `caption`"),
    ({"annotations": [{"image_id": 9, "caption": "x"}]}, "image 4 has no caption"),
    ({"images": [{"id": 9}, {"id": 9}]}, "has the image id 9 twice"),
    ({"images": None}, r"\$\.images"),
])  # fmt: skip
def test_captions_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(captions.read(write(tmp_path / "c.json", coco(**changes)), "somewhere"))


def test_a_missing_and_a_torn_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.json is not there; it comes from somewhere"):
        list(captions.read(tmp_path / "c.json", "somewhere"))
    (tmp_path / "c.json").write_text(json.dumps(coco())[:100])
    with pytest.raises(DataError, match=r"c\.json is not as expected"):
        list(captions.read(tmp_path / "c.json", "somewhere"))


def test_nocaps_has_domains(tmp_path: Path) -> None:
    images = [
        {"id": 0, "file_name": "a.jpg", "domain": "in-domain"},
        {"id": 1, "file_name": "b.jpg", "domain": "out-domain"},
    ]
    told = [{"image_id": i, "id": i, "caption": "x"} for i in (0, 1)]
    write(tmp_path / "nocaps/nocaps_val_4500_captions.json", {"images": images, "annotations": told})
    samples = list(TASKS["nocaps"].load(Source(tmp_path, "val")))
    assert [sample.groups for sample in samples] == [("in-domain",), ("out-domain",)]


def textcaps(*entries: tuple[str, list[str]]) -> dict[str, Any]:
    return {"data": [{"image_id": name, "caption_str": said[0], "reference_strs": said} for name, said in entries]}


def test_textcaps_has_an_entry_a_caption(tmp_path: Path) -> None:
    path = write(tmp_path / "t.json", textcaps(("0f", ["a", "b"]), ("1e", ["c", "d"]), ("0f", ["b", "a"])))
    assert [(one.id, one.references) for one in captions.read_textcaps(path, "x")] == [
        ("0f", ("a", "b")),
        ("1e", ("c", "d")),
    ]
    write(path, textcaps(("0f", ["a", "b"]), ("0f", ["a", "c"])))
    with pytest.raises(DataError, match=r"\$\.data\[1\], of image 0f, has no references or others than before"):
        list(captions.read_textcaps(path, "x"))


# ---------------------------------------------------------------------------- predictions


def samples(*names: str) -> list[Sample[Text]]:
    from harness.core import Question

    return [Sample(name, Question(f"{name}.jpg", None, "caption"), Text(("x",)), name) for name in names]


@pytest.mark.parametrize(("content", "said"), [
    ([{"image_id": 9, "caption": "a"}], r"1 image_ids have no answer \(first: 4\)"),
    ([{"image_id": i, "caption": "a"} for i in (9, 4, 9)], "1 image_ids are answered more than once"),
    ([{"image_id": i, "caption": "a"} for i in (9, 4, 5)], "1 image_ids are none of this split"),
    ([{"image_id": "9", "caption": "a"}], r"Expected `int`, got `str` - at `\$\[0\]\.image_id`"),
    ([{"image_id": 9}], "missing required field `caption`"),
    ([{"image_id": 9, "caption": None}], r"\$\[0\]\.caption"),
    ({"9": "a"}, "Expected `array`"),
])  # fmt: skip
def test_predictions_that_do_not_fit(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        captions.NUMBERED.read(write(tmp_path / "p.json", content), samples("9", "4"))


def test_textcaps_ids_are_strings(tmp_path: Path) -> None:
    path = write(tmp_path / "p.json", [{"image_id": "0f", "caption": "a"}])
    assert captions.NAMED.read(path, samples("0f"))["0f"].value == Text(("a",))
    write(path, [{"image_id": 15, "caption": "a"}])
    with pytest.raises(DataError, match="Expected `str`, got `int`"):
        captions.NAMED.read(path, samples("0f"))


@pytest.mark.parametrize("caption", ["", "x" * 10_000, "🐕 a dog", "כלב", "a\nb\r\u2028c", "\x00\x07", '<script>"&'])
def test_what_is_written_can_be_read(tmp_path: Path, caption: str) -> None:
    [sample] = samples("9")
    row = Row(sample, Answer((caption,), Text((caption,))), Score({}))
    captions.NUMBERED.write(tmp_path / "p.json", [row])
    assert json.loads((tmp_path / "p.json").read_text()) == [{"image_id": 9, "caption": caption}]
    assert captions.NUMBERED.read(tmp_path / "p.json", [sample])["9"].value == Text((caption,))
