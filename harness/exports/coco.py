"""COCO's instances format with a `score` in every annotation: a set of annotations, and results at the same time.

`pycocotools.coco.COCO(file)` reads the file, and `loadRes(annotations)` its annotations as results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from harness.core import Objects, Sample
from harness.exports.shapes import Picture, Shape, labels_of
from harness.geometry.masks import area, is_drawable, rasterise, to_coco


def write(shown: Sequence[Picture], samples: Sequence[Sample[Any]]) -> bytes:
    """The file, as UTF-8.

    Images and categories keep the ids of the annotation file where it has whole numbers; a label that is no category
    gets the next free id, and so does an image without an id.  A prediction without a score has 1.
    """
    numbers = _numbered([picture.number for picture in shown])
    ids = _categories(samples)
    for label in labels_of(shown):
        ids.setdefault(label, max(ids.values(), default=0) + 1)
    images = [
        {"id": number, "file_name": picture.name, "width": picture.size.width, "height": picture.size.height}
        for number, picture in zip(numbers, shown, strict=True)
    ]
    annotations = [
        {"id": place, "image_id": number, "category_id": ids[shape.label], **_geometry(shape, picture)}
        for place, (number, picture, shape) in enumerate(
            (
                (number, picture, shape)
                for number, picture in zip(numbers, shown, strict=True)
                for shape in picture.shapes
            ),
            start=1,
        )
    ]
    categories = [{"id": number, "name": name} for name, number in sorted(ids.items(), key=lambda item: item[1])]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories}).encode()


def _geometry(shape: Shape, picture: Picture) -> dict[str, Any]:
    """The fields of an annotation that come from its shape; areas are in square pixels."""
    left, top, right, bottom = shape.box
    fields: dict[str, Any] = {
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": 0,
        "score": 1.0 if shape.score is None else shape.score,
    }
    if shape.value is not None:
        if is_drawable(shape.value):
            fields["segmentation"] = to_coco(shape.value)
            fields["area"] = area(rasterise(shape.value, picture.size))
    elif shape.rings:
        fields["segmentation"] = [[number for point in ring for number in point] for ring in shape.rings]
    if shape.text:
        fields["text"] = shape.text
    return fields


def _numbered(numbers: Sequence[int | None]) -> list[int]:
    """The numbers, with the next free one for each that is missing; numbers that occur twice count as missing."""
    if len({number for number in numbers if number is not None}) < sum(number is not None for number in numbers):
        numbers = [None] * len(numbers)
    free = max((number for number in numbers if number is not None), default=0)
    filled = []
    for number in numbers:
        free += number is None
        filled.append(free if number is None else number)
    return filled


def _categories(samples: Sequence[Sample[Any]]) -> dict[str, int]:
    """The ids of the categories by name, as in the annotation file."""
    ids: dict[str, int] = {}
    for sample in samples:
        if isinstance(sample.target, Objects):
            for phrase, number in zip(sample.question.phrases, sample.target.ids, strict=True):
                if isinstance(number, int):
                    ids[phrase.text] = number
    return ids if len(set(ids.values())) == len(ids) else {}
