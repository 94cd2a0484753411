"""The image files of a user's own data: which are there, their sizes, and equal content in two splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from harness import images
from harness.core import Size
from harness.data.own.content import TRAIN, Notes, Picture, Said, Thing
from harness.errors import DataError
from harness.geometry.boxes import FARTHEST, from_xywh, is_plausible

ORIENTATION = 0x0112  # EXIF's tag
TOLERANCE = 1.0  # pixels that a box may reach out of its image, since tools round
GONE = "images that are not there, left out"


def size_of(folder: Path, name: str, notes: Notes) -> Size | None:
    """The size of an image in pixels as stored, from its header; None, and a note, where it cannot be read.

    DataError for a name that leads out of the folder.
    """
    path = images.file_of(folder, images.inside(name))
    if not os.path.isfile(path):  # also for a name that is too long
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


def leave_out_unusable(picture: Picture, notes: Notes) -> None:
    """Leaves out annotations without a text or of an impossible place, and notes questions that are asked twice."""
    things = picture.things or []
    if not (all(map(_is_possible, things)) and all(map(_is_possible, picture.said))):
        notes.note(f"boxes or outlines with coordinates beyond {FARTHEST:g} pixels, left out", picture.name)
        things = [thing for thing in things if _is_possible(thing)]
        picture.things = None if picture.things is None else things
        picture.said = [said for said in picture.said if _is_possible(said)]
    texts = [*picture.captions, *(thing.label for thing in things)]
    texts += [said.text for said in picture.said] + [asked.text for asked in picture.asked]
    if not all(map(str.strip, texts)):
        notes.note("captions, labels, expressions or questions without text, left out", picture.name)
        picture.captions = [caption for caption in picture.captions if caption.strip()]
        picture.things = None if picture.things is None else [thing for thing in things if thing.label.strip()]
        picture.said = [said for said in picture.said if said.text.strip()]
        picture.asked = [asked for asked in picture.asked if asked.text.strip()]
    questions = [asked.text for asked in picture.asked]
    if len(set(questions)) < len(questions):
        notes.note("questions that are asked twice about an image, each a sample of its own", picture.name)


def _is_possible(where: Thing | Said) -> bool:
    rings = (abs(value) <= FARTHEST for ring in where.rings for value in ring)
    return is_plausible(from_xywh(where.xywh)) and all(rings)


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
