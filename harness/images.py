"""An image reference to RGB; EXIF decided once.

A reference is a path relative to the data root.  Orientation tags are not applied: COCO's annotations (and those
of everything built on it) are in stored pixels.  A data set annotated in rotated pixels asks for `upright=True`.

Grey, palette, RGBA and CMYK images become RGB as Pillow converts them (alpha is dropped, as the published
processor drops it); 16-bit grey is scaled to 8 bits, where Pillow would cut it at 255; 32-bit integer and
float images have no agreed range and are refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.core import ImageRef
from harness.errors import DataError

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit begins with a warning; ours is below
MOST_PIXELS = 400_000_000


def open_rgb(root: Path, reference: ImageRef, *, upright: bool = False) -> Image.Image:
    """The image as 8-bit RGB; DataError where it is missing, corrupt or of a kind that has no agreed range."""
    path = root / reference
    try:
        with Image.open(path) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"it claims {image.width} x {image.height} pixels; at most {MOST_PIXELS:,} are decoded")
            image.load()
            return to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except FileNotFoundError as error:
        raise DataError(
            f"the image {path} is not there; `python -m harness data check` lists what is missing"
        ) from error
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, OverflowError, MemoryError) as error:
        raise DataError(f"the image {path} cannot be decoded: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Any 8-bit or 16-bit image as 8-bit RGB; DataError for 32-bit ones."""
    if image.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        grey = (np.asarray(image).astype(np.uint32) + 128) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise DataError(f"an image of mode {image.mode} has no agreed range; convert it to 8 or 16 bits first")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # Pillow warns of an alpha for each colour on the way to RGB
    return image if image.mode == "RGB" else image.convert("RGB")
