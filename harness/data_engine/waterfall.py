"""From raw to kept: what was decided of each origin's annotations, and how far origins agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from harness.core import Box, Boxes
from harness.data_engine.records import Annotation, AnnotationKind, Origin, Record
from harness.geometry.boxes import iou

AGREE = 0.5  # IoU at which two origins mean the same place
UNKNOWN = "unknown"
K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Flow:
    """What became of the annotations of one kind and origin.

    `origin` is its name, with ` round N` for a later round.  `reasons` counts what is not kept, by (status, rule), most
    first; the rule of an image that was dropped is its image's.  raw = kept + the sum of the reasons.
    """

    kind: AnnotationKind
    origin: str
    raw: int
    kept: int
    reasons: tuple[tuple[str, str, int], ...]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many regions of `one` the origin `other` confirms, on images where both gave regions.

    `located` overlap a region of the other with an IoU of 0.5 or more; `same` also have its label.
    """

    one: str
    other: str
    images: int
    regions: int
    located: int
    same: int


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The flows by kind and origin, the agreement of each ordered pair of origins, and kept regions by witnesses."""

    images: int
    dropped_images: Mapping[str, int]
    flows: tuple[Flow, ...]
    agreements: tuple[Agreement, ...]
    witnesses: Mapping[int, int]


def waterfall(records: Iterable[Record], origins: Mapping[str, Origin]) -> Waterfall:
    """Counts all records in one pass; the memory does not grow with their number.

    Regions agree as the origins gave them, before any filter.  An origin that `origins` lacks is named "unknown".
    """
    raw: Counter[tuple[AnnotationKind, str]] = Counter()
    kept: Counter[tuple[AnnotationKind, str]] = Counter()
    reasons: dict[tuple[AnnotationKind, str], Counter[tuple[str, str]]] = {}
    dropped: Counter[str] = Counter()
    pairs: dict[tuple[str, str], list[int]] = {}
    witnesses: Counter[int] = Counter()
    images = 0
    for record in records:
        images += 1
        dropped.update([record.image.stage] if record.image.stage else [])
        status = record.status()
        for each in record.annotations:
            key = (each.kind, name_of(origins.get(each.origin)))
            raw[key] += 1
            verdict = status.get(each.id)
            if record.image.stage:
                reasons.setdefault(key, Counter())["dropped", record.image.stage] += 1
            elif verdict is not None and verdict.status != "kept":
                reasons.setdefault(key, Counter())[verdict.status, verdict.stage] += 1
            else:
                kept[key] += 1
                if each.kind == "region" and "witnesses" in record.measures.get(each.id, {}):
                    witnesses[int(record.measures[each.id]["witnesses"])] += 1
        _agree(record, origins, pairs)
    flows = [
        Flow(*key, raw[key], kept[key], tuple((*reason, n) for reason, n in _most(reasons.get(key, Counter()))))
        for key in sorted(raw)
    ]
    agreements = [Agreement(*pair, *numbers) for pair, numbers in sorted(pairs.items())]
    by_witnesses = dict(sorted(witnesses.items()))
    return Waterfall(images, dict(_most(dropped)), tuple(flows), tuple(agreements), by_witnesses)


def name_of(origin: Origin | None) -> str:
    """The name of an origin in tables."""
    return UNKNOWN if origin is None else origin.called


def _agree(record: Record, origins: Mapping[str, Origin], pairs: dict[tuple[str, str], list[int]]) -> None:
    """Adds the images, regions, located and equally labelled regions of each ordered pair of origins."""
    by_origin: dict[str, list[tuple[Box, str]]] = {}
    for each in record.annotations:
        origin = origins.get(each.origin)
        if each.kind == "region" and (origin is None or origin.kind != "rule"):
            by_origin.setdefault(name_of(origin), []).append(_said(each))
    for one, regions in by_origin.items():
        for other, others in by_origin.items():
            if one == other:
                continue
            numbers = pairs.setdefault((one, other), [0, 0, 0, 0])
            numbers[0] += 1
            for box, label in regions:
                near = [their for theirs, their in others if iou(box, theirs) >= AGREE]
                numbers[1] += 1
                numbers[2] += bool(near)
                numbers[3] += label in near


def _said(region: Annotation) -> tuple[Box, str]:
    if not isinstance(region.value, Boxes):
        raise ValueError(f"a {region.kind} annotation has no box")
    label = region.value.labels[0] if region.value.labels else ""
    return region.value.boxes[0], " ".join(label.casefold().split())


def _most(counter: Counter[K]) -> list[tuple[K, int]]:
    """The entries of a counter, most first, then by name."""
    return sorted(counter.items(), key=lambda entry: (-entry[1], str(entry[0])))
