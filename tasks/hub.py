"""Copies of data sets on the hub, by the table hub.toml, and how their rows become official annotation files.

A form takes the rows of a split one by one, and then returns the annotation files as the tasks' own readers expect
them.  So samples, ids and targets are those of the official files where the copy has them.
"""

from __future__ import annotations

import pickle
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import msgspec

from harness.core import Size

VERSION = 1  # of the forms: raised whenever the files that they write change
Row = dict[str, Any]
Look = Callable[[], Size]  # the size of the row's image, read from its header


class Copy(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of a data set: a row of hub.toml, which documents the fields."""

    repo: str
    form: str
    splits: dict[str, str]
    columns: dict[str, str]
    sources: tuple[str, ...]
    image: str = "image"
    settings: dict[str, Any] = {}
    tasks: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    not_official: dict[str, str] = {}
    lacks: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """What decides the files that the rows become, as text."""
        read = (self.form, self.splits, self.columns, self.image, self.settings)
        return f"{VERSION} {msgspec.json.encode(read, order='sorted').decode()}"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    copies: tuple[Copy, ...]
    none: dict[str, str]


@cache
def table() -> _File:
    """The table of copies, and the tasks without one."""
    content = tomllib.loads(Path(__file__).with_name("hub.toml").read_text("utf-8"))
    return msgspec.convert(content, _File)


class Form(Protocol):
    """Collects the rows of a split."""

    def add(self, row: Row, look: Look) -> str:
        """Takes a row and returns its image's reference below the data root; ValueError for a malformed row."""
        ...

    def files(self) -> Mapping[str, bytes]:
        """The annotation files by path below the data root."""
        ...


def form_of(copy: Copy, split: str) -> Form:
    """The form of a copy for a split of the task."""
    return FORMS[copy.form](split, **copy.settings)


# ---------------------------------------------------------------------------- JSON


@dataclass(slots=True)
class Json:
    """A JSON object of lists, whose records are kept encoded."""

    lists: dict[str, list[bytes]]

    @classmethod
    def of(cls, *names: str) -> Json:
        """Empty lists of these names."""
        return cls({name: [] for name in names})

    def add(self, name: str, record: Mapping[str, Any]) -> None:
        """Appends a record to a list."""
        self.lists[name].append(msgspec.json.encode(record))

    def encoded(self) -> bytes:
        """The object."""
        return b"{" + b",".join(b'"%s":%s' % (name.encode(), array(of)) for name, of in self.lists.items()) + b"}"


def array(records: Sequence[bytes]) -> bytes:
    """A JSON array of encoded records."""
    return b"[" + b",\n".join(records) + b"]"


def records(value: Any) -> list[Row]:
    """A list of records, which parquet files also hold as a record of lists; ValueError for lists of other lengths."""
    if isinstance(value, dict):
        return [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    return value or []


def width_and_height(size: Size) -> dict[str, int]:
    """The fields of an image's size in COCO's format."""
    return {"width": size.width, "height": size.height}


def from_corners(corners: Sequence[float]) -> list[float]:
    """[x, y, width, height] of two corners; sides have two decimals, as in COCO's files."""
    left, top, right, bottom = corners
    return [left, top, round(right - left, 2), round(bottom - top, 2)]


# ---------------------------------------------------------------------------- RefCOCO

_OBJECT = re.compile(r"(COCO_train2014_(\d{12}))_\d+\.jpg")  # the name of an object is that of its image and a number


class _Refer(msgspec.Struct):
    answer: list[str]
    bbox: tuple[float, float, float, float]
    file_name: str


@dataclass(slots=True)
class Refer:
    """A row for each object, with its expressions; ids are numbered in the order of the rows."""

    split: str
    folder: str
    by: str
    refs: list[Row] = field(default_factory=list)
    sentences: int = 0
    images: dict[int, Row] = field(default_factory=dict)
    annotations: list[Row] = field(default_factory=list)

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _Refer)
        matched = _OBJECT.fullmatch(given.file_name)
        if matched is None:
            raise ValueError(f"file_name is {given.file_name!r}; expected COCO_train2014_<12 digits>_<number>.jpg")
        said = [{"sent_id": self.sentences + place, "sent": text} for place, text in enumerate(given.answer)]
        self.sentences += len(said)
        number = int(matched[2])
        if number not in self.images:
            self.images[number] = {"id": number, "file_name": f"{matched[1]}.jpg", **width_and_height(look())}
        self.put(len(self.refs), len(self.refs), number, said, given.bbox)
        return f"coco/train2014/{matched[1]}.jpg"

    def put(self, ref: int, annotation: int, image: int, said: list[Row], bbox: Sequence[float]) -> None:
        """Adds an object with its expressions."""
        ids = {"ref_id": ref, "ann_id": annotation, "image_id": image}
        self.refs.append({**ids, "split": self.split, "sentences": said})
        self.annotations.append({"id": annotation, "image_id": image, "bbox": bbox, "segmentation": []})

    def files(self) -> Mapping[str, bytes]:
        """The pickle of refs and instances.json."""
        content = {"images": list(self.images.values()), "annotations": self.annotations}
        return {
            f"refer/{self.folder}/refs({self.by}).p": pickle.dumps(self.refs, protocol=2),
            f"refer/{self.folder}/instances.json": msgspec.json.encode(content),
        }


class _Said(msgspec.Struct):
    sent_id: int
    sent: str


class _Image(msgspec.Struct):
    file_name: str
    width: int
    height: int


class _ReferWithIds(msgspec.Struct):
    ref_id: int
    ann_id: int
    image_id: int
    sentences: list[_Said]
    bbox: tuple[float, float, float, float]
    raw_image_info: str


class ReferWithIds(Refer):
    """A row for each object, with the toolkit's ids, its box as two corners, and no image."""

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert({**row, "sentences": records(row["sentences"]) or None}, _ReferWithIds)
        image = msgspec.json.decode(given.raw_image_info, type=_Image)
        self.images[given.image_id] = {"id": given.image_id, **msgspec.structs.asdict(image)}
        said = [msgspec.structs.asdict(each) for each in given.sentences]
        self.put(given.ref_id, given.ann_id, given.image_id, said, from_corners(given.bbox))
        return f"coco/train2014/{image.file_name}"


# ---------------------------------------------------------------------------- captions


class _KarpathySentence(msgspec.Struct):
    raw: str
    sentid: int


class _Karpathy(msgspec.Struct):
    filepath: str
    filename: str
    cocoid: int
    sentences: _KarpathySentence


@dataclass(slots=True)
class Karpathy:
    """A row for each caption of one of Karpathy's splits of COCO."""

    split: str
    images: dict[int, Row] = field(default_factory=dict)

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _Karpathy)
        names = {"split": self.split, "filepath": given.filepath, "filename": given.filename, "cocoid": given.cocoid}
        image = self.images.setdefault(given.cocoid, {**names, "sentences": []})
        image["sentences"].append(msgspec.structs.asdict(given.sentences))
        return f"coco/{given.filepath}/{given.filename}"

    def files(self) -> Mapping[str, bytes]:
        """Karpathy's file, and the same captions in the form in which BLIP publishes a split."""
        content = Json.of("images", "annotations")
        for number, image in self.images.items():
            content.add("images", {"id": number, "file_name": image["filename"]})
            for sentence in image["sentences"]:
                content.add("annotations", {"image_id": number, "caption": sentence["raw"]})
        return {
            "coco/dataset_coco.json": msgspec.json.encode({"images": list(self.images.values())}),
            f"coco/coco_karpathy_{self.split}_gt.json": content.encoded(),
        }


class _Nocaps(msgspec.Struct):
    image_id: int
    image_file_name: str
    image_width: int
    image_height: int
    annotations_captions: list[str]


@dataclass(slots=True)
class Nocaps:
    """A row for each image of nocaps, with its captions."""

    split: str
    content: Json = field(default_factory=lambda: Json.of("images", "annotations"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _Nocaps)
        size = width_and_height(Size(given.image_width, given.image_height))
        self.content.add("images", {"id": given.image_id, "file_name": given.image_file_name, **size})
        for caption in given.annotations_captions:
            self.content.add("annotations", {"image_id": given.image_id, "caption": caption})
        return f"nocaps/val/{given.image_file_name}"

    def files(self) -> Mapping[str, bytes]:
        """The file of captions in COCO's format."""
        return {"nocaps/nocaps_val_4500_captions.json": self.content.encoded()}


class _TextCaps(msgspec.Struct):
    image_id: str
    image_width: int
    image_height: int
    reference_strs: list[str]


@dataclass(slots=True)
class TextCaps:
    """A row for each image of TextCaps, with its captions."""

    split: str
    content: Json = field(default_factory=lambda: Json.of("data"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _TextCaps)
        self.content.add("data", msgspec.structs.asdict(given))
        return f"textvqa/train_images/{given.image_id}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The file of the split."""
        return {f"textcaps/TextCaps_0.1_{self.split}.json": self.content.encoded()}


# ---------------------------------------------------------------------------- questions


class _TextVqa(msgspec.Struct):
    image_id: str
    question_id: int
    question: str
    answers: list[str] | None
    image_width: int
    image_height: int


@dataclass(slots=True)
class TextVqa:
    """A row for each question of TextVQA; the answers of test are not published."""

    split: str
    content: Json = field(default_factory=lambda: Json.of("data"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _TextVqa)
        entry = msgspec.structs.asdict(given)
        self.content.add("data", {**entry, "answers": None if self.split == "test" else given.answers})
        return f"textvqa/{'test_images' if self.split == 'test' else 'train_images'}/{given.image_id}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The file of the split."""
        return {f"textvqa/TextVQA_0.5.1_{self.split}.json": self.content.encoded()}


class _VizWiz(msgspec.Struct):
    question_id: str
    question: str
    answers: list[str] | None


@dataclass(slots=True)
class VizWiz:
    """A row for each question of VizWiz, named after its image; the answers of test are not published."""

    split: str
    entries: list[bytes] = field(default_factory=list)

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert(row, _VizWiz)
        entry: Row = {"image": f"{given.question_id}.jpg", "question": given.question, "answerable": None}
        if self.split != "test":
            entry["answers"] = [{"answer": answer} for answer in given.answers or ()]
        self.entries.append(msgspec.json.encode(entry))
        return f"vizwiz/{self.split}/{given.question_id}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The file of the split."""
        return {f"vizwiz/Annotations/{self.split}.json": array(self.entries)}


class _VqaAnswer(msgspec.Struct):
    answer: str
    answer_id: int


class _VqaV2(msgspec.Struct):
    question_id: int
    image_id: int
    question: str
    question_type: str | None
    answer_type: str | None
    answers: list[_VqaAnswer]


@dataclass(slots=True)
class VqaV2:
    """A row for each question of VQA v2; the answers of test-dev and test-std are not published."""

    split: str
    questions: Json = field(default_factory=lambda: Json.of("questions"))
    annotations: Json = field(default_factory=lambda: Json.of("annotations"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert({**row, "answers": records(row["answers"])}, _VqaV2)
        ids = {"question_id": given.question_id, "image_id": given.image_id}
        self.questions.add("questions", {**ids, "question": given.question})
        if self.split == "val":
            types = {"question_type": given.question_type, "answer_type": given.answer_type}
            answers = [msgspec.structs.asdict(answer) for answer in given.answers]
            self.annotations.add("annotations", {**ids, **types, "answers": answers})
        year = "val2014" if self.split == "val" else "test2015"
        return f"coco/{year}/COCO_{year}_{given.image_id:012d}.jpg"

    def files(self) -> Mapping[str, bytes]:
        """The questions, and the annotations of val."""
        name = {"val": "val2014", "test-dev": "test-dev2015", "test-std": "test2015"}[self.split]
        files = {f"vqav2/v2_OpenEnded_mscoco_{name}_questions.json": self.questions.encoded()}
        if self.split == "val":
            files[f"vqav2/v2_mscoco_{name}_annotations.json"] = self.annotations.encoded()
        return files


# ---------------------------------------------------------------------------- detection


class _Object(msgspec.Struct):
    category: int
    bbox: tuple[float, float, float, float]
    area: float


class _Detection(msgspec.Struct):
    image_id: int
    width: int
    height: int
    objects: list[_Object]


@dataclass(slots=True)
class Detection:
    """A row for each image of COCO 2017, with its objects: boxes are two corners, categories numbers from 0."""

    split: str
    names: Sequence[str]
    ids: Sequence[int]
    content: Json = field(default_factory=lambda: Json.of("images", "annotations", "categories"))

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        given = msgspec.convert({**row, "objects": records(row["objects"])}, _Detection)
        name = f"{given.image_id:012d}.jpg"
        size = width_and_height(Size(given.width, given.height))
        self.content.add("images", {"id": given.image_id, "file_name": name, **size})
        for each in given.objects:
            if not 0 <= each.category < len(self.ids):
                raise ValueError(f"an object has the category {each.category}; there are {len(self.ids)}")
            number = len(self.content.lists["annotations"]) + 1  # COCOeval never counts an object with the id 0
            ids = {"id": number, "image_id": given.image_id, "category_id": self.ids[each.category]}
            self.content.add("annotations", {**ids, "bbox": from_corners(each.bbox), "area": each.area, "iscrowd": 0})
        return f"coco/{self.split}/{name}"

    def files(self) -> Mapping[str, bytes]:
        """The file of instances."""
        self.content.lists["categories"] = [
            msgspec.json.encode({"id": number, "name": name}) for number, name in zip(self.ids, self.names, strict=True)
        ]
        return {f"coco/annotations/instances_{self.split}.json": self.content.encoded()}


# ---------------------------------------------------------------------------- images


@dataclass(slots=True)
class ImagesOnly:
    """A row for each image, whose annotations are given otherwise; `reference` is a template over the row."""

    split: str
    reference: str

    def add(self, row: Row, look: Look) -> str:
        """Takes a row."""
        return self.reference.format(**msgspec.convert(row, dict[str, str | int]))

    def files(self) -> Mapping[str, bytes]:
        """None."""
        return {}


FORMS: Mapping[str, Callable[..., Form]] = {
    "refer": Refer,
    "refer_with_ids": ReferWithIds,
    "karpathy": Karpathy,
    "nocaps": Nocaps,
    "textcaps": TextCaps,
    "textvqa": TextVqa,
    "vizwiz": VizWiz,
    "vqav2": VqaV2,
    "detection": Detection,
    "images_only": ImagesOnly,
}
