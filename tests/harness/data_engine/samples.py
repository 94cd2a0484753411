"""A few records in memory, over images of the embedded benchmark, with every kind of annotation."""

from __future__ import annotations

from pathlib import Path

from harness.core import Boxes, Polygons, Quads, Text
from harness.data_engine.images import read_row
from harness.data_engine.records import Annotation, Origin, Record, Verdict

PERSON = Origin(kind="human", name="people", fingerprint="v1", licence="CC-BY-4.0")
DETECTOR = Origin(kind="specialist", name="detector", fingerprint="weights abc", licence="Apache-2.0")
CAPTIONER = Origin(kind="model", name="captioner", fingerprint="weights def", round=1, licence="MIT")
ORIGINS = {origin.id: origin for origin in (PERSON, DETECTOR, CAPTIONER)}
TEXT = "A red <b>car</b> & a small house 🏠 by the sea."
PHRASE = "a small house"


def record(root: Path, reference: str, place: int = 0, licence: str = "CC-BY-4.0") -> Record:
    """A record with eleven annotations: two are dropped, one is merged into another."""
    image = read_row(root, reference, source="drawn", licence=licence)
    width, height = image.size
    shift = float(place % 7)

    def made(**fields: object) -> Annotation:
        return Annotation(image=image.sha256, **fields)  # type: ignore[arg-type]

    car = made(
        kind="region", value=Boxes(((10.5 + shift, 20.0, 60.25, 70.0),), ("car",)), origin=DETECTOR.id,
        score=0.5 + shift / 20,
    )  # fmt: skip
    twice = Boxes(((11.0 + shift, 20.0, 61.0, 70.0),), ("car",))
    same = made(kind="region", value=twice, origin=DETECTOR.id, score=0.4)
    low = made(kind="region", value=Boxes(((1.0, 1.0, 9.0, 9.0),), ("boat",)), origin=DETECTOR.id, score=0.1)
    house = made(kind="region", value=Boxes(((0.0, 0.0, width / 2, height / 2),), ("house",)), origin=PERSON.id)
    proposal = made(kind="region", value=Boxes(((5.0, 5.0, 50.0, 90.0),)), origin=DETECTOR.id, score=0.8)
    outline = made(
        kind="outline", value=Polygons((((10.5, 20.0), (60.0, 20.0), (35.0, 70.0)),)), origin=DETECTOR.id,
        parents=(car.id,), score=0.9,
    )  # fmt: skip
    brief = made(kind="text", value=Text((TEXT,)), length="brief", origin=CAPTIONER.id)
    worse = made(kind="text", value=Text(("car car car",)), length="brief", origin=CAPTIONER.id, score=0.2)
    described = made(
        kind="text", value=Text(("a shiny car",)), length="brief", origin=CAPTIONER.id, parents=(car.id,)
    )  # fmt: skip
    start = TEXT.index(PHRASE)
    phrase = made(
        kind="phrase", value=Boxes(((0.0, 0.0, 40.0, 40.0), (50.0, 50.0, 90.0, 90.0)), (PHRASE, PHRASE)),
        origin=DETECTOR.id, parents=(brief.id,), span=(start, start + len(PHRASE)), score=0.7,
    )  # fmt: skip
    sign = made(
        kind="written", value=Quads((((5.0, 5.0), (45.0, 8.0), (44.0, 20.0), (4.0, 17.0)),), ("CAFÉ",)),
        origin=DETECTOR.id, score=0.95,
    )  # fmt: skip
    verdicts = (
        Verdict(annotation=low.id, status="dropped", stage="regions.score", measured=0.1, bound=0.4),
        Verdict(annotation=worse.id, status="dropped", stage="texts.repeated", measured=3.0, bound=1.0),
        Verdict(annotation=same.id, status="merged", stage="regions.nms", measured=0.97, bound=0.5, by=car.id),
    )
    annotations = (car, same, low, house, proposal, outline, brief, worse, described, phrase, sign)
    return Record(image=image, annotations=annotations, verdicts=verdicts)


def records(root: Path, count: int) -> list[Record]:
    """The records of the first images of the embedded benchmark."""
    names = sorted(path.name for path in (root / "coco/val2017").iterdir())[:count]
    return [record(root, f"coco/val2017/{name}", place) for place, name in enumerate(names)]
