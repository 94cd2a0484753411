"""The images of an engine as they are written: in order, some at a time, and with a digest of them all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from harness.data_engine import tables
from harness.data_engine.records import ImageRow
from harness.data_engine.tables import Row


class Ordered:
    """Images in the order of their references, and, once they were all yielded, their number and digest."""

    def __init__(self, images: Iterable[ImageRow]) -> None:
        self._images = sorted(images, key=_reference) if isinstance(images, Sequence) else images
        self.count = 0
        self._sha256 = hashlib.sha256(b"[")

    def groups(self, size: int) -> Iterator[list[Row]]:
        """The rows of `size` images at a time; ValueError for an image that is out of order."""
        images = iter(self._images)
        last = ""
        while group := list(islice(images, size)):
            for image in group:
                if image.reference < last:
                    raise ValueError(f"{image.reference} comes after {last}; images are in the order of references")
                last = image.reference
                said = json.dumps([image.reference, image.sha256], ensure_ascii=False, separators=(",", ":"))
                self._sha256.update((("," if self.count else "") + said).encode("utf-8", "surrogatepass"))
                self.count += 1
            yield list(map(tables.image_row, group))

    @property
    def digest(self) -> str:
        """What `records.digest` gives for the list of references and digests."""
        whole = self._sha256.copy()
        whole.update(b"]")
        return whole.hexdigest()[:24]


def _reference(image: ImageRow) -> str:
    return image.reference
