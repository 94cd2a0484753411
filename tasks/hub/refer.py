"""Forms of RefCOCO, RefCOCO+ and RefCOCOg: a row for each object, with its expressions."""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from tasks.hub.forms import Look, Row, from_corners, records, width_and_height

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
