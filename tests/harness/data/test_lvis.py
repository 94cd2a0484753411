"""LVIS's annotation file: names, what an image is annotated for, and malformed files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.core import Reading, Size
from harness.data import lvis
from harness.errors import DataError


def category(number: int, name: str, *synonyms: str, frequency: str = "f", **more: Any) -> dict[str, Any]:
    return {"id": number, "name": name, "synonyms": [name, *synonyms], "frequency": frequency, **more}


def content(**changes: Any) -> dict[str, Any]:
    """Two images as LVIS writes them, with images and categories in no order."""
    common = {"width": 40, "height": 30, "license": 1, "not_exhaustive_category_ids": [], "neg_category_ids": []}
    return {
        "images": [
            {**common, "id": 9, "coco_url": "http://images.cocodataset.org/val2017/000000000009.jpg",
             "neg_category_ids": [5, 3], "not_exhaustive_category_ids": [7]},
            {**common, "id": 2, "coco_url": "http://images.cocodataset.org/train2017/000000000002.jpg"},
        ],
        "categories": [
            category(7, "car_(automobile)", "auto_(automobile)", "automobile", frequency="f"),
            category(3, "bow_(weapon)", "bow", frequency="r"),
            category(5, "bow_(decorative_ribbons)", frequency="c"),
            category(8, "Band_Aid", "plaster", frequency="c"),
            category(9, "bandage", "plaster", "Band_Aid"),
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 7, "bbox": [1.5, 2, 3, 4], "area": 7.25, "segmentation": [[1, 2]]},
            {"id": 2, "image_id": 9, "category_id": 8, "bbox": [0, 0, 9, 9], "area": 50, "iscrowd": 1},
        ],
        **changes,
    }  # fmt: skip


def read(folder: Path, reading: Reading | None = None, **changes: Any) -> list[Any]:
    path = folder / "lvis.json"
    path.write_text(json.dumps(content(**changes)))
    return list(lvis.read(path, "https://www.lvisdataset.org", reading))


def test_images_are_in_order_of_their_ids_with_folder_and_file(tmp_path: Path) -> None:
    first, second = read(tmp_path)
    assert (first.id, first.file_name, first.size) == ("2", "train2017/000000000002.jpg", Size(40, 30))
    assert (second.id, second.file_name) == ("9", "val2017/000000000009.jpg")
    assert first.phrases is second.phrases  # one tuple for all images: 1,203 phrases would be much memory


def test_names_lose_underscores_and_parentheses_unless_two_categories_would_have_one_name(tmp_path: Path) -> None:
    phrases = read(tmp_path)[0].phrases
    assert [phrase.text for phrase in phrases] == [
        "car",
        "bow (weapon)",
        "bow (decorative ribbons)",
        "Band Aid",
        "bandage",
    ]
    assert [phrase.said for phrase in phrases] == ["", "bow", "bow", "", ""]


def test_synonyms_name_a_category_unless_several_have_them(tmp_path: Path) -> None:
    vocabulary = read(tmp_path)[0].objects.vocabulary
    assert vocabulary.frequencies == ("f", "r", "c", "c", "f")
    assert vocabulary.synonyms == {
        "car (automobile)": "car", "auto": "car", "auto (automobile)": "car", "automobile": "car",
    }  # fmt: skip  # "bow" and "plaster" are of two; "band aid" is the name of one


def test_objects_say_what_their_image_is_annotated_for(tmp_path: Path) -> None:
    first, second = (image.objects for image in read(tmp_path))
    assert (first.xywh, first.absent, first.incomplete) == ((), (), ())
    assert (second.absent, second.incomplete) == ((2, 1), (0,))
    assert (second.categories, second.areas, second.ids) == ((0, 3), (7.25, 50), (7, 3, 5, 8, 9))
    assert second.crowd == (False, False)  # LVISEval ignores `iscrowd`


def test_unlisted_category_of_an_image_is_noted_or_refused(tmp_path: Path) -> None:
    images = content()["images"]
    images[0]["neg_category_ids"] = [5, 99]
    reading = Reading()
    assert read(tmp_path, reading, images=images)[1].objects.absent == (2,)
    [note] = reading.said()
    assert note.endswith("categories of `neg_category_ids` that the file does not list, dropped: 1 "
                         "(first: $.images[0].neg_category_ids)")  # fmt: skip
    with pytest.raises(DataError, match="has the category 99, which the file does not list"):
        read(tmp_path, images=images)


@pytest.mark.parametrize(("field", "missing", "message"), [
    ("images", "neg_category_ids", "missing required field `neg_category_ids` - at `\\$.images"),
    ("images", "not_exhaustive_category_ids", "missing required field `not_exhaustive_category_ids`"),
    ("images", "coco_url", "missing required field `coco_url`"),
    ("categories", "frequency", "missing required field `frequency` - at `\\$.categories"),
])  # fmt: skip
def test_file_without_the_fields_of_lvis_is_refused(tmp_path: Path, field: str, missing: str, message: str) -> None:
    """A file in COCO's own format, for example."""
    records = content()[field]
    del records[0][missing]
    with pytest.raises(DataError, match=message):
        read(tmp_path, **{field: records})


def test_unknown_frequency_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Invalid enum value 'rare'"):
        read(tmp_path, categories=[category(7, "car", frequency="rare")])
