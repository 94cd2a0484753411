"""Annotations by people, as an origin of their own: objects and captions of a file in COCO's format.

A box with its category becomes a region, its segmentation the region's outline, and a caption a brief text of the
image.  Filters never move or drop what people said.  A file that was changed is another version of the same origin,
and only the last one that was imported counts (`sources.earlier`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.core import Boxes, Polygons, Text
from harness.data import files
from harness.data_engine.records import OF_FILE, Annotation, ImageRow, Origin
from harness.errors import DataError
from harness.geometry import masks
from harness.geometry.boxes import area, from_xywh, is_plausible

Id = int | str


class _Image(msgspec.Struct):
    id: Id
    file_name: str
    width: float | None = None
    height: float | None = None


class _Record(msgspec.Struct):
    image_id: Id
    caption: str | None = None
    bbox: tuple[float, float, float, float] | None = None
    category_id: Id | None = None
    segmentation: Any = None
    iscrowd: float = 0


class _Category(msgspec.Struct):
    id: Id
    name: str


class _File(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Record]
    categories: list[_Category] = []


@dataclass
class CocoFile:
    """What people said in a file; `left_out` counts what `annotations` left out, by reason."""

    path: Path
    origin: Origin
    images: dict[str, _Image]  # by the name of their files
    left_out: Counter[str] = field(default_factory=Counter)
    _records: dict[Id, list[_Record]] = field(default_factory=dict, repr=False)
    _labels: dict[Id, str] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, path: Path, name: str, licence: str) -> CocoFile:
        """A file in COCO's format; `name` and `licence` are those of its origin.  DataError if it is malformed."""
        data = files.read(path, "")
        file = files.decode(data, _File, path)
        origin = Origin(
            kind="human", name=name, fingerprint=f"{OF_FILE}{hashlib.sha256(data).hexdigest()[:24]}", licence=licence
        )
        found = cls(path, origin, {image.file_name: image for image in file.images})
        if len(found.images) < len(file.images):
            raise DataError(f"{path} has two images with one file_name")
        found._labels = {category.id: category.name for category in file.categories}
        known = {image.id for image in file.images}
        for place, record in enumerate(file.annotations):
            where = f"{path}: $.annotations[{place}]"
            if record.image_id not in known:
                raise DataError(f"{where} is of the image {record.image_id!r}, which $.images lacks")
            if record.caption is None and record.category_id not in found._labels:
                raise DataError(f"{where} has the category {record.category_id!r}, which $.categories lacks")
            found._records.setdefault(record.image_id, []).append(record)
        return found

    def matched(self, references: Iterable[str]) -> dict[str, str]:
        """The file's name of each image that it has, by the image's reference.

        A name is that of a reference that equals it, else of one that ends in it, folder by folder.  DataError if no
        image has a name of the file, or two have one.
        """
        exact: dict[str, str] = {}
        tails: dict[str, list[str]] = {}
        for reference in references:
            if reference in self.images:
                exact[reference] = reference
                continue
            parts = reference.split("/")
            names = ["/".join(parts[at:]) for at in range(1, len(parts))]
            if name := next((name for name in names if name in self.images), None):
                tails.setdefault(name, []).append(reference)
        for name, found in tails.items():
            if name not in exact:
                if len(found) > 1:
                    raise DataError(f"{self.path}: the image {name} may be {found[0]} or {found[1]}; name the folder")
                exact[found[0]] = name
        if not exact:
            first = next(iter(self.images), "none")
            raise DataError(f"{self.path} has none of the engine's images; its first is {first}")
        self.left_out["images that the engine lacks"] += len(self.images) - len(exact)
        return exact

    def annotations(self, name: str, row: ImageRow) -> Iterator[Annotation]:
        """What the file says of an image; boxes without area, crowds and outlines of nothing are left out."""
        image = self.images[name]
        if (image.width, image.height) not in (tuple(row.size), (None, None)):
            self.left_out["images of another size"] += 1
            return
        for record in self._records.get(image.id, ()):
            if record.caption is not None:
                if record.caption.strip():
                    yield self._annotation(row, "text", Text((record.caption.strip(),)), length="brief")
                else:
                    self.left_out["empty captions"] += 1
            elif record.iscrowd:
                self.left_out["crowds"] += 1
            elif record.bbox is None or not is_plausible(from_xywh(record.bbox)) or not area(from_xywh(record.bbox)):
                self.left_out["boxes without area"] += 1
            else:
                label = self._labels[record.category_id]  # type: ignore[index]  # checked by `read`
                region = self._annotation(row, "region", Boxes((from_xywh(record.bbox),), (label,) if label else ()))
                yield region
                yield from self._outline(row, record, region)

    def _outline(self, row: ImageRow, record: _Record, region: Annotation) -> Iterator[Annotation]:
        if not record.segmentation:
            return
        try:
            value = masks.from_coco(record.segmentation, row.size)
        except ValueError:
            self.left_out["outlines that cannot be read"] += 1
            return
        if isinstance(value, Polygons) and not masks.is_drawable(value):
            self.left_out["outlines that cannot be read"] += 1
            return
        yield self._annotation(row, "outline", value, parents=(region.id,))

    def _annotation(self, row: ImageRow, kind: Any, value: Any, **more: Any) -> Annotation:
        return Annotation(image=row.sha256, kind=kind, value=value, origin=self.origin.id, **more)
