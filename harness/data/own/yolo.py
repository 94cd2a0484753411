"""YOLO's format as Ultralytics, Roboflow and CVAT write it: data.yaml, and a text file of objects for each image.

    data.yaml            names: [cat, dog] or {0: cat, 1: dog};  path, train, val, test: folders or lists of images
    images/val/1.jpg     labels/val/1.txt      or      valid/images/1.jpg      valid/labels/1.txt
    labels/val/1.txt     class cx cy w h       a box, relative to the image's sides
                         class x1 y1 x2 y2 ... an outline of three points or more

An image without a text file, or with an empty one, has no objects.  Keypoints (`kpt_shape` in data.yaml) are not read.
Without data.yaml, the names are the lines of classes.txt, and folders name the splits.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from harness.core import Size
from harness.data.own.content import SPLITS, Content, Flat, Notes, Picture, Thing, bounds, split_of
from harness.data.own.listing import IMAGES, below, full_text_of, listed, name_of, text_of
from harness.data.own.looking import size_of
from harness.errors import DataError

MOST_YAML = 1 << 20  # bytes
SUFFIXES = (".txt", ".yaml", ".yml")  # of source files


class _Yaml(msgspec.Struct):
    names: list[str | int] | dict[int, str | int]
    path: str | None = None
    train: str | list[str] | None = None
    val: str | list[str] | None = None
    test: str | list[str] | None = None
    kpt_shape: list[int] | None = None


def read(annotations: Path, images: Path, notes: Notes) -> Content:
    """The content of a data.yaml, or of a folder with a data.yaml or a classes.txt.

    Sizes are read from the images, since labels are relative to them; an image that cannot be read is left out.
    DataError for a malformed file or line.
    """
    path = _described(annotations)
    if path.name == "classes.txt":
        names = [line.strip() for line in full_text_of(path).splitlines() if line.strip()]
        pairs = [(name, split_of(name)) for name in listed(images, IMAGES)]
        keypoints = False
    else:
        names, pairs, keypoints = _of_yaml(path, images, notes)
    if len(set(names)) < len(names) or not all(names):
        raise DataError(f"{path}: two categories have the same name, or one has none")
    pictures = []
    for name, split in pairs:
        size = size_of(images, name, notes)
        if size is not None:
            things = list(_things(images / label_of(name), names, size, notes, keypoints))
            pictures.append(Picture(name, split, size, things=things))
    return Content(pictures, names)


def label_of(name: str) -> str:
    """The text file of an image: the last folder `images` becomes `labels`; else beside the image."""
    parts = name.rpartition(".")[0].split("/")
    folders = [place for place, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return f"{'/'.join(parts)}.txt"


def _described(annotations: Path) -> Path:
    """The data.yaml or classes.txt that `annotations` is, or holds."""
    if annotations.is_file():
        return annotations
    for name in ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "labels/classes.txt"):
        if (annotations / name).is_file():
            return annotations / name
    others = listed(annotations, (".yaml", ".yml"), deep=False)
    if len(others) == 1:
        return annotations / others[0]
    raise DataError(
        f"{annotations} has neither a data.yaml nor a classes.txt with the names of the categories; "
        "name the file by --annotations"
    )


def _of_yaml(path: Path, images: Path, notes: Notes) -> tuple[list[str], list[tuple[str, str]], bool]:
    """The category names, each image with its split, and whether labels have keypoints."""
    text = full_text_of(path)
    if len(text) > MOST_YAML:
        raise DataError(f"{path} has more than {MOST_YAML:,} characters; a data.yaml is small")
    try:
        content = msgspec.yaml.decode(text, type=_Yaml)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not as expected: {' '.join(str(error).split())}") from error
    if isinstance(content.names, dict):
        if sorted(content.names) != list(range(len(content.names))):
            raise DataError(f"{path}: the numbers of `names` are {sorted(content.names)[:9]}; they count from 0")
        names = [str(content.names[number]) for number in sorted(content.names)]
    else:
        names = [str(name) for name in content.names]
    pairs: dict[str, str] = {}
    for split, value in (("train", content.train), ("val", content.val), ("test", content.test)):
        for each in [value] if isinstance(value, str) else value or ():
            for name in _images_of(each, path, content.path or "", images, notes):
                if pairs.setdefault(name, SPLITS[split]) != SPLITS[split]:
                    notes.note("images of two splits, kept in the first", name)
    if not pairs:
        raise DataError(f"{path} names no folder of images that is below {images}: train, val or test; see --images")
    return names, sorted(pairs.items()), content.kpt_shape is not None


def _images_of(value: str, path: Path, base: str, images: Path, notes: Notes) -> Iterator[str]:
    """The images of a folder, or of a list, that data.yaml names; what is not there is noted.

    Roboflow writes ../train/images for the folder beside data.yaml, so `../` is tried without it, as Ultralytics does.
    """
    home = path.parent
    plain = value.replace("\\", "/")
    tried = [home / base / plain, home / plain, home / plain.removeprefix("../"), images / plain]
    for candidate in tried:
        name = below(images, candidate)
        if name is None or not os.path.exists(candidate):
            continue
        if candidate.is_dir():
            yield from (f"{name}/{image}" if name != "." else image for image in listed(candidate, IMAGES))
            return
        for number, line in enumerate(text_of(candidate).splitlines(), start=1):
            if line.strip():
                yield _listed_image(line.strip(), candidate, home / base, images, f"{candidate} line {number}")
        return
    notes.note(f"folders of {path.name} that are not there or not below {images}, left out", value)


def _listed_image(line: str, path: Path, base: Path, images: Path, place: str) -> str:
    """The name of an image in a list: relative to the list with ./, as Ultralytics reads it, else to `path`."""
    plain = line.replace("\\", "/")
    for candidate in (path.parent / plain, base / plain, images / plain):
        name = below(images, candidate)
        if name is not None and os.path.isfile(candidate):
            return name
    return name_of(plain, place)


def _things(path: Path, names: list[str], size: Size, notes: Notes, keypoints: bool) -> Iterator[Thing]:
    """The objects of a text file; none where there is no file."""
    if not path.is_file():
        return
    for number, line in enumerate(text_of(path).splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        place = f"{path.name} line {number}"
        try:
            category, numbers = float(words[0]), [float(word) for word in words[1:]]
        except ValueError as error:
            raise DataError(f"{path} line {number} is no class with numbers: {line[:60]!r}") from error
        if keypoints:
            numbers = numbers[:4]
        is_box = len(numbers) == 4
        if not (is_box or (len(numbers) >= 6 and len(numbers) % 2 == 0)) or not all(map(math.isfinite, numbers)):
            raise DataError(
                f"{path} line {number} has {len(numbers)} numbers after the class; a box has 4, an outline 6, 8, ..."
            )
        if not (category.is_integer() and 0 <= category < len(names)):
            notes.note(f"objects of a class that is not among the {len(names)} names, left out", f"{place}: {words[0]}")
            continue
        label = names[int(category)]
        if is_box:
            x, y, width, height = numbers
            if width < 0 or height < 0:
                notes.note("boxes with a negative side, left out", place)
                continue
            box = ((x - width / 2) * size.width, (y - height / 2) * size.height)
            yield Thing(label, (*box, width * size.width, height * size.height))
        else:
            sides = (size.width, size.height)
            ring: Flat = tuple(value * sides[place % 2] for place, value in enumerate(numbers))
            yield Thing(label, bounds([ring]), (ring,))


def sources(annotations: Path, images: Path) -> list[Path]:
    """The files that the content comes from."""
    path = _described(annotations)
    return [path, *(images / name for name in listed(images, SUFFIXES) if images / name != path)]
