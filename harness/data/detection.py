"""Images with annotated objects in COCO's format, and COCO's detection result file.

Boxes are [x, y, width, height] in pixels, as floats that start at 0.  `area` is the area of the segmentation, not of
the box.  Objects with `iscrowd` are crowds.  Categories are in the order of the file; their ids may have gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, Boxes, Objects, Phrase, PredictionFormat, Row, Sample, Size, Xywh
from harness.data import files
from harness.errors import DataError
from harness.geometry.boxes import from_xywh, is_plausible

Detections = Callable[[Row[Any]], Iterable[tuple[Xywh, int, float]]]
"""The detections in a row's answer: the box, the category as an index into the question's phrases, and the score."""


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image and its objects; `phrases` are the names of all categories, one tuple for all images of a file."""

    id: str
    file_name: str
    size: Size | None
    phrases: tuple[Phrase, ...]
    objects: Objects


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int = 0
    height: int = 0


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float
    iscrowd: int = 0
    id: int | None = None


class _Category(msgspec.Struct):
    id: int
    name: str


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read(path: Path, origin: str) -> Iterator[Annotated]:
    """Every image with its objects, in order of image id, also images without objects.

    COCOeval uses this order, which decides between equal scores.  DataError if the file is missing or malformed, an id
    or category name occurs twice, or an annotation has an unknown image or category, or an impossible box or area.
    """
    content = files.load(path, _Instances, origin)
    images = files.by_id(content.images, lambda image: image.id, path, "image id")
    categories = files.by_id(content.categories, lambda category: category.id, path, "category id")
    files.by_id(content.categories, lambda category: category.name, path, "category name")
    index_of = {number: index for index, number in enumerate(categories)}
    identified = (annotation for annotation in content.annotations if annotation.id is not None)
    files.by_id(identified, lambda annotation: annotation.id, path, "annotation id")
    objects: dict[int, list[_Annotation]] = {}
    for place, annotation in enumerate(content.annotations):
        problem = ""
        if annotation.image_id not in images:
            problem = f"is of image {annotation.image_id}, which the file does not list"
        elif annotation.category_id not in categories:
            problem = f"is of category {annotation.category_id}, which the file does not list"
        elif not is_plausible(from_xywh(annotation.bbox)) or annotation.area < 0:
            problem = f"has the bbox {list(annotation.bbox)} and the area {annotation.area}"
        if problem:
            raise DataError(f"{path}: $.annotations[{place}] {problem}; obtain it again from {origin}")
        objects.setdefault(annotation.image_id, []).append(annotation)
    phrases = tuple(Phrase(category.name) for category in content.categories)
    for image in sorted(content.images, key=lambda image: image.id):
        own = objects.get(image.id, [])
        size = Size(image.width, image.height) if image.width and image.height else None
        target = Objects(
            xywh=tuple(annotation.bbox for annotation in own),
            categories=tuple(index_of[annotation.category_id] for annotation in own),
            areas=tuple(annotation.area for annotation in own),
            crowd=tuple(bool(annotation.iscrowd) for annotation in own),
            ids=tuple(categories),
        )
        yield Annotated(str(image.id), image.file_name, size, phrases, target)


# ---------------------------------------------------------------------------- predictions


class _Result(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def read_results(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    """The boxes of every sample by sample id, in the order of the file, labelled with category names.

    An image without an entry has no detections.  A sample id ends in the image id; a data set's name and a slash may
    come before it.  DataError for an unknown image or category, and for an impossible box.
    """
    by_image = {sample.id.rpartition("/")[2]: sample for sample in samples}
    ids = frozenset(_target(samples[0]).ids)
    results: dict[str, list[_Result]] = {name: [] for name in by_image}
    for place, result in enumerate(files.predictions(path, list[_Result])):
        name = str(result.image_id)
        problem = ""
        if name not in by_image:
            problem = f"is of image {name}, which is not among the {len(by_image)} images of this split"
        elif result.category_id not in ids:
            problem = f"is of category {result.category_id}, which the annotations do not have"
        elif not is_plausible(from_xywh(result.bbox)):
            problem = f"has the bbox {list(result.bbox)}; expected [x, y, width, height]"
        if problem:
            raise DataError(f"{path}: $[{place}] {problem}")
        results[name].append(result)
    return {sample.id: _answer(results[name], sample) for name, sample in by_image.items()}


def _answer(results: Sequence[_Result], sample: Sample[Any]) -> Answer:
    texts = (phrase.text for phrase in sample.question.phrases)
    names = dict(zip(_target(sample).ids, texts, strict=True))
    value = Boxes(
        tuple(from_xywh(result.bbox) for result in results),
        tuple(names[result.category_id] for result in results),
        tuple(result.score for result in results),
        xywh=tuple(result.bbox for result in results),
    )
    return Answer((f"{len(results)} boxes",), value)


def _target(sample: Sample[Any]) -> Objects:
    """The objects of a sample; TypeError if its target is something else, which is a bug."""
    if not isinstance(sample.target, Objects):
        raise TypeError(f"the target of sample {sample.id} is not Objects")
    return sample.target


def entries(rows: Sequence[Row[Any]], detections: Detections) -> Iterator[dict[str, Any]]:
    """The entries of a result file; detections with a coordinate that is not finite are left out."""
    for row in rows:
        number, ids = int(row.sample.id.rpartition("/")[2]), _target(row.sample).ids
        for bbox, category, score in detections(row):
            if all(map(math.isfinite, bbox)):
                yield {"image_id": number, "category_id": ids[category], "bbox": bbox, "score": score}


def results(detections: Detections) -> PredictionFormat:
    """COCO's result file of one data set; `detections` returns the boxes, categories and scores of a row."""
    return PredictionFormat(
        'JSON: [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.9}, ...], COCO\'s result '
        "format; an image without an entry has no detections",
        read_results,
        lambda path, rows: files.write(path, list(entries(rows, detections))),
    )
