"""A tiny data set in gRefCOCO's files, for tests: expressions for one object, for two, and for none, in two images."""

import json
from pathlib import Path
from typing import Any

from tests import refer_files


def refs() -> list[dict[str, Any]]:
    return [
        ref(1, [70], 7, "val", {101: "the left square"}),
        ref(2, [70, 71], 7, "val", {102: "both things", 103: "all of them"}),
        ref(3, [-1], 8, "val", {104: "the cat that is not there"}),
        ref(4, [81, 80], 8, "val", {101: "the square and the crowd"}),  # a sent_id of another ref
        ref(5, [81], 8, "val", {}),  # published refs may have no sentence
        ref(6, [81], 8, "testA", {106: "a square"}),
    ]


def ref(number: int, objects: Any, image: int, split: str, sentences: dict[int, str]) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": objects,
        "category_id": [1] * len(objects) if objects != [-1] else [-1],
        "no_target": objects == [-1],
        "image_id": image,
        "split": split,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",
        "sent_ids": list(sentences),
        "sentences": [
            {"sent_id": i, "sent": text, "raw": text.upper() + "!", "tokens": text.split()}
            for i, text in sentences.items()
        ],
    }


def write(root: Path, *, refs: Any = None, instances: Any = None) -> Path:
    """Writes both files and returns their folder under the root."""
    folder = root / "refer/grefcoco"
    folder.mkdir(parents=True)
    (folder / "grefs(unc).json").write_text(json.dumps(globals()["refs"]() if refs is None else refs))
    (folder / "instances.json").write_text(json.dumps(refer_files.instances() if instances is None else instances))
    return folder
