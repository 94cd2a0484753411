"""The miniature world as three data sets in Roboflow100-VL's format: the first images of those in ODinW's.

    rf100_vl_miniature/<data set>/test/_annotations.coco.json, with the images in the same folder

The files are as the package `rf100vl` leaves them: categories are numbered from 0, without Roboflow's category 0.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tasks.miniature.coco import INFO, save_json
from tasks.miniature.drawing import save

IMAGES = 14  # of each data set
DATA_SETS = {"snowmen-and-birds": "SnowmenAndBirds", "balloons-2": "Balloons", "ice-creams": "IceCreams"}


def write(root: Path) -> None:
    """Writes images and annotations under `root`, from ODinW's, which must be there."""
    for name, source in DATA_SETS.items():
        folder, target = root / f"odinw_miniature/{source}/valid", root / f"rf100_vl_miniature/{name}/test"
        content = json.loads((folder / "annotations_without_background.json").read_bytes())
        images = content["images"][:IMAGES]
        for image in images:
            data = (folder / image["file_name"]).read_bytes()
            stem = image["file_name"].removesuffix(".jpg").replace(" ", "-")
            image["file_name"] = f"{stem}_jpg.rf.{hashlib.md5(data, usedforsecurity=False).hexdigest()}.jpg"
            save(target / image["file_name"], data)
        kept = {image["id"] for image in images}
        annotations = [each for each in content["annotations"] if each["image_id"] in kept]
        save_json(target / "_annotations.coco.json", {
            "info": INFO, "licenses": [], "images": images,
            "categories": [{**each, "id": each["id"] - 1, "supercategory": name} for each in content["categories"]],
            "annotations": [{**each, "category_id": each["category_id"] - 1} for each in annotations],
        })  # fmt: skip
