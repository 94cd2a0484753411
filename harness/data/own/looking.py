"""The image files of a user's own data: which are there, their sizes, and equal content in two splits."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from harness import images
from harness.core import Size
from harness.data.own.content import TRAIN, Notes, Picture
from harness.errors import DataError

ORIENTATION = 0x0112  # EXIF's tag
TOLERANCE = 1.0  # pixels that a box may reach out of its image, since tools round
GONE = "images that are not there, left out"


def size_of(folder: Path, name: str, notes: Notes) -> Size | None:
    """The size of an image in pixels as stored, from its header; None, and a note, where it cannot be read.

    DataError for a name that leads out of the folder.
    """
    path = images.file_of(folder, images.inside(name))
    if not path.is_file():
        notes.note(GONE, name)
        return None
    try:
        with path.open("rb") as file, Image.open(file, formats=images.FORMATS) as image:
            if image.width * image.height > images.MOST_PIXELS:
                raise ValueError("too many pixels")
            turned = image.getexif().get(ORIENTATION, 1) != 1
            size = Size(*image.size)
    except images.UNDECODABLE:
        notes.note("images that cannot be read, left out", name)
        return None
    if turned:
        notes.note("images with an EXIF orientation, read as stored; so are their boxes", name)
    return size


def looked_at(pictures: Iterable[Picture], folder: Path, notes: Notes) -> list[Picture]:
    """The pictures whose image can be read, each with its size; sizes and boxes that do not fit are noted.

    DataError where no image can be read, with the first of them, and for a link that leads out of the folder.
    """
    kept = []
    known: dict[str, Size | None] = {}
    folders: set[str] = set()
    first = ""
    for picture in tqdm(list(pictures), "looking at images", disable=None):
        first = first or picture.name
        if picture.name not in known:
            inner = picture.name.rpartition("/")[0]
            if inner not in folders:
                images.refuse_outside(folder, inner, ())
                folders.add(inner)
            known[picture.name] = size_of(folder, picture.name, notes)
        size = known[picture.name]
        if size is None:
            continue
        if picture.size is not None and picture.size != size:
            stated = f"{picture.size.width} x {picture.size.height}"
            notes.note(
                "images of another size than stated, so their boxes may be of another image",
                f"{picture.name}: {stated}, is {size.width} x {size.height}",
            )
        picture.size = size
        _look_at_boxes(picture, size, notes)
        kept.append(picture)
    if not kept:
        raise DataError(
            f"{folder} has none of the images that the annotations name (the first: {first or 'none at all'}); "
            "--images names the folder that their names are relative to"
        )
    return kept


def _look_at_boxes(picture: Picture, size: Size, notes: Notes) -> None:
    boxes = [(thing.xywh, thing.label) for thing in picture.things or ()]
    boxes += [(said.xywh, said.text) for said in picture.said]
    for (x, y, width, height), label in boxes:
        right, bottom = x + width - size.width, y + height - size.height
        if max(-x, -y, right, bottom) > TOLERANCE:
            notes.note("boxes that reach out of their image, kept as they are", f"{picture.name}: {label}")
        elif not (width and height):
            notes.note("boxes of area 0, which no answer can match", f"{picture.name}: {label}")


def trained_and_evaluated(pictures: Iterable[Picture], folder: Path) -> dict[str, str]:
    """The images of the training split whose content is also in another split, each with an image of that split.

    Content is equal where files are equal byte for byte.  Only files of equal size are read.
    """
    splits: dict[str, set[str]] = {}
    for picture in pictures:
        splits.setdefault(picture.name, set()).add(picture.split)
    by_bytes: dict[int, list[str]] = {}
    for name in splits:
        by_bytes.setdefault(images.file_of(folder, name).stat().st_size, []).append(name)
    found: dict[str, str] = {}
    for names in by_bytes.values():
        if len({split == TRAIN for name in names for split in splits[name]}) > 1:
            found |= _equal(names, splits, folder)
    return found


def _equal(names: Iterable[str], splits: Mapping[str, set[str]], folder: Path) -> dict[str, str]:
    by_content: dict[bytes, list[str]] = {}
    for name in names:
        with images.file_of(folder, name).open("rb") as file:
            by_content.setdefault(hashlib.file_digest(file, "sha256").digest(), []).append(name)
    found: dict[str, str] = {}
    for same in by_content.values():
        evaluated = next((name for name in same if splits[name] - {TRAIN}), None)
        if evaluated is not None:
            found |= {name: evaluated for name in same if TRAIN in splits[name]}
    return found
