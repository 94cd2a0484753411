"""COCO's format: files of objects or of captions, kept as they are, so that the numbers are those of the same files.

    annotations/instances_val2017.json  captions_val2017.json  val2017/1.jpg      COCO's own folders
    valid/_annotations.coco.json        valid/1.jpg                               Roboflow
    mine.json                           1.jpg                                     one file

A file's split is named by its folder, else by its own name.  An image is looked for by its name under the folder of
images, beside the file, and in the folder that the file's name ends in (val2017).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import msgspec

from harness.core import Size
from harness.data import files
from harness.data.coco import Given
from harness.data.own.content import SPLITS, WITHOUT, CocoFile, Content, Notes, Picture, Thing
from harness.data.own.listing import below, listed, name_of
from harness.errors import DataError

ROBOFLOW = "_annotations.coco.json"
MOST = 64  # JSON files in one folder, which are all opened


class _Image(msgspec.Struct):
    id: Given
    file_name: str
    width: float | None = None
    height: float | None = None


class _Annotation(msgspec.Struct):
    image_id: Given
    bbox: tuple[float, float, float, float] | None = None
    caption: str | None = None
    category_id: Given | None = None


class _Category(msgspec.Struct):
    id: Given
    name: str


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of a file, or of the files of a folder; a split has at most one file of a kind.

    DataError for a malformed file, and where two files are of the same split and kind.
    """
    pictures: dict[tuple[str, str], Picture] = {}
    content = Content([])
    alone = annotations.is_file()
    for path in sources(annotations, images):
        data = files.read(path, "")
        if not data.strip():
            raise DataError(f"{path} is empty")
        file = files.decode(data, CocoFile, path)
        records = [files.decode(record, _Annotation, path) for record in file.annotations]
        split = WITHOUT if alone and not _folder_split(path) else split_of_file(path)
        kinds = [
            kind
            for kind, has in (
                ("caption", any(record.caption is not None for record in records)),
                ("detect", file.categories is not None),
            )
            if has
        ]
        if not kinds:
            raise DataError(f"{path} has neither `categories` nor annotations with a `caption`")
        kind = kinds[0]
        if (kind, split) in content.official:
            raise DataError(f"{path} is the second file of {kind} and the split {split}; name one by --annotations")
        content.official[kind, split] = file
        _add(pictures, file, records, (kind, split), path, images)
    content.pictures = list(pictures.values())
    return content


def _add(
    pictures: dict[tuple[str, str], Picture],
    file: CocoFile,
    records: list[_Annotation],
    key: tuple[str, str],
    path: Path,
    images: Path,
) -> None:
    """Adds the images of a file, and names them in it by their paths under the folder of images."""
    kind, split = key
    of_image: dict[Given, Picture] = {}
    for number, record in enumerate(file.images):
        place = f"{path}: $.images[{number}]"
        image = files.decode(msgspec.json.encode(record), _Image, path)
        name = _located(name_of(image.file_name, place), path, images)
        if name != image.file_name:
            record["file_name"] = msgspec.Raw(msgspec.json.encode(name))
        picture = pictures.setdefault((name, split), Picture(name, split))
        if image.width and image.height:
            picture.size = Size(int(image.width), int(image.height))
        if kind == "detect":
            picture.things = picture.things or []
        of_image[image.id] = picture
    categories = {each.id: each.name for each in (files.decode(raw, _Category, path) for raw in file.categories or ())}
    for annotation in records:
        picture_of = of_image.get(annotation.image_id)
        if picture_of is None:
            continue  # the reader of the official file drops and notes these
        if kind == "caption" and annotation.caption is not None:
            picture_of.captions.append(annotation.caption)
        elif kind == "detect" and annotation.bbox is not None and annotation.category_id in categories:
            label = categories[annotation.category_id]
            if picture_of.things is None:
                picture_of.things = []
            picture_of.things.append(Thing(label, annotation.bbox))


def _located(name: str, path: Path, images: Path) -> str:
    """The path of an image under the folder of images, which may name it below another folder."""
    folder = path.stem.rpartition("_")[2]  # val2017, of instances_val2017
    for candidate in (images / name, path.parent / name, images / folder / name, images / "images" / name):
        inside = below(images, candidate)
        if inside is not None and os.path.isfile(candidate):
            return inside
    return name


def split_of_file(path: Path) -> str:
    """The split that the file's folder names, else the last of the words of its own name that is one."""
    words = re.findall("[a-z]+", path.stem.lower())
    return _folder_split(path) or next((SPLITS[word] for word in reversed(words) if word in SPLITS), WITHOUT)


def _folder_split(path: Path) -> str:
    return SPLITS.get(path.parent.name.lower(), "") if path.name == ROBOFLOW else ""


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    if annotations.is_file():
        return [annotations]
    roboflow = [annotations / ROBOFLOW, *(annotations / folder / ROBOFLOW for folder in SPLITS)]
    found = [path for path in roboflow if path.is_file()]
    for folder in (annotations, annotations / "annotations"):
        if not found and folder.is_dir():
            found = [folder / name for name in listed(folder, (".json",), deep=False)]
            official = [path for path in found if path.name.startswith(("instances_", "captions_"))]
            found = official or found  # COCO's folder also has files of keypoints
    if not found:
        raise DataError(f"{annotations} has no JSON file, nor has its folder annotations; name one by --annotations")
    if len(found) > MOST:
        raise DataError(f"{found[0].parent} has {len(found)} JSON files; --format labelme reads one for each image")
    return found
