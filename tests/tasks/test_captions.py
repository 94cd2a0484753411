"""Caption tasks: files and splits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness.core import Source, Text
from tasks import TASKS

# ---------------------------------------------------------------------------- files


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def coco_file(caption: str) -> dict[str, Any]:
    images = [{"id": 9, "file_name": "COCO_val2014_000000000009.jpg", "width": 4, "height": 3}]
    return {"images": images, "annotations": [{"image_id": 9, "id": 0, "caption": caption}]}


def test_coco_prefers_karpathys_list_with_cocos_captions(tmp_path: Path) -> None:
    """The single file of a split, as BLIP publishes it, is read where one of the two files is missing."""
    write(tmp_path / "coco/coco_karpathy_test_gt.json", coco_file("single"))
    write(tmp_path / "coco/dataset_coco.json", {"images": [{"cocoid": 9, "split": "test"}]})
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("single",))
    write(tmp_path / "coco/annotations/captions_val2014.json", coco_file("captions"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test"))
    assert sample.target == Text(("captions",))
    write(tmp_path / "other.json", coco_file("given"))
    [sample] = TASKS["coco_caption"].load(Source(tmp_path, "test", tmp_path / "other.json"))
    assert sample.target == Text(("given",))
