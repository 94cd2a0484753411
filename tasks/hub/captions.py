"""Forms of images with captions: Karpathy's splits of COCO, nocaps and TextCaps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from harness.core import Size
from tasks.hub.forms import Json, Look, Row, width_and_height


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
