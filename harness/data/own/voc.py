"""Pascal VOC's format, as the VOC devkit, labelImg, CVAT and Roboflow write it: an XML file for each image.

    Annotations/1.xml  JPEGImages/1.jpg  ImageSets/Main/val.txt        the devkit; lists name the splits
    valid/1.xml        valid/1.jpg                                     Roboflow; folders name the splits

The devkit's coordinates count pixels from 1 and include the last one; its files name their source as "PASCAL VOC", and
1 is subtracted from xmin and ymin.  Other tools write the edges of the box, which are read as they are.

An object that is marked `difficult` is never counted as missed, as in VOC's own evaluation: it becomes a crowd.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from harness.core import Size
from harness.data import files
from harness.data.own.content import Content, Notes, Picture, Thing, named_split, split_of
from harness.data.own.listing import IMAGES, below, listed, name_of, text_of
from harness.errors import DataError

LISTS = "ImageSets/Main"
SUFFIXES = (".xml",)


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of all XML files below a folder, or of one file; DataError for a malformed one."""
    paths = sources(annotations, images)
    splits = _lists(annotations)
    pictures = []
    for path in paths:
        if path.suffix.lower() != ".xml":
            continue
        root = _parsed(path)
        if root.tag != "annotation":
            notes.note("XML files without an <annotation>, left out", path.name)
            continue
        name = _image_of(root, path, images)
        split = splits.get(path.stem, split_of(name)) if splits else split_of(name)
        if splits and path.stem not in splits:
            notes.note(f"images that no list of {LISTS} names, left out", path.name)
            continue
        pictures.append(Picture(name, split, _size(root, path), things=list(_things(root, path, notes))))
    if not pictures:
        raise DataError(f"{annotations} has no XML file with an <annotation>")
    return Content(pictures)


def _lists(annotations: Path) -> dict[str, str]:
    """The split of each image by its name without ending, from the lists of the devkit; {} where there are none.

    trainval.txt and the lists of single categories repeat the images and are not read.
    """
    for home in (annotations, annotations.parent):
        if (home / LISTS).is_dir():
            lists = [path for path in sorted((home / LISTS).glob("*.txt")) if "_" not in path.stem]
            return {
                line.split()[0]: named_split(path.stem, str(path))
                for path in lists
                if path.stem != "trainval"
                for line in text_of(path).splitlines()
                if line.strip()
            }
    return {}


def _parsed(path: Path) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(files.read(path, ""))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path} is no XML file: {error}") from error


def _image_of(root: ElementTree.Element, path: Path, images: Path) -> str:
    """The image's name: beside the XML file, in the folder of images, or in JPEGImages; by its name, else its stem."""
    stated = name_of(_text(root, "filename") or path.stem, f"{path}: <filename>")
    stems = [path.with_suffix(ending).name for ending in IMAGES]
    for name in (stated, *stems):
        for folder in (path.parent, images, path.parent.parent / "JPEGImages", images / "JPEGImages"):
            inside = below(images, folder / name)
            if inside is not None and os.path.isfile(folder / name):
                return inside
    return below(images, path.parent / stated) or stated


def _size(root: ElementTree.Element, path: Path) -> Size | None:
    if root.find("size") is None:
        return None
    width, height = (_number(root, f"size/{side}", path) for side in ("width", "height"))
    return Size(int(width), int(height)) if width and height else None  # some tools write 0


def _things(root: ElementTree.Element, path: Path, notes: Notes) -> Iterator[Thing]:
    devkit = _text(root, "source/annotation").upper().startswith("PASCAL VOC")
    for thing in root.iter("object"):
        label = _text(thing, "name")
        if not label:
            raise DataError(f"{path}: an <object> has no <name>")
        left, top, right, bottom = (_number(thing, f"bndbox/{edge}", path) for edge in ("xmin", "ymin", "xmax", "ymax"))
        if devkit:
            left, top = left - 1, top - 1
        if right < left or bottom < top:
            notes.note("boxes with a negative side, left out", f"{path.name}: {label}")
            continue
        difficult = _text(thing, "difficult") not in ("", "0")
        if difficult:
            notes.note("objects marked difficult, never counted as missed", f"{path.name}: {label}")
        yield Thing(label, (left, top, right - left, bottom - top), crowd=difficult)


def _text(element: ElementTree.Element, path: str) -> str:
    return (element.findtext(path) or "").strip()


def _number(element: ElementTree.Element, path: str, file: Path) -> float:
    text = _text(element, path)
    try:
        number = float(text)
    except ValueError as error:
        raise DataError(f"{file}: <{path.replace('/', '><')}> is {text[:40]!r}; expected a number") from error
    if not math.isfinite(number):
        raise DataError(f"{file}: <{path.replace('/', '><')}> is {text!r}; expected a number")
    return number


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    if annotations.is_file():
        return [annotations]
    found = [annotations / name for name in listed(annotations, SUFFIXES)]
    lists = next((home / LISTS for home in (annotations, annotations.parent) if (home / LISTS).is_dir()), None)
    return found + (sorted(lists.glob("*.txt")) if lists is not None else [])
