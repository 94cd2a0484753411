"""Kept regions as COCO's instances: boxes with labels and scores, and the outlines of regions that have one.

pycocotools reads the file; CVAT and other tools read it as "COCO 1.0".  A region without a label has no category, so it
is left out, as are boxes without an area, and everything that is not a region.  COCO has one `license` for an image;
that of an annotation and its origin are in `attributes`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.core import Boxes, Mask, Polygons
from harness.data_engine.export import Exported, Permitted, Source, written_aside
from harness.geometry import masks


def write(path: Path, source: Source) -> Exported:
    """Writes the file; returns the counts."""
    counts = Exported()
    names, licences = set[str](), set[str]()
    for item in source.items():
        licences.add(item.record.image.licence)
        names |= {region.labels[0] for _, region in _regions(item, Exported())}
    categories = {name: number for number, name in enumerate(sorted(names), 1)}
    licence_ids = {name: number for number, name in enumerate(sorted(licences), 1)}
    head = {
        "info": {"description": source.name},
        "licenses": [{"id": number, "name": name or "unknown", "url": ""} for name, number in licence_ids.items()],
        "categories": [{"id": number, "name": name, "supercategory": ""} for name, number in categories.items()],
    }
    with written_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write(json.dumps(head)[:-1])
        _write_list(file, "images", _images(source, licence_ids))
        _write_list(file, "annotations", _annotations(source, categories, counts))
        file.write("}\n")
    return counts


def _write_list(file: Any, name: str, entries: Iterator[dict[str, Any]]) -> None:
    file.write(f', "{name}": [')
    for place, entry in enumerate(entries):
        file.write(f"{',' if place else ''}\n{json.dumps(entry, allow_nan=False)}")
    file.write("]")


def _images(source: Source, licences: dict[str, int]) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(source.items(), 1):
        image = item.record.image
        yield {
            "id": number,
            "file_name": image.reference,
            "width": image.size.width,
            "height": image.size.height,
            "license": licences[image.licence],
            "sha256": image.sha256,
        }


def _annotations(source: Source, categories: dict[str, int], counts: Exported) -> Iterator[dict[str, Any]]:
    for number, item in enumerate(source.items(counts), 1):
        outlines = {
            parent: each.value for each in item.record.annotations if each.kind == "outline" for parent in each.parents
        }
        for place, boxes in _regions(item, counts):
            annotation = item.record.annotations[place]
            left, top, right, bottom = boxes.boxes[0]
            outline = outlines.get(annotation.id)
            counts.annotations += 1
            entry: dict[str, Any] = {
                "id": counts.annotations,
                "image_id": number,
                "category_id": categories[boxes.labels[0]],
                "bbox": [left, top, right - left, bottom - top],
                "area": (right - left) * (bottom - top),
                "iscrowd": 0,
                "attributes": {
                    "origin": source.origin(annotation).name,
                    "licence": item.licences[annotation.id],
                    "annotation": annotation.id,
                },
            }
            if annotation.score is not None:
                entry["score"] = annotation.score
            if isinstance(outline, Polygons | Mask):
                entry["segmentation"] = masks.to_coco(outline)
                entry["area"] = masks.area(masks.rasterise(outline, item.record.image.size))
            yield entry


def _regions(item: Permitted, counts: Exported) -> Iterator[tuple[int, Boxes]]:
    """The place and value of each region that COCO has a form for; the others are counted."""
    for place, annotation in enumerate(item.record.annotations):
        value = annotation.value
        if annotation.kind != "region" or not isinstance(value, Boxes):
            if annotation.kind != "outline":
                counts.left_out[f"annotations of kind {annotation.kind}"] += 1
        elif not any(value.labels):
            counts.left_out["regions without a label"] += 1
        elif not (value.boxes[0][0] < value.boxes[0][2] and value.boxes[0][1] < value.boxes[0][3]):
            counts.left_out["boxes without an area"] += 1
        else:
            yield place, value
