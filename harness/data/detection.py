"""Images with annotated objects in COCO's format, and COCO's detection result file.

Boxes are [x, y, width, height] with 0-based floats; `area` is the segmentation's, not the box's; `iscrowd` objects are
kept as crowds.  Categories are the file's own, in its order; their ids may have gaps.
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

Found = Callable[[Row[Any]], Iterable[tuple[Xywh, int, float]]]


@dataclass(frozen=True, slots=True)
class Annotated:
    """An image and its objects; `phrases` are the categories' names, the same tuple for all images of a file."""

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
    """Every image with its objects, by image id as COCOeval takes them (ties of scores depend on it); none left out.

    DataError where the file is missing or malformed, an id is there twice, or an annotation names an image or a
    category that is not in it, or has no proper box.
    """
    found = files.load(path, _Instances, origin)
    images = files.by_id(found.images, lambda image: image.id, path, "image id")
    categories = files.by_id(found.categories, lambda category: category.id, path, "category id")
    files.by_id(found.categories, lambda category: category.name, path, "category name")
    place_of = {number: place for place, number in enumerate(categories)}
    files.by_id((one for one in found.annotations if one.id is not None), lambda one: one.id, path, "annotation id")
    objects: dict[int, list[_Annotation]] = {}
    for place, annotation in enumerate(found.annotations):
        wrong = ""
        if annotation.image_id not in images:
            wrong = f"is of image {annotation.image_id}, which is not in it"
        elif annotation.category_id not in categories:
            wrong = f"is of category {annotation.category_id}, which is not in it"
        elif not is_plausible(from_xywh(annotation.bbox)) or annotation.area < 0:
            wrong = f"has the bbox {list(annotation.bbox)} and the area {annotation.area}"
        if wrong:
            raise DataError(f"{path}: $.annotations[{place}] {wrong}; take it again from {origin}")
        objects.setdefault(annotation.image_id, []).append(annotation)
    phrases = tuple(Phrase(category.name) for category in found.categories)
    for image in sorted(found.images, key=lambda image: image.id):
        here = objects.get(image.id, [])
        size = Size(image.width, image.height) if image.width and image.height else None
        target = Objects(
            tuple(one.bbox for one in here),
            tuple(place_of[one.category_id] for one in here),
            tuple(one.area for one in here),
            tuple(bool(one.iscrowd) for one in here),
            tuple(categories),
        )
        yield Annotated(str(image.id), image.file_name, size, phrases, target)


# ---------------------------------------------------------------------------- predictions


class _Result(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float


def read_results(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    """Every image's boxes in the order of the file, labelled by category; an image without any has found nothing.

    Ids of samples end in the image's id, after a slash where there are several data sets.  DataError for an image or
    category that is not in the annotations, and for a box of negative size.
    """
    wanted = {sample.id.rpartition("/")[2]: sample for sample in samples}
    ids = frozenset(_target(samples[0]).ids)
    found: dict[str, list[_Result]] = {name: [] for name in wanted}
    for place, result in enumerate(files.predictions(path, list[_Result])):
        name = str(result.image_id)
        wrong = ""
        if name not in wanted:
            wrong = f"is of image {name}, which is none of the {len(wanted)} of this split"
        elif result.category_id not in ids:
            wrong = f"is of category {result.category_id}, which the annotations do not have"
        elif not is_plausible(from_xywh(result.bbox)):
            wrong = f"has the bbox {list(result.bbox)}; it is [x, y, width, height]"
        if wrong:
            raise DataError(f"{path}: $[{place}] {wrong}")
        found[name].append(result)
    return {sample.id: _answer(found[name], sample) for name, sample in wanted.items()}


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
    if not isinstance(sample.target, Objects):
        raise TypeError(f"sample {sample.id} has no objects to find")
    return sample.target


def entries(rows: Sequence[Row[Any]], found: Found) -> Iterator[dict[str, Any]]:
    """Entries of the result file: every box that was found of a category, with its score."""
    for row in rows:
        number, ids = int(row.sample.id.rpartition("/")[2]), _target(row.sample).ids
        for bbox, category, score in found(row):
            if all(map(math.isfinite, bbox)):
                yield {"image_id": number, "category_id": ids[category], "bbox": bbox, "score": score}


def results(found: Found) -> PredictionFormat:
    """COCO's result file of one data set; `found` says which boxes of a row are of which category, with what score."""
    return PredictionFormat(
        'JSON: [{"image_id": 42, "category_id": 18, "bbox": [x, y, width, height], "score": 0.9}, ...], COCO\'s result '
        "format; images without an entry have found nothing",
        read_results,
        lambda path, rows: files.write(path, list(entries(rows, found))),
    )
