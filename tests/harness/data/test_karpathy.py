"""Karpathy's splits with their captions, and what is malformed in them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.data import karpathy
from harness.errors import DataError


def image(name: str, split: str, *numbers: int, **more: Any) -> dict[str, Any]:
    """An entry as Karpathy publishes it, with captions of these numbers."""
    sentences = [{"tokens": ["a"], "raw": f"A {number}.", "imgid": 0, "sentid": number} for number in numbers]
    return {"sentids": list(numbers), "imgid": 0, "sentences": sentences, "split": split, "filename": name, **more}


def written(folder: Path, *images: dict[str, Any]) -> Path:
    path = folder / "dataset.json"
    path.write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    return path


def test_images_of_a_split_keep_order_and_all_captions(tmp_path: Path) -> None:
    path = written(tmp_path, image("7.jpg", "test", 70, 71), image("8.jpg", "val", 80), image("6.jpg", "test", 60))
    images = karpathy.read(path, "test", karpathy.ORIGIN)
    assert [(each.id, [(s.sentid, s.raw) for s in each.sentences]) for each in images] == [
        ("7", [(70, "A 70."), (71, "A 71.")]),
        ("6", [(60, "A 60.")]),
    ]


def test_image_of_coco_is_named_by_its_number(tmp_path: Path) -> None:
    path = written(tmp_path, image("COCO_val2014_000000000042.jpg", "test", 1, filepath="val2014", cocoid=42))
    [only] = karpathy.read(path, "test", karpathy.ORIGIN)
    assert (only.id, only.filepath) == ("42", "val2014")


@pytest.mark.parametrize(("images", "problem"), [
    ([image("1.jpg", "val", 1)], "no split 'test'; it has val"),
    ([], "no split 'test'; it has no images"),
    ([image("1.jpg", "test", 1), image("1.jpg", "test", 2)], "the image '1' twice"),
    ([image("1.jpg", "test", 1), image("2.jpg", "test", 1)], "the sentid 1 twice"),
    ([image("1.jpg", "test")], "image 1 has no caption"),
    ([{**image("1.jpg", "test", 1), "sentences": [{"raw": " ", "sentid": 1}]}], "image 1 has no caption, or an empty"),
    ([{"split": "test", "filename": "1.jpg"}], "missing required field `sentences`"),
])  # fmt: skip
def test_malformed_file_is_a_data_error(images: list[dict[str, Any]], problem: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        karpathy.read(written(tmp_path, *images), "test", karpathy.ORIGIN)
