"""Images of data sets as JPEG files of bounded size.

Every picture is decoded and encoded again, so that no byte of a stranger's file reaches a browser.
"""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

from PIL import Image

from harness.core import ImageRef
from harness.images import open_rgb

LONG_SIDE = 1600  # pixels of a picture, at most
SMALL_SIDE = 320  # pixels of a picture in the grid, at most
QUALITY = 88


def name_of(root: Path, image: ImageRef) -> str:
    """The file name of a picture: a digest of its data root and its name."""
    named = image if isinstance(image, str) else image.name
    return hashlib.sha256(f"{root}\0{named}".encode("utf-8", "surrogatepass")).hexdigest()[:20] + ".jpg"


def jpeg(root: Path, image: ImageRef, side: int) -> bytes:
    """The image as a JPEG file whose long side has at most `side` pixels.

    DataError (BadImage) if the image is missing or cannot be decoded.
    """
    picture = open_rgb(root, image).copy()
    picture.info.clear()  # Pillow would write the comment of the file again
    picture.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()
