"""Forms of images with objects, and of images alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from harness.core import Size
from tasks.hub.forms import Json, Look, Row, from_corners, records, width_and_height


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
