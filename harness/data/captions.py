"""Images with reference captions, as COCO, nocaps and TextCaps publish them, and COCO's caption result file.

    captions_val2014.json, nocaps_val_4500_captions.json       COCO's format
    coco_karpathy_test_gt.json                                 COCO's format, with ids as the only fields of images
    dataset_coco.json                                          Karpathy's splits of the images
    TextCaps_0.1_val.json                                      one entry for each caption; image ids are strings

References are the captions as their authors wrote them; Karpathy's `tokens` are ignored.  An id has the type that its
file gives it (a string for TextCaps), and a result file must use the same type.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Answer, PredictionFormat, Reading, Row, Sample, Size, Text
from harness.data import files
from harness.data.coco import File, Given, Id, Side
from harness.data.karpathy import of_split
from harness.errors import DataError


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image with its reference captions; `domain` is the domain of nocaps, "" elsewhere."""

    id: str
    file_name: str
    size: Size | None
    references: tuple[str, ...]
    domain: str = ""


# ---------------------------------------------------------------------------- COCO's format


class _Image(msgspec.Struct):
    id: Given
    file_name: str = ""
    width: Side = 0
    height: Side = 0
    domain: str = ""


class _Caption(msgspec.Struct):
    image_id: Given
    caption: str


class _Captions(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Caption]


class _KarpathyImage(msgspec.Struct):
    cocoid: int
    split: str


def read(
    path: Path, origin: str, among: frozenset[int] | None = None, reading: Reading | None = None
) -> Iterator[Captioned]:
    """Every image with its captions, in the order of the file; only the image ids in `among`, if it is given.

    What pycocotools reads although it is not as COCO publishes it is converted or dropped, and noted in `reading`;
    without `reading`, it is refused.

    DataError if the file is missing or malformed, an id occurs twice, an image has no caption, or an image in `among`
    is not in the file.  `origin` says where to obtain the file; it is "" for a user's own.
    """
    content = files.load(path, _Captions, origin)
    file = File(path, reading or Reading(strict=True), files.remedy(origin))
    images = file.by_id(content.images, "images", "image id")
    file.one_type(images, "image id")
    references: dict[Id, list[str]] = {}
    for place, annotation in enumerate(content.annotations):
        number = file.id(annotation.image_id, f"$.annotations[{place}].image_id")
        if number in images:
            references.setdefault(number, []).append(annotation.caption)
        else:
            problem = f"is of image {number}, which the file does not list"
            file.note("annotations of unlisted images, dropped", f"$.annotations[{place}]", problem)
    absent = sorted((among or frozenset()) - images.keys())
    if absent:
        raise DataError(f"{path} lacks {len(absent)} images of the split (first: {absent[0]}); {files.remedy(origin)}")
    for place, (number, image) in enumerate(images.items()):
        if among is not None and number not in among:
            continue
        if number not in references:
            raise DataError(f"{path}: image {number} has no caption; {files.remedy(origin)}")
        size = file.size(image.width, image.height, f"$.images[{place}]")
        yield Captioned(str(number), image.file_name, size, tuple(references[number]), image.domain)


def karpathy(path: Path, split: str, origin: str) -> frozenset[int]:
    """COCO's image ids of one of Karpathy's splits; DataError if the file has no such split."""
    return frozenset(image.cocoid for image in of_split(path, _KarpathyImage, split, origin))


# ---------------------------------------------------------------------------- TextCaps


class _TextCapsEntry(msgspec.Struct):
    image_id: str
    image_width: int = 0
    image_height: int = 0
    reference_strs: list[str] = []


class _TextCaps(msgspec.Struct):
    data: list[_TextCapsEntry]


def read_textcaps(path: Path, origin: str) -> Iterator[Captioned]:
    """Every image once with all its captions, in order of first appearance.

    The file has one entry for each caption, and every entry lists all references of its image.  DataError if an image
    has no references, or its entries list different ones.
    """
    entries: dict[str, _TextCapsEntry] = {}
    for place, entry in enumerate(files.load(path, _TextCaps, origin).data):
        first = entries.setdefault(entry.image_id, entry)
        if not entry.reference_strs or sorted(first.reference_strs) != sorted(entry.reference_strs):
            raise DataError(
                f"{path}: $.data[{place}] of image {entry.image_id} has no references, or other ones than before"
            )
    for entry in entries.values():
        size = Size(entry.image_width, entry.image_height) if entry.image_width and entry.image_height else None
        yield Captioned(entry.image_id, f"{entry.image_id}.jpg", size, tuple(entry.reference_strs))


# ---------------------------------------------------------------------------- predictions


class _Numbered(msgspec.Struct):
    image_id: Given
    caption: str


class _Named(msgspec.Struct):
    image_id: str
    caption: str


def _read_numbered(path: Path, samples: Sequence[Sample[Any]], reading: Reading | None = None) -> dict[str, Answer]:
    """The captions by sample id; ids that are no integers are noted in `reading`, and refused without it."""
    file = File(path, reading or Reading(strict=True), "correct the file")
    entries = [
        (str(file.id(entry.image_id, f"$[{place}].image_id")), entry.caption)
        for place, entry in enumerate(files.predictions(path, list[_Numbered]))
    ]
    return files.one_each(path, entries, samples, "image_id", _answer)


def _read_named(path: Path, samples: Sequence[Sample[Any]]) -> dict[str, Answer]:
    entries = [(entry.image_id, entry.caption) for entry in files.predictions(path, list[_Named])]
    return files.one_each(path, entries, samples, "image_id", _answer)


def _answer(caption: str, _: Sample[Any]) -> Answer:
    return Answer((caption,), Text((caption,)))


def _write(id_of: Callable[[str], Any]) -> Callable[[Path, Sequence[Row[Any]]], None]:
    """A writer of result files; `id_of` converts a sample id to the type that the file uses."""

    def write_file(path: Path, rows: Sequence[Row[Any]]) -> None:
        captions = [row.answer.value.texts[0] if isinstance(row.answer.value, Text) else "" for row in rows]
        files.write(
            path,
            [
                {"image_id": id_of(row.sample.id), "caption": caption}
                for row, caption in zip(rows, captions, strict=True)
            ],
        )

    return write_file


NUMBERED = PredictionFormat(
    'JSON: [{"image_id": 391895, "caption": "a man on a bicycle"}, ...], one entry for each image; ids are numbers',
    _read_numbered,
    _write(lambda name: int(name) if name.isdecimal() and str(int(name)) == name else name),
    read_leniently=_read_numbered,
)
NAMED = PredictionFormat(
    'JSON: [{"image_id": "0054c91397f2fe05", "caption": "a sign that says stop"}, ...], one entry for each image; '
    "ids are strings",
    _read_named,
    _write(str),
)
