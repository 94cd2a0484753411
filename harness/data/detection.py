"""Images with annotated objects in COCO's format, and COCO's detection result file.

Boxes are [x, y, width, height] in pixels, as floats that start at 0.  `area` is the area of the segmentation, not of
the box.  Objects with `iscrowd` are crowds.  Categories are in the order of the file; their ids may have gaps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, Boxes, Objects, Phrase, PredictionFormat, Reading, Row, Sample, Size, Xywh
from harness.data import files
from harness.data.coco import File, Given, Id, Side
from harness.errors import DataError
from harness.geometry.boxes import from_xywh, is_plausible
from harness.geometry.masks import area, from_coco, is_drawable, rasterise

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


class Image(msgspec.Struct):
    """An image in COCO's instances format."""

    id: Given
    file_name: str
    width: Side = 0
    height: Side = 0


class Annotation(msgspec.Struct):
    """An object in COCO's instances format."""

    image_id: Given
    category_id: Given
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int | bool | float = 0
    id: Given | None = None
    segmentation: msgspec.Raw = msgspec.Raw(b"null")


class Category(msgspec.Struct):
    """A category in COCO's instances format."""

    id: Given
    name: str
    supercategory: Any = ""


class _Instances(msgspec.Struct):
    images: list[Image]
    annotations: list[Annotation]
    categories: list[Category]


def read(path: Path, origin: str, reading: Reading | None = None, *, placeholder: bool = False) -> Iterator[Annotated]:
    """Every image with its objects, in order of image id, also images without objects.

    `placeholder` drops the first category if its id is 0 and its supercategory "none", as in Roboflow's exports.

    COCOeval uses this order, which decides between equal scores.  What pycocotools reads although it is not as COCO
    publishes it is converted or dropped as pycocotools does, and noted in `reading`; without `reading`, it is refused.

    DataError if the file is missing or malformed, an id occurs twice, or an annotation has an impossible box or area.
    The origin of a user's own file is "".
    """
    content = files.load(path, _Instances, origin)
    file = File(path, reading or Reading(strict=True), files.remedy(origin))
    categories = content.categories
    if placeholder and categories and (categories[0].id, categories[0].supercategory) == (0, "none"):
        what = 'the category 0 of the supercategory "none", dropped'
        file.note(what, "$.categories[0]", "stands for all categories in Roboflow's exports, which rf100vl removes")
        categories = categories[1:]
    return annotated(file, content.images, content.annotations, categories)


def annotated(
    file: File, listed: Sequence[Image], annotations: Sequence[Annotation], named: Sequence[Category]
) -> Iterator[Annotated]:
    """The same from the decoded records of a file: its images, annotations and categories."""
    images = file.by_id(listed, "images", "image id")
    categories = file.by_id(named, "categories", "category id")
    file.one_type(images, "image id")
    file.one_type(categories, "category id")
    sizes = file.sizes(images)
    objects = _objects(file, annotations, images.keys(), list(categories))
    used = {category for of_image in objects.values() for _, category, _ in of_image}
    phrases = tuple(map(Phrase, _names(file, categories, used)))
    for number in sorted(images):
        own = objects.get(number, [])
        target = Objects(
            xywh=tuple(annotation.bbox for _, _, annotation in own),
            categories=tuple(category for _, category, _ in own),
            areas=tuple(_area(file, annotation, sizes[number], place) for place, _, annotation in own),
            crowd=tuple(bool(annotation.iscrowd) for _, _, annotation in own),
            ids=tuple(categories),
            image=number,
            zero=next((index for index, (_, _, annotation) in enumerate(own) if annotation.id == 0), None),
        )
        yield Annotated(str(number), images[number].file_name, sizes[number], phrases, target)


def _objects(
    file: File, annotations: Sequence[Annotation], images: Collection[Id], categories: Sequence[Id]
) -> dict[Id, list[tuple[int, int, Annotation]]]:
    """The annotations of each image, with their places in the file and the numbers of their categories.

    Those of images and categories that the file does not list are dropped.
    """
    number_of = {category: number for number, category in enumerate(categories)}
    objects: dict[Id, list[tuple[int, int, Annotation]]] = {}
    for number, annotation in enumerate(annotations):
        image = file.id(annotation.image_id, "$.annotations[{}].image_id", number)
        category = file.id(annotation.category_id, "$.annotations[{}].category_id", number)
        if annotation.id is not None:
            file.id(annotation.id, "$.annotations[{}].id", number)
        file.crowd(annotation.iscrowd, number)
        place = f"$.annotations[{number}]"
        if image not in images:
            problem = f"is of image {image}, which the file does not list"
            file.note("annotations of unlisted images, dropped", place, problem)
        elif category not in number_of:
            problem = f"is of category {category}, which the file does not list"
            file.note("annotations of unlisted categories, dropped", place, problem)
        elif not is_plausible(from_xywh(annotation.bbox)) or (annotation.area or 0) < 0:
            raise file.refused(place, f"has the bbox {list(annotation.bbox)} and the area {annotation.area}")
        else:
            objects.setdefault(image, []).append((number, number_of[category], annotation))
    identified = (annotation for annotation in annotations if annotation.id is not None)
    files.by_id(identified, lambda annotation: annotation.id, file.path, "annotation id")
    return objects


def _area(file: File, annotation: Annotation, size: Size | None, number: int) -> float:
    """The area of an object; a missing one is computed from the segmentation, else from the box."""
    if annotation.area is not None:
        return annotation.area
    what = "missing areas, computed from the segmentation or else from the box"
    file.note(what, f"$.annotations[{number}]", "has no area")
    try:
        outline = from_coco(msgspec.json.decode(annotation.segmentation), size) if size is not None else None
    except files.MALFORMED:  # null, for example
        outline = None
    if size is not None and outline is not None and is_drawable(outline):
        return float(area(rasterise(outline, size)))
    return annotation.bbox[2] * annotation.bbox[3]


def _names(file: File, categories: Mapping[Id, Category], used: Collection[int]) -> Iterator[str]:
    """A different name for each category: of equal names, the first category with objects keeps the name.

    `used` are the numbers of the categories with objects.
    """
    records = list(categories.items())
    keeps: dict[str, int] = {}
    for number in sorted(range(len(records)), key=lambda number: number not in used):  # stable
        keeps.setdefault(records[number][1].name, number)
    for number, (key, category) in enumerate(records):
        if keeps[category.name] == number:
            yield category.name
            continue
        name = f"{category.name} ({key})"
        while name in keeps:
            name += "'"
        keeps[name] = number
        what = f"categories with the name of another category, called {name!r}"
        file.note(what, f"$.categories[{number}]", f"has the category name {category.name!r} twice")
        yield name


# ---------------------------------------------------------------------------- predictions


class _Result(msgspec.Struct):
    image_id: Given
    category_id: Given
    bbox: tuple[float, float, float, float]
    score: float


def read_results(path: Path, samples: Sequence[Sample[Any]], reading: Reading | None = None) -> dict[str, Answer]:
    """The boxes of every sample by sample id, in the order of the file, labelled with category names.

    An image without an entry has no detections.  A detection of an unknown category is dropped and noted in `reading`.
    One with a negative side is noted too; the answer keeps it, and scoring drops it (`harness.metrics.labels`).
    Without `reading`, both are refused.  DataError for an unknown image.
    """
    file = File(path, reading or Reading(strict=True), "correct the file")
    by_image = {_image_id(sample): sample for sample in samples}
    texts = (phrase.text for phrase in samples[0].question.phrases)
    names = dict(zip(_target(samples[0]).ids, texts, strict=True))
    results: dict[Id, list[tuple[Id, _Result]]] = {image: [] for image in by_image}
    for number, result in enumerate(files.predictions(path, list[_Result])):
        image = file.id(result.image_id, "$[{}].image_id", number)
        category = file.id(result.category_id, "$[{}].category_id", number)
        place = f"$[{number}]"
        if image not in by_image:
            problem = f"is of image {image!r}, which is not among the {len(by_image)} images of this split"
            raise DataError(f"{path}: {place} {problem}{_another_type(image, by_image)}")
        x, y, width, height = result.bbox
        unsigned = x, y, abs(width), abs(height)
        if category not in names:
            problem = f"is of category {category}, which the annotations do not have"
            file.note("detections of unknown categories, dropped", place, problem)
        elif not is_plausible(from_xywh(unsigned)):
            raise DataError(f"{path}: {place} {_bbox_problem(result)}")
        else:
            if unsigned != result.bbox:  # kept in the answer, for what pycocotools makes of it
                file.note("detections with a negative width or height, dropped", place, _bbox_problem(result))
            results[image].append((category, result))
    return {sample.id: _answer(results[image], names) for image, sample in by_image.items()}


def _bbox_problem(result: _Result) -> str:
    return f"has the bbox {list(result.bbox)}; expected [x, y, width, height]"


def _another_type(image: Id, known: Iterable[Id]) -> str:
    """The end of a message about an unknown image: an id of the annotations, if those are of another type."""
    other = next(iter(known))
    return f"; the annotations have ids such as {other!r}" if type(other) is not type(image) else ""


def _answer(results: Sequence[tuple[Id, _Result]], names: Mapping[Id, str]) -> Answer:
    value = Boxes(
        tuple(from_xywh(result.bbox) for _, result in results),
        tuple(names[category] for category, _ in results),
        tuple(result.score for _, result in results),
        xywh=tuple(result.bbox for _, result in results),
    )
    return Answer((f"{len(results)} boxes",), value)


def _target(sample: Sample[Any]) -> Objects:
    """The objects of a sample; TypeError if its target is something else, which is a bug."""
    if not isinstance(sample.target, Objects):
        raise TypeError(f"the target of sample {sample.id} is not Objects")
    return sample.target


def _image_id(sample: Sample[Any]) -> Id:
    """The id of a sample's image in the annotation file; without one in the target, the number that ends its own id."""
    image = _target(sample).image
    return int(sample.id.rpartition("/")[2]) if image is None else image


def entries(rows: Sequence[Row[Any]], detections: Detections) -> Iterator[dict[str, Any]]:
    """The entries of a result file; detections with a coordinate that is not finite are left out."""
    for row in rows:
        number, ids = _image_id(row.sample), _target(row.sample).ids
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
        read_leniently=read_results,
    )
