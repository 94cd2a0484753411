"""gRefCOCO: expressions that refer to one object, to several, or to none; its refs, and instances like COCO's.

    <root>/refer/grefcoco/grefs(unc).json, instances.json
    <root>/coco/train2014/                                   the images of all splits

A ref names its objects by a list `ann_id`, which is [-1] where the expression refers to nothing, and its image by
`image_id`.  Both are looked up in instances.json.  A ref may have no sentences; a sentence is `sent`, not `raw`.  The
outline of several objects is the union of theirs.  Crowds have boxes but no outlines, as in the authors' loaders.

An instances.json that pycocotools would read is converted as in `refer.py`.

The authors define no result file.  `BOXES` and `MASKS` are lists with one entry for each sentence of each ref.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, Box, Boxes, Mask, Polygons, PredictionFormat, Row, Sample, Size, Source
from harness.data import coco, files
from harness.data.coco import File, Given, Id, Side
from harness.data.refer import IMAGES, Sentence
from harness.errors import DataError
from harness.geometry.boxes import FARTHEST, from_xywh, is_plausible, to_xywh
from harness.geometry.masks import from_coco, to_coco, union
from harness.sinks import line

__all__ = ["BOXES", "IMAGES", "MASKS", "ORIGIN", "Ref", "read"]
ORIGIN = "https://github.com/henghuiding/gRefCOCO"
NOTHING = -1  # the ann_id of an expression that refers to nothing


@dataclass(frozen=True, slots=True)
class Ref:
    """The objects that some sentences refer to; `boxes` and `outline` are in pixels of the image.

    There are no boxes where the sentences refer to nothing; `outline` then has no rings.  `outline` is None if it was
    not read.  `size` is None only if the file has none and no outline was read.
    """

    id: str
    sentences: tuple[Sentence, ...]
    image_name: str
    size: Size | None
    boxes: tuple[Box, ...]
    outline: Polygons | Mask | None


# ---------------------------------------------------------------------------- annotations


class _Sentence(msgspec.Struct):
    sent_id: int
    sent: str


class _Entry(msgspec.Struct):
    ref_id: int
    ann_id: Given | list[Given]
    image_id: Given
    split: str
    sentences: list[_Sentence]

    @property
    def objects(self) -> list[Given]:
        return self.ann_id if isinstance(self.ann_id, list) else [self.ann_id]


class _Image(msgspec.Struct):
    id: Given
    file_name: str
    width: Side
    height: Side


class _Annotation(msgspec.Struct):
    id: Given
    image_id: Given
    bbox: tuple[float, float, float, float]
    segmentation: msgspec.Raw
    iscrowd: int | bool | float = 0


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]


def read(source: Source, *, outlines: bool = True) -> Iterator[Ref]:
    """The refs of a split, in the order of the file; without `outlines`, those and their errors are skipped.

    `source.annotations` is a file of refs next to an instances.json, or a folder with both.  DataError if a file is
    missing or malformed, has no such split, or the two files do not belong together.
    """
    given, origin = source.annotations, source.origin(ORIGIN)
    folder = given or source.root / "refer/grefcoco"
    refs = folder / "grefs(unc).json" if folder.is_dir() or given is None else folder
    instances = refs.parent / "instances.json"
    entries = files.load(refs, list[_Entry], origin)
    chosen = [entry for entry in entries if entry.split == source.split]
    if not chosen:
        splits = ", ".join(sorted({line(entry.split) for entry in entries})) or "no refs"
        raise DataError(f"{refs} has no split {source.split!r}; it has {splits}")
    counts = Counter((entry.ref_id, sentence.sent_id) for entry in chosen for sentence in entry.sentences)
    twice = [pair for pair, count in counts.items() if count > 1]
    if twice:
        name = f"sent_id {twice[0][1]} of ref {twice[0][0]}"
        raise DataError(f"{refs} has {len(twice)} sentences twice (first: {name}); {files.remedy(origin)}")
    content = files.load(instances, _Instances, origin)
    file, of_refs = (File(path, source.reading, files.remedy(origin)) for path in (instances, refs))
    images = file.by_id(content.images, "images", "image id")
    annotations = file.by_id(content.annotations, "annotations", "annotation id")
    sizes = file.sizes(images)
    for place, one in enumerate(content.annotations):
        file.crowd(one.iscrowd, place)
    for entry in chosen:
        ids: list[Id] = [of_refs.id(given, f"an ann_id of ref {entry.ref_id}") for given in entry.objects]
        objects = [] if ids == [NOTHING] else [annotations.get(number) for number in ids]
        number = of_refs.id(entry.image_id, f"the image_id of ref {entry.ref_id}")
        image = images.get(number)
        of_images = [file.id(one.image_id, f"the image_id of annotation {one.id}") for one in objects if one]
        if image is None or not ids or None in objects or any(other != number for other in of_images):
            raise DataError(
                f"{instances} does not fit {refs.name}: ref {entry.ref_id} is of the annotations {entry.objects[:9]} "
                f"of image {entry.image_id}, which do not exist; {files.remedy(origin)}"
            )
        try:
            size = coco.usable(sizes[number], image, needed=outlines)
            yield _joined(entry, (image, size), [one for one in objects if one is not None], outlines)
        except files.MALFORMED as error:
            raise DataError(f"{instances}: ref {entry.ref_id}: {error}; {files.remedy(origin)}") from error


def _joined(entry: _Entry, sized: tuple[_Image, Size | None], objects: Sequence[_Annotation], outlines: bool) -> Ref:
    """One ref from its records; ValueError if one is malformed."""
    image, size = sized
    boxes = tuple(from_xywh(one.bbox) for one in objects)
    for one, box in zip(objects, boxes, strict=True):
        if not is_plausible(box):
            raise ValueError(f"the bbox of annotation {one.id} is {list(one.bbox)}")
    outline = None
    if size is not None and outlines:
        outline = union([from_coco(msgspec.json.decode(one.segmentation), size) for one in objects if not one.iscrowd])
    sentences = tuple(Sentence(str(sentence.sent_id), sentence.sent) for sentence in entry.sentences)
    return Ref(str(entry.ref_id), sentences, image.file_name, size, boxes, outline)


# ---------------------------------------------------------------------------- predictions


class _BoxesPrediction(msgspec.Struct):
    ref_id: int
    sent_id: int
    bboxes: list[tuple[float, float, float, float]] | None


class _MaskPrediction(msgspec.Struct):
    ref_id: int
    sent_id: int
    segmentation: msgspec.Raw


KEY = "ref_id/sent_id"


def _read_boxes(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    content = files.predictions(path, list[_BoxesPrediction])
    entries = [(f"{entry.ref_id}/{entry.sent_id}", entry.bboxes) for entry in content]
    return files.one_each(path, entries, samples, KEY, _boxes)


def _read_masks(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    content = files.predictions(path, list[_MaskPrediction])
    entries = [(f"{entry.ref_id}/{entry.sent_id}", entry.segmentation) for entry in content]
    return files.one_each(path, entries, samples, KEY, _outline)


def _boxes(bboxes: Sequence[tuple[float, float, float, float]] | None, _: Sample[Any]) -> Answer:
    if bboxes is None:
        return Answer(("null",), None)
    boxes = tuple(map(from_xywh, bboxes))
    for bbox, box in zip(bboxes, boxes, strict=True):
        if not is_plausible(box):
            raise ValueError(f"a bbox is {list(bbox)}; expected [x, y, width, height]")
    return Answer((f"{len(boxes)} boxes",), Boxes(boxes))


def _outline(value: msgspec.Raw, sample: Sample[Any]) -> Answer:
    segmentation, size = msgspec.json.decode(value), sample.question.size
    if size is None:
        raise ValueError("the annotations do not give its image's size")
    return Answer((bytes(value).decode(),), None if segmentation is None else from_coco(segmentation, size))


def _write_boxes(path: Path, rows: Sequence[Row[Any]]) -> None:
    values = [row.answer.value for row in rows]
    boxes = [[_written(box) for box in value.boxes] if isinstance(value, Boxes) else None for value in values]
    files.write(path, [{**_ids(row), "bboxes": of_row} for row, of_row in zip(rows, boxes, strict=True)])


def _written(box: Box) -> tuple[float, float, float, float]:
    """A box as [x, y, width, height]; an inverted or impossible one as an empty one, which is as wrong."""
    if not all(abs(number) < FARTHEST / 4 for number in box):
        return (0.0, 0.0, 0.0, 0.0)
    left, top, width, height = to_xywh(box)
    return left, top, max(0.0, width), max(0.0, height)


def _write_masks(path: Path, rows: Sequence[Row[Any]]) -> None:
    entries = []
    for row in rows:
        value = row.answer.value
        fits = isinstance(value, Polygons) or (isinstance(value, Mask) and value.size == row.sample.question.size)
        outline = to_coco(value) if fits and isinstance(value, Polygons | Mask) else None
        entries.append({**_ids(row), "segmentation": outline})
    files.write(path, entries)


def _ids(row: Row[Any]) -> dict[str, int]:
    ref, _, sentence = row.sample.id.partition("/")
    return {"ref_id": int(ref), "sent_id": int(sentence)}


BOXES = PredictionFormat(
    'JSON: [{"ref_id": 1, "sent_id": 1, "bboxes": [[x, y, width, height], ...]}, ...] in pixels of the image; [] where '
    "the expression refers to nothing, null if there is no answer",
    _read_boxes,
    _write_boxes,
)
MASKS = PredictionFormat(
    'JSON: [{"ref_id": 1, "sent_id": 1, "segmentation": [[x, y, ...], ...] or {"size": [height, width], "counts": ...}}'
    ", ...] in pixels of the image; [] where the expression refers to nothing, null if there is no answer",
    _read_masks,
    _write_masks,
)
