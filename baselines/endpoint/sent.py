"""An image as it is sent to a server: the unchanged bytes of its file in a data URI, wherever servers read the format.

JPEG, PNG, WEBP and single-frame GIF files of 8 bits are sent as they are.  Every other image is decoded, as the
harness decodes images for its own models, and sent as PNG, which keeps every pixel value.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from harness.core import ImageRef, Question, Size
from harness.errors import DataError
from harness.images import FORMATS, MOST_PIXELS, UNDECODABLE, open_rgb, read_bytes

TAKEN = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "GIF": "image/gif"}
MODES = frozenset({"1", "L", "P", "RGB", "RGBA", "LA"})  # of 8 bits, which every server converts to RGB alike
ORIENTATION = 0x0112  # the tag of EXIF; 1 is upright
IN_PIXELS = frozenset({
    "detect", "find", "ground", "refer", "segment", "ocr_regions", "name", "describe", "outline", "read", "regions",
    "propose",
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class SentImage:
    """The bytes that are sent, their format, and the size of the image in pixels."""

    data: bytes
    format: str
    size: Size
    converted: bool  # from a file of another format
    turned: bool = False  # its EXIF says that it is to be shown turned

    @property
    def uri(self) -> str:
        """The image as a data URI."""
        return f"data:{TAKEN[self.format]};base64,{base64.b64encode(self.data).decode()}"

    @property
    def digest(self) -> str:
        """The size, and the start of the sha256 of the bytes."""
        return f"{self.size.width}x{self.size.height}:{hashlib.sha256(self.data).hexdigest()[:8]}"


def prepare(root: Path, reference: ImageRef) -> SentImage:
    """The image to send; DataError as `harness.images.open_rgb` for one that cannot be opened."""
    if isinstance(reference, str):
        data = read_bytes(root, reference)
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                small = image.width * image.height <= MOST_PIXELS
                if small and image.format in TAKEN and image.mode in MODES and getattr(image, "n_frames", 1) == 1:
                    image.load()  # a damaged file is found here, not by the server
                    turned = image.getexif().get(ORIENTATION, 1) != 1
                    return SentImage(data, image.format, Size(*image.size), False, turned)
        except UNDECODABLE:
            pass  # `open_rgb` says what is wrong
    opened = open_rgb(root, reference)
    out = BytesIO()
    opened.save(out, "PNG")
    return SentImage(out.getvalue(), "PNG", Size(*opened.size), True)


def refuse_other_size(question: Question, size: Size) -> None:
    """DataError if the answer would be in pixels, and the image has another size than its annotation says."""
    if question.kind in IN_PIXELS and question.size is not None and question.size != size:
        stated = f"{question.size.width}x{question.size.height}"
        name = question.image_name
        raise DataError(f"the image {name} is {size.width}x{size.height}; its annotation says {stated}")


@dataclass(slots=True)
class SentSoFar:
    """What was sent, for the record."""

    formats: Counter[str] = field(default_factory=Counter)
    converted: int = 0
    turned: int = 0
    bytes: int = 0
    smallest: Size | None = None
    largest: Size | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, image: SentImage) -> bool:
        """Counts an image; returns whether it is the first that is to be shown turned."""
        with self._lock:
            self.formats[image.format] += 1
            self.converted += image.converted
            self.turned += image.turned
            self.bytes += len(image.data)
            area = image.size.width * image.size.height
            if self.smallest is None or area < self.smallest.width * self.smallest.height:
                self.smallest = image.size
            if self.largest is None or area > self.largest.width * self.largest.height:
                self.largest = image.size
            return image.turned and self.turned == 1

    def described(self) -> dict[str, Any]:
        """The counts by name; sizes in pixels are the smallest and the largest that were sent."""
        sizes = [f"{size.width}x{size.height}" for size in (self.smallest, self.largest) if size is not None]
        return {
            "formats": dict(self.formats), "converted to PNG": self.converted, "with an orientation tag": self.turned,
            "bytes": self.bytes, "sizes": sizes,
        }  # fmt: skip
