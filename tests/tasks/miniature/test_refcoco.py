"""The refer toolkit's files of the miniature."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

from tasks.miniature.refcoco import pictures
from tasks.miniature.shapes import LIVING


def refs_of(root: Path, name: str, by: str) -> list[dict[str, Any]]:
    refs: list[dict[str, Any]] = pickle.loads((root / f"refer/{name}/refs({by}).p").read_bytes())
    return refs


def test_files_have_the_keys_and_splits_of_the_refer_toolkit(miniature: Path) -> None:
    for name, by, splits in (
        ("refcoco", "unc", {"train", "val", "testA", "testB"}),
        ("refcocog", "umd", {"train", "val", "test"}),
    ):
        refs = refs_of(miniature, name, by)
        assert {ref["split"] for ref in refs} == splits
        keys = {"ref_id", "ann_id", "image_id", "category_id", "split", "file_name", "sent_ids", "sentences"}
        assert all(keys <= ref.keys() for ref in refs)
        assert all(
            {"sent_id", "sent", "raw", "tokens"} <= sentence.keys() for ref in refs for sentence in ref["sentences"]
        )
        instances = json.loads((miniature / f"refer/{name}/instances.json").read_text())
        assert {"images", "annotations", "categories"} <= instances.keys()
        assert all((miniature / "coco/train2014" / image["file_name"]).is_file() for image in instances["images"])


def test_scenes_of_test_a_have_a_living_thing_and_those_of_test_b_none(miniature: Path) -> None:
    instances = json.loads((miniature / "refer/refcoco/instances.json").read_text())
    names = {category["id"]: category["name"] for category in instances["categories"]}
    living = {a["image_id"] for a in instances["annotations"] if names[a["category_id"]] in LIVING}
    for ref in refs_of(miniature, "refcoco", "unc"):
        if ref["split"] in ("testA", "testB"):
            assert (ref["image_id"] in living) == (ref["split"] == "testA")


def test_first_picture_is_that_of_seed_zero() -> None:
    first = next(pictures())
    assert (first.image_id, first.split, first.file_name) == (1000, "train", "COCO_train2014_000000001000.jpg")
