"""Outlines: form, score, and whether each fits the box that it is of.

The rules run in this order; each names itself in its verdicts.

    outlines.form     a mask of another size than the image, or no pixel in the image
    outlines.score    below the threshold of its origin, where the origin gives a score
    outlines.outside  less than a share `inside` of its pixels is in the box
    outlines.box      its own box and the box that it is of have an IoU below `overlap`
    outlines.fill     covers less than a share `fill` of the box

An outline is of a region, or of a phrase with one box.  Boxes count as far as they are in the image.  Outlines of
people are measured and never dropped.  Every number is this project's choice: the paper publishes none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.core import Box, Boxes, Mask, Polygons, Size
from harness.data_engine.choose import regions_of
from harness.data_engine.records import Annotation, Origin, Record, Verdict
from harness.geometry import masks
from harness.geometry.boxes import area, iou, is_finite


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """The stage of outlines; see the module for its rules.

    `score` is the threshold of origins that `scores` does not name; `scores` are by the origin's name in a recipe, and
    by its id after `for_origins`.  `inside`, `overlap` and `fill` are from 0 to 1.  `pinned` are the ids of origins
    that are people, after `for_origins`.
    """

    name: ClassVar[str] = "outlines"
    version: ClassVar[int] = 1

    score: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    inside: float = 0.8
    overlap: float = 0.7
    fill: float = 0.05
    pinned: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for a share or score that is not from 0 to 1."""
        shares = ("score", "inside", "overlap", "fill")
        for name, value in [*((name, getattr(self, name)) for name in shares), *self.scores.items()]:
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is from 0 to 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Outlines:
        """The stage with thresholds by the origins' ids, and with the origins of people pinned."""
        scores = {id_: self.scores[origin.name] for id_, origin in origins.items() if origin.name in self.scores}
        people = tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human"))
        return replace(self, scores=scores, pinned=people)

    def __call__(self, record: Record) -> Record:
        """The record with measures of each outline, and a verdict on each that a rule drops."""
        boxes = {id_: _box(region) for id_, region in regions_of(record).items()}
        boxes |= {phrase.id: _box(phrase) for phrase in record.kept("phrase")}
        measures: dict[str, dict[str, float]] = {}
        verdicts = []
        for each in record.kept("outline"):
            box = next((boxes[parent] for parent in each.parents if parent in boxes), None)
            found = measured(each.value, box, record.image.size)
            measures[each.id] = found
            reason = next(self._reasons(each, found), None)
            if reason is not None and each.origin not in self.pinned:
                rule, number, bound = reason
                verdicts.append(
                    Verdict(
                        annotation=each.id, status="dropped", stage=f"{self.name}.{rule}", measured=number, bound=bound
                    )
                )
        return record.extended(measures={id_: found for id_, found in measures.items() if found}, verdicts=verdicts)

    def _reasons(
        self, each: Annotation, found: Mapping[str, float]
    ) -> Iterator[tuple[str, float | None, float | None]]:
        """The rules that an outline breaks, with what was measured and the bound."""
        if not found.get("pixels"):
            yield "form", None, None
        bound = self.scores.get(each.origin, self.score)
        if each.score is not None and each.score < bound:
            yield "score", each.score, bound
        for rule, name, least in (
            ("outside", "inside", self.inside), ("box", "overlap", self.overlap), ("fill", "fill", self.fill),
        ):  # fmt: skip
            if name in found and found[name] < least:
                yield rule, found[name], least


def measured(value: object, box: Box | None, size: Size) -> dict[str, float]:
    """What is measured of an outline: its `pixels`; with a box that it is of, `inside`, `overlap` and `fill`.

    {} for what is no outline of an image of this size.
    """
    if not isinstance(value, Polygons | Mask) or (isinstance(value, Mask) and value.size != size):
        return {}
    if not masks.is_drawable(value):
        return {"pixels": 0.0}
    mask = masks.rasterise(value, size)
    pixels = masks.area(mask)
    own = _clipped(_extent(value) if isinstance(value, Polygons) else masks.box(mask), size)
    of = None if box is None else _clipped(box, size)
    if not pixels or of is None or not area(of):
        return {"pixels": float(pixels)}
    left, top, right, bottom = of
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    both, _ = masks.overlap(mask, masks.rasterise(Polygons((corners,)), size))
    return {
        "pixels": float(pixels), "inside": both / pixels, "overlap": iou(own, of), "fill": min(1.0, both / area(of)),
    }  # fmt: skip


def _extent(value: Polygons) -> Box:
    """The box around all rings that can be drawn."""
    points = [point for ring in value.rings if len(ring) >= 3 for point in ring]
    across, down = [x for x, _ in points], [y for _, y in points]
    return min(across), min(down), max(across), max(down)


def _clipped(box: Box, size: Size) -> Box:
    if not is_finite(box):
        return 0.0, 0.0, 0.0, 0.0
    left, right = (min(max(x, 0.0), float(size.width)) for x in (box[0], box[2]))
    top, bottom = (min(max(y, 0.0), float(size.height)) for y in (box[1], box[3]))
    return left, top, right, bottom


def _box(annotation: Annotation) -> Box | None:
    """The box of a region, or of a phrase that has one."""
    value = annotation.value
    return value.boxes[0] if isinstance(value, Boxes) and len(value.boxes) == 1 else None
