"""LVIS v1 as its authors publish it: COCO's instances format, with what each image is annotated for.

    {"images": [{"id": 397133, "coco_url": "http://images.cocodataset.org/val2017/000000397133.jpg",
                 "neg_category_ids": [279, ...], "not_exhaustive_category_ids": [914, ...], ...}],
     "categories": [{"id": 1, "name": "bow_(weapon)", "synonyms": ["bow_(weapon)"], "frequency": "r", ...}], ...}

An image has no file name: its folder and file are the end of `coco_url`.

A category is called as GLIP and Grounding DINO call it: without the part in parentheses and with spaces, so
`car_(automobile)` is "car".  Of the 1,203 categories, nine would then share a name with another one; these keep the
part in parentheses ("bow (weapon)"), and the short name is their other wording.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import msgspec

from harness.core import Federated, Reading, Vocabulary
from harness.data import detection, files
from harness.data.coco import File, Given, Id
from harness.data.detection import Annotated, Annotation


class _Image(detection.Image, kw_only=True):
    neg_category_ids: list[Given]
    not_exhaustive_category_ids: list[Given]
    coco_url: str
    file_name: str = ""


class _Category(detection.Category, kw_only=True):
    frequency: Literal["r", "c", "f"]
    synonyms: tuple[str, ...] = ()


class _Lvis(msgspec.Struct):
    images: list[_Image]
    annotations: list[Annotation]
    categories: list[_Category]


def read(path: Path, origin: str, reading: Reading | None = None) -> Iterator[Annotated]:
    """Every image with its objects, in order of image id; `file_name` is folder and file, and targets are Federated.

    Notes and errors are as for `detection.read`.  `iscrowd` is ignored, as by the official evaluator.  Also DataError
    where an image lists no categories that it is annotated for, or a category has no frequency.
    """
    content = files.load(path, _Lvis, origin)
    file = File(path, reading or Reading(strict=True), files.remedy(origin))
    short, full = [_short(each.name) for each in content.categories], [_full(each.name) for each in content.categories]
    count = Counter(name.lower() for name in short)
    texts = [one if count[one.lower()] == 1 else other for one, other in zip(short, full, strict=True)]
    named = [msgspec.structs.replace(each, name=text) for each, text in zip(content.categories, texts, strict=True)]
    for image in content.images:
        image.file_name = "/".join(image.coco_url.split("/")[-2:])
    places = {file.id(each.id, f"$.categories[{n}].id"): n for n, each in enumerate(content.categories)}
    absent = _listed(file, content.images, places, "neg_category_ids")
    incomplete = _listed(file, content.images, places, "not_exhaustive_category_ids")
    vocabulary: Vocabulary | None = None
    phrases = None
    for each in detection.annotated(file, content.images, content.annotations, named):
        if vocabulary is None or phrases is None:
            names = [phrase.text for phrase in each.phrases]
            vocabulary = Vocabulary(tuple(c.frequency for c in named), _synonyms(content.categories, names))
            phrases = tuple(
                phrase if phrase.text == said else replace(phrase, said=said)
                for phrase, said in zip(each.phrases, short, strict=True)
            )
        own = each.objects
        target = Federated(
            own.xywh,
            own.categories,
            own.areas,
            (False,) * len(own.crowd),
            own.ids,
            own.image,
            own.zero,
            absent=absent[each.id],
            incomplete=incomplete[each.id],
            vocabulary=vocabulary,
        )
        yield replace(each, phrases=phrases, objects=target)


def _listed(
    file: File, images: Sequence[_Image], places: Mapping[Id, int], field: str
) -> Mapping[str, tuple[int, ...]]:
    """The category numbers in a field of each image, by image id; categories not in the file are dropped."""
    listed = {}
    for number, image in enumerate(images):
        place = f"$.images[{number}].{field}"
        ids = [file.id(each, place) for each in getattr(image, field)]
        for each in ids:
            if each not in places:
                problem = f"has the category {each}, which the file does not list"
                file.note(f"categories of `{field}` that the file does not list, dropped", place, problem)
        listed[str(file.id(image.id, f"$.images[{number}].id"))] = tuple(places[each] for each in ids if each in places)
    return listed


def _synonyms(categories: Sequence[_Category], names: Sequence[str]) -> dict[str, str]:
    """The names of categories in lower case by their synonyms; none for a synonym of several categories."""
    owners: dict[str, set[str]] = {}
    for category, name in zip(categories, names, strict=True):
        for synonym in (category.name, *category.synonyms):
            for label in (_short(synonym), _full(synonym)):
                owners.setdefault(label.lower(), set()).add(name.lower())
    taken = {name.lower() for name in names}
    return {label: min(own) for label, own in owners.items() if len(own) == 1 and label not in taken}


def _full(name: str) -> str:
    """A name with spaces for underscores."""
    return " ".join(name.replace("_", " ").split())


def _short(name: str) -> str:
    """A name without its part in parentheses, if it has another part."""
    return _full(re.sub(r"\([^)]*\)", "", name)) or _full(name)
