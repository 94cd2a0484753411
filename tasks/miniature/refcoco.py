"""The miniature world as RefCOCO, RefCOCO+ and RefCOCOg, in the published file formats.

    refer/refcoco/refs(unc).p    refer/refcoco+/refs(unc).p    refer/refcocog/refs(umd).p
    refer/<data set>/instances.json                            coco/train2014/COCO_train2014_<12 digits>.jpg

As in the published files, every image is under train2014, and the `file_name` of a ref names the object, not the image.
testA has the scenes with a living thing (the real testA has people), testB the others.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from harness.geometry.outlines import area
from harness.geometry.polygons import to_flat
from tasks.miniature.language import Style, expressions
from tasks.miniature.render import Rendered, jpeg, rendered_scene
from tasks.miniature.scene import Draw
from tasks.miniature.shapes import LIVING, SEEN

SPLITS = (("train", 200), ("val", 250), ("testA", 120), ("testB", 120))  # numbers of images
STYLES: tuple[tuple[Style, str], ...] = (("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd"))


@dataclass(frozen=True, slots=True)
class Picture:
    """A scene with its split; `image_id` differs from the seed, so that ids are not consecutive, as in COCO."""

    image_id: int
    split: str
    rendered: Rendered

    @property
    def file_name(self) -> str:
        """COCO's file name for the image."""
        return f"COCO_train2014_{self.image_id:012d}.jpg"


def pictures() -> Iterator[Picture]:
    """All scenes of the benchmark, from seed 0 on; testA has living things, testB has none."""
    seed = 0
    for split, count in SPLITS:
        taken = 0
        while taken < count:
            rendered = rendered_scene(seed)
            living = any(thing.category in LIVING for thing in rendered.scene.things)
            if split not in ("testA", "testB") or living == (split == "testA"):
                yield Picture(1000 + seed * 7, split, rendered)
                taken += 1
            seed += 1


def write(root: Path) -> None:
    """Writes images, refs and instances under `root`."""
    images = root / "coco" / "train2014"
    images.mkdir(parents=True)
    shown = []
    total = sum(count for _, count in SPLITS)
    for picture in tqdm(pictures(), "drawing the miniature", total, disable=None):
        (images / picture.file_name).write_bytes(jpeg(picture.rendered))
        shown.append(picture)
    annotate(root, shown)


def annotate(root: Path, shown: Sequence[Picture]) -> None:
    """Writes the refs and instances of scenes whose images are saved."""
    instances, numbers = _instances(shown)
    for style, by in STYLES:
        folder = root / "refer" / style
        folder.mkdir(parents=True)
        (folder / "instances.json").write_text(json.dumps(instances))
        (folder / f"refs({by}).p").write_bytes(pickle.dumps(_refs(shown, style, numbers), protocol=2))


def _instances(shown: Sequence[Picture]) -> tuple[dict[str, Any], dict[tuple[int, int], int]]:
    """COCO's instances, and the annotation id of each (image id, number of the thing)."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    numbers: dict[tuple[int, int], int] = {}
    for picture in shown:
        rendered = picture.rendered
        width, height = rendered.scene.size
        images.append(
            {"id": picture.image_id, "file_name": picture.file_name, "width": width, "height": height, "license": 1}
        )
        for place, (thing, box, rings) in enumerate(
            zip(rendered.scene.things, rendered.boxes, rendered.rings, strict=True)
        ):
            number = len(annotations) + 1
            numbers[picture.image_id, place] = number
            annotations.append(
                {
                    "id": number,
                    "image_id": picture.image_id,
                    "category_id": SEEN.index(thing.category) + 1,
                    "bbox": [box[0], box[1], box[2] - box[0], box[3] - box[1]],
                    "segmentation": [to_flat(ring) for ring in rings],
                    "area": sum(area(ring) for ring in rings),
                    "iscrowd": 0,
                }
            )
    categories = [{"id": place + 1, "name": name, "supercategory": "miniature"} for place, name in enumerate(SEEN)]
    info = {"description": "miniature: an embedded world in RefCOCO's format", "version": "1", "year": 2026}
    return {
        "info": info,
        "images": images,
        "annotations": annotations,
        "categories": categories,
        "licenses": [],
    }, numbers


def _refs(shown: Sequence[Picture], style: Style, numbers: dict[tuple[int, int], int]) -> list[dict[str, Any]]:
    """The toolkit's refs, one for each thing that has expressions."""
    refs: list[dict[str, Any]] = []
    sentences = 0
    for picture in shown:
        split = picture.split
        if style == "refcocog":
            split = {"testA": "test", "testB": "test"}.get(split, split)
        draw = Draw(picture.image_id)
        for place, texts in enumerate(expressions(picture.rendered, style, draw)):
            if not texts:
                continue
            number = numbers[picture.image_id, place]
            entries = []
            for sentence in texts:
                raw = sentence[0].upper() + sentence[1:] + "." if draw.random() < 0.3 else sentence
                entries.append({"tokens": sentence.split(), "raw": raw, "sent_id": sentences, "sent": sentence})
                sentences += 1
            refs.append(
                {
                    "sent_ids": [entry["sent_id"] for entry in entries],
                    "file_name": picture.file_name.replace(".jpg", f"_{number}.jpg"),
                    "ann_id": number,
                    "ref_id": len(refs) + 1,
                    "image_id": picture.image_id,
                    "category_id": SEEN.index(picture.rendered.scene.things[place].category) + 1,
                    "split": split,
                    "sentences": entries,
                }
            )
    return refs
