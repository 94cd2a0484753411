"""Records and annotations for tests of the data engine's stages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.core import Box, Boxes, Size, Text
from harness.data_engine.records import Annotation, ImageRow, Length, Origin, Record

IMAGE = "0" * 64
CAPTIONER = Origin(kind="specialist", name="captioner", fingerprint="c1")
DETECTOR = Origin(kind="specialist", name="detector", fingerprint="d1")
GROUNDER = Origin(kind="specialist", name="grounder", fingerprint="g1")
PERSON = Origin(kind="human", name="annotators", fingerprint="coco")
ORIGINS = {origin.id: origin for origin in (CAPTIONER, DETECTOR, GROUNDER, PERSON)}


def text(words: str, length: Length = "brief", origin: Origin = CAPTIONER, **fields: Any) -> Annotation:
    """A text of the image, or of the region that `parents` names."""
    return Annotation(image=IMAGE, kind="text", value=Text((words,)), origin=origin.id, length=length, **fields)


def region(box: Box, label: str = "", origin: Origin = DETECTOR, **fields: Any) -> Annotation:
    """A region with a label, or a proposal."""
    value = Boxes((box,), (label,) if label else ())
    return Annotation(image=IMAGE, kind="region", value=value, origin=origin.id, **fields)


def phrase(of: Annotation, words: str, *boxes: Box, origin: Origin = GROUNDER, **fields: Any) -> Annotation:
    """The boxes of the first place in a text that has these words."""
    assert isinstance(of.value, Text)
    start = of.value.texts[0].index(words)
    value = Boxes(boxes, (words,) * len(boxes))
    fields = {"span": (start, start + len(words)), "parents": (of.id,), **fields}
    return Annotation(image=IMAGE, kind="phrase", value=value, origin=origin.id, **fields)


def record(*annotations: Annotation, size: Size = Size(100, 100)) -> Record:  # noqa: B008  # a tuple
    """A record of one image."""
    return Record(image=ImageRow(reference="a.png", sha256=IMAGE, size=size), annotations=annotations)


def reasons(record: Record) -> dict[str, str]:
    """The verdicts that hold: annotation id to stage and rule."""
    return {id_: verdict.stage for id_, verdict in record.status().items()}


def statuses(record: Record, annotations: Sequence[Annotation]) -> list[str]:
    """The status of each annotation; "kept" without a verdict."""
    held = record.status()
    return [held[each.id].status if each.id in held else "kept" for each in annotations]
