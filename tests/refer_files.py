"""A tiny data set in the refer toolkit's files, for tests: four objects in two images of 20 x 10 pixels."""

import json
import pickle
from pathlib import Path
from typing import Any

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]  # covers 4 x 4 pixels


def instances() -> dict[str, Any]:
    return {
        "info": {"description": "published files have fields that the reader ignores"},
        "images": [
            {"id": 7, "file_name": "COCO_train2014_000000000007.jpg", "width": 20, "height": 10, "license": 3},
            {"id": 8, "file_name": "COCO_train2014_000000000008.jpg", "width": 20, "height": 10, "license": 3},
        ],
        "annotations": [
            annotation(70, 7, [2.0, 2.0, 4.0, 4.0], [SQUARE]),
            annotation(71, 7, [10.5, 1.25, 4.0, 4.5], [[10, 1, 14, 1, 14, 5, 10, 5], [12, 3, 15, 3, 15, 5, 12, 5]]),
            # column-major: 20 empty pixels are 2 columns of 10, then 10 pixels fill the third, 170 are left
            annotation(80, 8, [2, 0, 1, 10], {"size": [10, 20], "counts": [20, 10, 170]}, iscrowd=1),
            annotation(81, 8, [2.0, 2.0, 4.0, 4.0], [SQUARE]),
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }


def annotation(number: int, image: int, bbox: list[float], segmentation: Any, iscrowd: int = 0) -> dict[str, Any]:
    return {
        "id": number, "image_id": image, "category_id": 1, "bbox": bbox, "area": 1.0, "iscrowd": iscrowd,
        "segmentation": segmentation,
    }  # fmt: skip


def refs() -> list[dict[str, Any]]:
    return [
        ref(1, 70, 7, "val", {101: "the left square", 102: "square on the left"}),
        ref(2, 71, 7, "val", {103: "two parts that overlap"}),
        ref(3, 80, 8, "val", {104: "a crowd"}),
        ref(4, 81, 8, "testA", {105: "a square"}),
    ]


def ref(number: int, annotation: int, image: int, split: str, sentences: dict[int, str]) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "category_id": 1,
        "split": split,
        "file_name": f"COCO_train2014_{image:012d}_{number}.jpg",  # names the object; there is no such image
        "sent_ids": list(sentences),
        "sentences": [
            {"sent_id": i, "sent": text, "raw": text.upper() + "!", "tokens": text.split()}
            for i, text in sentences.items()
        ],
    }


def write(root: Path, *, refs: Any = None, instances: Any = None, name: str = "refcoco", by: str = "unc") -> Path:
    """Writes both files, from data or from bytes, and returns their folder under the root."""
    folder = root / "refer" / name
    folder.mkdir(parents=True)
    pickled = globals()["refs"]() if refs is None else refs
    joined = globals()["instances"]() if instances is None else instances
    (folder / f"refs({by}).p").write_bytes(pickled if isinstance(pickled, bytes) else pickle.dumps(pickled, protocol=2))
    (folder / "instances.json").write_bytes(joined if isinstance(joined, bytes) else json.dumps(joined).encode())
    return folder
