"""Small engines for tests: images of one colour, origins and annotations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from harness.core import Box, Boxes, Size
from harness.data_engine.records import Annotation, ImageRow, Origin, Record

SIZE = Size(100, 80)
ONE = Origin(kind="specialist", name="one", fingerprint="1")
OTHER = Origin(kind="specialist", name="other", fingerprint="2")
THIRD = Origin(kind="specialist", name="third", fingerprint="3")
PERSON = Origin(kind="human", name="person", fingerprint="p")
ORIGINS = {origin.id: origin for origin in (ONE, OTHER, THIRD, PERSON)}
IMAGE = ImageRow(reference="a.png", sha256="a" * 64, size=SIZE)


def image_row(place: int) -> ImageRow:
    """An image without a file."""
    name = f"{place:03d}.png"
    return ImageRow(reference=name, sha256=hashlib.sha256(name.encode()).hexdigest(), size=SIZE)


def region(
    box: Box, label: str = "cat", score: float | None = 0.9, origin: Origin = ONE, image: ImageRow = IMAGE
) -> Annotation:
    """A region of an image; without a label, a proposal."""
    value = Boxes((box,), (label,) if label else ())
    return Annotation(image=image.sha256, kind="region", value=value, origin=origin.id, score=score)


def record(*annotations: Annotation) -> Record:
    """The record of the image with these annotations."""
    return Record(image=IMAGE, annotations=annotations)


def drawn(root: Path, count: int) -> Iterator[str]:
    """Writes images of `SIZE`, each of another colour; yields their names."""
    root.mkdir(parents=True, exist_ok=True)
    for place in range(count):
        name = f"{place:03d}.png"
        Image.new("RGB", SIZE, (place % 256, 7, 200)).save(root / name)
        yield name


def stages_of(record: Record) -> dict[str, tuple[str, str]]:
    """The status and the stage that hold, by the annotation's id."""
    return {id_: (verdict.status, verdict.stage) for id_, verdict in record.status().items()}


def kept_labels(record: Record) -> Sequence[str]:
    """The labels of kept regions, sorted."""
    return sorted(label for each in record.kept("region") for label in getattr(each.value, "labels", ()))
