"""A `Content` as official files, which the readers of the official tasks read.

    detect/<split>.json                       COCO's instances
    caption/<split>.json                      COCO's captions
    vqa/<split>.json                          TextVQA's questions, with ten answers each
    refer/refs(own).p, instances.json         the refer toolkit's refs of all splits, with boxes
    segment/refs(own).p, instances.json       likewise, of the expressions with an outline

An image has one number in all files: its place in the content, from 1.  `area` is that of the outline, else of the box.
A question with one answer has it ten times, so that VQA's accuracy is 1 for the answer and 0 for any other.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from harness.data.own.content import CocoFile, Content, Picture, Said, Thing
from harness.data.vqa import ANSWERS
from harness.geometry.masks import area, from_coco, rasterise

REFS = "refs(own).p"
Written = dict[str, list[str]]  # the splits of each task


def write(content: Content, folder: Path) -> Written:
    """Writes the files of every task that the content fits, and returns the splits of each; {} where it fits none."""
    numbers = {name: number for number, name in enumerate(dict.fromkeys(p.name for p in content.pictures), start=1)}
    written: Written = {}
    for (kind, split), file in content.official.items():
        kept = {picture.name for picture in content.pictures if picture.split == split}
        _put(folder / kind / f"{split}.json", _only(file, kept))
        written.setdefault(kind, []).append(split)
    if content.official:
        return written
    names = content.categories or sorted({thing.label for p in content.pictures for thing in p.things or ()})
    for split in dict.fromkeys(picture.split for picture in content.pictures):
        pictures = [picture for picture in content.pictures if picture.split == split]
        captioned = [picture for picture in pictures if picture.captions]
        annotated = [picture for picture in pictures if picture.things is not None]
        asked = [picture for picture in pictures if picture.asked]
        if names and annotated:
            _put(folder / f"detect/{split}.json", _instances(annotated, names, numbers))
            written.setdefault("detect", []).append(split)
        if captioned:
            _put(folder / f"caption/{split}.json", _captions(captioned, numbers))
            written.setdefault("caption", []).append(split)
        if asked:
            _put(folder / f"vqa/{split}.json", _questions(asked))
            written.setdefault("vqa", []).append(split)
    for kind in ("refer", "segment"):
        said = [(p, each) for p in content.pictures for each in p.said if kind == "refer" or each.rings]
        if said:
            _put_refs(folder / kind, said, numbers)
            written[kind] = list(dict.fromkeys(picture.split for picture, _ in said))
    return written


def _put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(value))


class _Id(msgspec.Struct):
    id: msgspec.Raw


class _ImageId(msgspec.Struct):
    image_id: msgspec.Raw


def _only(file: CocoFile, kept: set[str]) -> dict[str, Any]:
    """The file with the images whose name is kept, and their annotations; those of unlisted images stay, as notes."""
    images = [image for image in file.images if msgspec.json.decode(image["file_name"], type=str) in kept]
    gone = {bytes(image["id"]) for image in file.images} - {bytes(image["id"]) for image in images}
    annotations = [
        raw for raw in file.annotations if bytes(msgspec.json.decode(raw, type=_ImageId).image_id) not in gone
    ]
    value: dict[str, Any] = {"images": images, "annotations": annotations}
    return value if file.categories is None else {**value, "categories": file.categories}


def _images(pictures: Sequence[Picture], numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """The records of the images of a file in COCO's format, each once."""
    once = {picture.name: picture for picture in pictures}
    return [
        {"id": numbers[name], "file_name": name, "width": picture.size.width, "height": picture.size.height}
        for name, picture in once.items()
        if picture.size is not None
    ]


def _instances(pictures: Sequence[Picture], names: Sequence[str], numbers: Mapping[str, int]) -> dict[str, Any]:
    categories = {name: number for number, name in enumerate(names, start=1)}
    annotations: list[dict[str, Any]] = []
    for picture in pictures:
        for thing in picture.things or ():
            annotations.append({
                "id": len(annotations) + 1, "image_id": numbers[picture.name], "category_id": categories[thing.label],
                "bbox": thing.xywh, "area": _area(thing, picture), "iscrowd": int(thing.crowd),
                "segmentation": thing.rings,
            })  # fmt: skip
    listed = [{"id": number, "name": name} for name, number in categories.items()]
    return {"images": _images(pictures, numbers), "annotations": annotations, "categories": listed}


def _area(thing: Thing, picture: Picture) -> float:
    if thing.rings and picture.size is not None:
        return float(area(rasterise(from_coco([list(ring) for ring in thing.rings], picture.size), picture.size)))
    return thing.xywh[2] * thing.xywh[3]


def _captions(pictures: Sequence[Picture], numbers: Mapping[str, int]) -> dict[str, Any]:
    annotations = [
        {"image_id": numbers[picture.name], "caption": caption} for picture in pictures for caption in picture.captions
    ]
    return {"images": _images(pictures, numbers), "annotations": annotations}


def _questions(pictures: Sequence[Picture]) -> dict[str, Any]:
    asked = [(picture, each) for picture in pictures for each in picture.asked]
    return {
        "data": [
            {
                "question_id": number, "image_id": picture.name, "question": each.text, "answers": _ten(each.answers),
                **({"image_width": picture.size.width, "image_height": picture.size.height} if picture.size else {}),
            }
            for number, (picture, each) in enumerate(asked, start=1)
        ]
    }  # fmt: skip


def _ten(answers: Sequence[str]) -> list[str]:
    return list(answers) * (ANSWERS // len(answers))


def _put_refs(folder: Path, said: Iterable[tuple[Picture, Said]], numbers: Mapping[str, int]) -> None:
    """Writes refs and instances: a ref with one sentence for each expression."""
    refs, annotations, pictures = [], [], []
    for number, (picture, each) in enumerate(said, start=1):
        image = numbers[picture.name]
        sentence = {"sent_id": number, "sent": each.text}
        refs.append({
            "ref_id": number, "ann_id": number, "image_id": image, "split": picture.split, "sentences": [sentence]
        })  # fmt: skip
        annotations.append({"id": number, "image_id": image, "bbox": each.xywh, "segmentation": each.rings})
        pictures.append(picture)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / REFS).write_bytes(pickle.dumps(refs, protocol=2))
    _put(folder / "instances.json", {"images": _images(pictures, numbers), "annotations": annotations})
