"""Roboflow100-VL's files of the miniature."""

from __future__ import annotations

import json
from pathlib import Path

from tasks.miniature import rf100_vl
from tests.tasks.miniature.scenes import coco


def test_files_are_as_the_package_leaves_them(miniature: Path) -> None:
    """Categories count from 0 and annotations from 1, and pycocotools reads them."""
    for name, source in rf100_vl.DATA_SETS.items():
        path = miniature / f"rf100_vl_miniature/{name}/test/_annotations.coco.json"
        content = coco(path).dataset
        assert [category["id"] for category in content["categories"]] == list(range(len(content["categories"])))
        assert all(category["supercategory"] != "none" for category in content["categories"])
        assert len(content["images"]) == rf100_vl.IMAGES
        assert min(annotation["id"] for annotation in content["annotations"]) == 1
        original = json.loads(
            (miniature / f"odinw_miniature/{source}/valid/annotations_without_background.json").read_text()
        )
        for image, before in zip(content["images"], original["images"], strict=False):
            data = (path.parent / image["file_name"]).read_bytes()
            assert data == (path.parents[3] / f"odinw_miniature/{source}/valid/{before['file_name']}").read_bytes()
