"""RefCOCO, RefCOCO+ and RefCOCOg, as the refer toolkit publishes them: a pickle of refs, and instances like COCO's.

    <root>/refer/refcoco/refs(unc).p     refer/refcoco+/refs(unc).p     refer/refcocog/refs(umd).p
    <root>/refer/<name>/instances.json   for each of them
    <root>/coco/train2014/               the images of all splits

An instances.json that pycocotools would read is converted as in `coco.py`: whole floats or strings for ids, sizes that
are floats, and null sizes where only boxes are read.  `area` and `iscrowd` are not read.

Pickles are read as plain data; a pickle that names a class or function is refused (see `pickles.py`).  A ref names its
object by `ann_id` and its image by `image_id`, which are looked up in instances.json.  Its `file_name` is ignored,
because it names the object.  A sentence is `sent` (cleaned, lower case), not `raw`.  Boxes are not rounded.

The toolkit defines no result file of boxes and masks.  `BOXES` and `MASKS` are lists with one entry for each sentence.
`SENTENCES` is the input of its evaluator of generated sentences, with one entry for each ref.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, Box, Boxes, Mask, Polygons, PredictionFormat, Row, Sample, Size, Source, Text
from harness.data import coco, files, pickles
from harness.data.coco import File, Given, Side
from harness.errors import DataError
from harness.geometry.boxes import FARTHEST, from_xywh, is_plausible, to_xywh
from harness.geometry.masks import from_coco, to_coco
from harness.sinks import line

ORIGIN = "https://github.com/lichengunc/refer"
IMAGES = "coco/train2014"

UNDRAWABLE = "have an outline without a ring of three points, which cannot be drawn, and on which pycocotools raises"


@dataclass(frozen=True, slots=True)
class Sentence:
    """One expression for an object."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class Ref:
    """An object with the sentences that refer to it; `box` and `outline` are in pixels of its image.

    `outline` is None if it was not read.  `size` is None only if the file has none and no outline was read.
    """

    id: str
    sentences: tuple[Sentence, ...]
    image_name: str
    size: Size | None
    box: Box
    outline: Polygons | Mask | None


# ---------------------------------------------------------------------------- annotations


class _Sentence(msgspec.Struct):
    sent_id: int
    sent: str


class _Entry(msgspec.Struct):
    ref_id: int
    ann_id: Given
    image_id: Given
    split: str
    sentences: list[_Sentence]


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


class _Instances(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]


def read(source: Source, name: str, by: str, *, outlines: bool = True) -> Iterator[Ref]:
    """The refs of a split of the data set `name`, in the order of the pickle.

    `by` names the authors of the splits (unc, umd).  `outlines=False` skips the outlines and their errors, which takes
    half the time.  `source.annotations` is a refs pickle next to an instances.json, or a folder with both.

    DataError if a file is missing or malformed, has no such split, or the two files do not belong together.
    """
    refs, instances = _paths(source, name, by)
    origin = source.origin(ORIGIN)
    entries = _entries(refs, origin)
    chosen = [entry for entry in entries if entry.split == source.split]
    if not chosen:
        splits = ", ".join(sorted({line(entry.split) for entry in entries})) or "no refs"
        raise DataError(f"{refs} has no split {source.split!r}; it has {splits}")
    counts = Counter(sentence.sent_id for entry in chosen for sentence in entry.sentences)
    twice = [number for number, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{refs} has {len(twice)} sent_ids twice (first: {twice[0]}); {files.remedy(origin)}")
    content = files.load(instances, _Instances, origin)
    file, of_refs = (File(path, source.reading, files.remedy(origin)) for path in (instances, refs))
    images = file.by_id(content.images, "images", "image id")
    annotations = file.by_id(content.annotations, "annotations", "annotation id")
    sizes = file.sizes(images)
    for entry in chosen:
        number = of_refs.id(entry.image_id, f"the image_id of ref {entry.ref_id}")
        annotation = annotations.get(of_refs.id(entry.ann_id, f"the ann_id of ref {entry.ref_id}"))
        image = images.get(number)
        if annotation is None or image is None or file.id(annotation.image_id, _image_id_of(annotation)) != number:
            todo = f"obtain both files from one folder of {origin}" if origin else "use two files that belong together"
            raise DataError(
                f"{instances} does not fit {refs.name}: ref {entry.ref_id} is annotation {entry.ann_id} of image "
                f"{entry.image_id}, but {_mismatch(annotation, image)}; {todo}"
            )
        yield _joined(entry, annotation, (image, sizes[number]), (refs, instances), files.remedy(origin), outlines)


def _paths(source: Source, name: str, by: str) -> tuple[Path, Path]:
    """The refs pickle and instances.json."""
    annotations = source.annotations
    if annotations is not None and not annotations.is_dir():
        return annotations, annotations.parent / "instances.json"
    folder = source.root / "refer" / name if annotations is None else annotations
    return folder / f"refs({by}).p", folder / "instances.json"


def _entries(path: Path, origin: str) -> list[_Entry]:
    """Every ref in the pickle; DataError if it is not a list of refs."""
    try:
        return msgspec.convert(pickles.load(files.read(path, origin)), list[_Entry])
    except ValueError as error:
        raise DataError(f"{path} cannot be read as a list of refs: {error}; {files.remedy(origin)}") from error


def _joined(
    entry: _Entry,
    annotation: _Annotation,
    sized: tuple[_Image, Size | None],
    paths: tuple[Path, Path],
    todo: str,
    outlines: bool,
) -> Ref:
    """One ref from its three records; DataError, naming the file and the record, if one is malformed."""
    refs, instances = paths
    image, size = sized
    try:
        sentences = tuple(Sentence(str(sentence.sent_id), pickles.text(sentence.sent)) for sentence in entry.sentences)
    except ValueError as error:
        raise DataError(f"{refs}: ref {entry.ref_id}: {error}; {todo}") from error
    try:
        size = coco.usable(size, image, needed=outlines)
        if not is_plausible(from_xywh(annotation.bbox)):
            raise ValueError(f"its bbox is {list(annotation.bbox)}")
        outline = None
        if size is not None and outlines:
            outline = from_coco(msgspec.json.decode(annotation.segmentation), size)
    except files.MALFORMED as error:
        raise DataError(f"{instances}: annotation {entry.ann_id}: {error}; {todo}") from error
    return Ref(str(entry.ref_id), sentences, image.file_name, size, from_xywh(annotation.bbox), outline)


def _image_id_of(annotation: _Annotation) -> str:
    return f"the image_id of annotation {annotation.id}"


def _mismatch(annotation: _Annotation | None, image: _Image | None) -> str:
    if annotation is None:
        return "there is no such annotation"
    return "there is no such image" if image is None else f"that annotation is of image {annotation.image_id}"


# ---------------------------------------------------------------------------- predictions


class _BoxPrediction(msgspec.Struct):
    sent_id: int
    bbox: msgspec.Raw


class _MaskPrediction(msgspec.Struct):
    sent_id: int
    segmentation: msgspec.Raw


class _SentencePrediction(msgspec.Struct):
    ref_id: int
    sent: str


def _read_boxes(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(str(entry.sent_id), entry.bbox) for entry in files.predictions(path, list[_BoxPrediction])]
    return files.one_each(path, entries, samples, "sent_id", _box)


def _read_masks(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(str(entry.sent_id), entry.segmentation) for entry in files.predictions(path, list[_MaskPrediction])]
    return files.one_each(path, entries, samples, "sent_id", _outline)


def _read_sentences(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(str(entry.ref_id), entry.sent) for entry in files.predictions(path, list[_SentencePrediction])]
    return files.one_each(path, entries, samples, "ref_id", lambda sent, _: Answer((sent,), Text((sent,))))


def _box(value: msgspec.Raw, _: Sample[Any]) -> Answer:
    numbers = msgspec.json.decode(value, type=list[float])
    if len(numbers) not in (0, 4):
        raise ValueError(f"a bbox is [x, y, width, height], or [] if there is no box, not {len(numbers)} numbers")
    if numbers and not is_plausible(from_xywh(numbers)):
        raise ValueError(f"its bbox is {numbers}; expected [x, y, width, height]")
    return Answer((bytes(value).decode(),), Boxes((from_xywh(numbers),)) if numbers else None)


def _outline(value: msgspec.Raw, sample: Sample[Any]) -> Answer:
    segmentation, size = msgspec.json.decode(value), sample.question.size
    if size is None:
        raise ValueError("the annotations do not give its image's size")
    return Answer((bytes(value).decode(),), None if segmentation == [] else from_coco(segmentation, size))


def _write_boxes(path: Path, rows: Sequence[Row[Any]]) -> None:
    entries = []
    for row in rows:
        value = row.answer.value
        first = value.boxes[:1] if isinstance(value, Boxes) else ()
        bbox: tuple[float, ...] = ()
        if first and all(abs(number) < FARTHEST / 4 for number in first[0]):
            left, top, width, height = to_xywh(first[0])
            bbox = left, top, max(0.0, width), max(0.0, height)  # an inverted box is written as empty
        entries.append({"sent_id": int(row.sample.id), "bbox": bbox})
    files.write(path, entries)


def _write_masks(path: Path, rows: Sequence[Row[Any]]) -> None:
    entries = []
    for row in rows:
        value = row.answer.value
        fits = isinstance(value, Polygons) or (isinstance(value, Mask) and value.size == row.sample.question.size)
        outline = to_coco(value) if fits and isinstance(value, Polygons | Mask) else []
        entries.append({"sent_id": int(row.sample.id), "segmentation": outline})
    files.write(path, entries)


def _write_sentences(path: Path, rows: Sequence[Row[Any]]) -> None:
    values = [row.answer.value for row in rows]
    sentences = [value.texts[0] if isinstance(value, Text) else "" for value in values]
    ids = [int(row.sample.id) for row in rows]
    files.write(path, [{"ref_id": name, "sent": sent} for name, sent in zip(ids, sentences, strict=True)])


BOXES = PredictionFormat(
    'JSON: [{"sent_id": 1, "bbox": [x, y, width, height]}, ...] in pixels of the image; [] if there is no box',
    _read_boxes,
    _write_boxes,
)
MASKS = PredictionFormat(
    'JSON: [{"sent_id": 1, "segmentation": [[x, y, ...], ...] or {"size": [height, width], "counts": ...}}, ...] '
    "in pixels of the image; [] if there is no outline",
    _read_masks,
    _write_masks,
)
SENTENCES = PredictionFormat(
    'JSON: [{"ref_id": 1, "sent": "the man in blue"}, ...], one entry for each ref',
    _read_sentences,
    _write_sentences,
)
