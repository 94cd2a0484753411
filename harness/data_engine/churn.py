"""Churn: what one round changed among the annotations that are kept, by kind.

added     kept by the later round alone
dropped   kept by the earlier round alone
moved     of the kinds with boxes: kept by the earlier alone, and the later alone has one at its place (IoU of at
          least 0.5), with another box, label or origin; such a pair counts once, as moved
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import get_args

from harness.core import Boxes
from harness.data_engine.records import Annotation, AnnotationKind, Record
from harness.data_engine.round_states import Moves
from harness.geometry.boxes import iou

PLACE = 0.5  # IoU
KINDS: tuple[AnnotationKind, ...] = get_args(AnnotationKind)


def churn(pairs: Iterable[tuple[Record, Record]]) -> dict[str, Moves]:
    """The changes by kind, over pairs of an image's records before and after; kinds that neither has are left out."""
    sums = {kind: [0, 0, 0, 0, 0] for kind in KINDS}
    for before, after in pairs:
        for kind, counts in sums.items():
            old, new = ({each.id: each for each in record.kept(kind)} for record in (before, after))
            gone = [each for id_, each in old.items() if id_ not in new]
            come = [each for id_, each in new.items() if id_ not in old]
            moved = _moved(gone, come)
            numbers = (len(old), len(new), len(come) - moved, len(gone) - moved, moved)
            sums[kind] = [total + number for total, number in zip(counts, numbers, strict=True)]
    return {kind: Moves(*counts) for kind, counts in sums.items() if counts[0] or counts[1]}


def _moved(gone: list[Annotation], come: list[Annotation]) -> int:
    """The number of annotations that went while another came to their place; each takes one place."""
    free = list(come)
    count = 0
    for each in gone:
        place = next((other for other in free if _overlap(each, other) >= PLACE), None)
        if place is not None:
            free.remove(place)
            count += 1
    return count


def _overlap(one: Annotation, other: Annotation) -> float:
    """The IoU of single boxes; 0 where one of the two has none or several."""
    if not (isinstance(one.value, Boxes) and isinstance(other.value, Boxes)):
        return 0.0
    boxes = (*one.value.boxes, *other.value.boxes)
    return iou(boxes[0], boxes[1]) if len(one.value.boxes) == len(other.value.boxes) == 1 else 0.0
