"""The miniature world as LVIS minival, in the published file format, with the images and objects of COCO val2017.

    lvis/lvis_v1_minival_inserted_image_name.json

The annotations are federated.  A crowd of COCO's becomes a category that is not exhaustively annotated.  In a tenth of
the images, one of two or more categories is not annotated at all.  Two categories that an image does not show are known
to be absent.  A third of the categories each is frequent, common and rare.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from tasks.miniature.coco import INFO, Json, save_json
from tasks.miniature.scene import Draw

FILE = "lvis/lvis_v1_minival_inserted_image_name.json"
UNANNOTATED = 0.1  # share of images
ABSENT = 2  # categories of an image
CALLED = {  # names and synonyms as LVIS writes them, if they differ from COCO's
    "car": ("car_(automobile)", ["car_(automobile)", "automobile"]),
    "fish": ("fish", ["fish"]),
    "boat": ("boat", ["boat", "ship_(boat)"]),
}


def write(root: Path) -> None:
    """Writes the annotations under `root`, from COCO's, which must be there."""
    coco = json.loads((root / "coco/annotations/instances_val2017.json").read_bytes())
    objects: dict[int, list[Json]] = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        objects[annotation["image_id"]].append(annotation)
    names = [category["name"] for category in coco["categories"]]
    numbers = {category["id"]: place + 1 for place, category in enumerate(coco["categories"])}
    images: list[Json] = []
    annotations: list[Json] = []
    for image in coco["images"]:
        own = objects[image["id"]]
        draw = Draw(image["id"] + 11)
        shown = sorted({numbers[each["category_id"]] for each in own})
        absent = [number for number in draw.shuffled(list(numbers.values())) if number not in shown]
        left_out = draw.one_of(shown) if len(shown) > 1 and draw.random() < UNANNOTATED else 0
        crowded = {numbers[each["category_id"]] for each in own if each["iscrowd"]} - {left_out}
        images.append({
            "id": image["id"], "width": image["width"], "height": image["height"], "license": 1,
            "coco_url": f"http://images.cocodataset.org/val2017/{image['file_name']}",
            "file_name": f"val2017/{image['file_name']}",
            "neg_category_ids": absent[:ABSENT], "not_exhaustive_category_ids": sorted(crowded),
        })  # fmt: skip
        for each in own:
            if not each["iscrowd"] and numbers[each["category_id"]] != left_out:
                kept = {key: each[key] for key in ("bbox", "segmentation", "area", "image_id")}
                annotations.append({**kept, "category_id": numbers[each["category_id"]], "id": len(annotations) + 1})
    save_json(root / FILE, {
        "info": INFO, "licenses": [], "images": images, "annotations": annotations,
        "categories": _categories(names, annotations),
    })  # fmt: skip


def _categories(names: list[str], annotations: list[Json]) -> list[Json]:
    """LVIS's entries of the categories, whose ids are 1, 2, ..."""
    instances = Counter(each["category_id"] for each in annotations)
    pictures = Counter(number for _, number in {(each["image_id"], each["category_id"]) for each in annotations})
    categories = []
    for number, own in enumerate(names, start=1):
        name, synonyms = CALLED.get(own, (own.replace(" ", "_"), [own.replace(" ", "_")]))
        categories.append({
            "id": number, "name": name, "synonyms": synonyms, "synset": f"{own.replace(' ', '_')}.n.01", "def": own,
            "frequency": "fcr"[(number - 1) % 3], "image_count": pictures[number],
            "instance_count": instances[number],
        })  # fmt: skip
    return categories
