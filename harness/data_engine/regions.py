"""Regions: form, score, non-maximum suppression, and the agreement of origins.

The rules run in this order; each names itself in its verdicts.

    boxes.form       no area, not finite, or less than half of it inside the image
    boxes.size       a smaller or larger share of the image than `smallest` or `largest`
    boxes.score      below the threshold of its origin
    boxes.nms        overlaps a better box of the same label and origin
    boxes.agreement  says the same as a box of another origin: merged into one box, their mean weighted by score
    boxes.unwitnessed  said by fewer than `witnesses` origins, or alone and below its origin's own threshold
    boxes.across     overlaps a better box of any label

"Better" is by the number of origins that say it, then by the calibrated precision of its origin for its label, if there
is one, then by the margin (score - threshold) / (1 - threshold), because scores of two origins cannot be compared.
Boxes of people are never moved or dropped; others that say the same are merged into them.  An annotation without a
score has no threshold and the margin 0.  Every number is this project's choice: the paper publishes none
(arXiv:2311.06242v1, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.core import Box, Size
from harness.core import Boxes as BoxesValue
from harness.data_engine.records import Annotation, Origin, Record, Status, Verdict
from harness.geometry.boxes import area, is_finite

INSIDE = 0.5  # the smallest share of a box inside its image
FUSION = Origin(kind="rule", name="boxes.agreement", fingerprint="v1")


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """The stage of regions; see the module for its rules.

    `score` is the threshold of origins that `scores` does not name.  A box that `witnesses` say may have a score down
    to its origin's threshold times `confirmed`; a box that one origin alone says may not.  `precisions` has, by origin,
    the share of right boxes of each label, and as "" that of labels that it lacks; so two origins that dispute a label
    are decided by which is more often right.  `scores`, `precisions` and `pinned` are by the origin's name in a recipe,
    and by its id after `for_origins`.  `apart` are models that the engine taught: they compete among themselves here,
    and with the others in the stage `combine`.
    """

    name: ClassVar[str] = "boxes"
    version: ClassVar[int] = 1

    score: float = 0.4
    scores: Mapping[str, float] = field(default_factory=dict)
    confirmed: float = 1.0
    nms: float = 0.5
    across: float = 0.8
    agree: float = 0.6
    witnesses: int = 1
    smallest: float = 0.0001
    largest: float = 0.95
    synonyms: Mapping[str, str] = field(default_factory=dict)
    precisions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for a share, score or overlap that is not from 0 to 1."""
        shares = ("score", "confirmed", "nms", "across", "agree", "smallest", "largest")
        for name, value in [*((name, getattr(self, name)) for name in shares), *self.scores.items()]:
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is from 0 to 1")
        if self.witnesses < 1:
            raise ValueError(f"witnesses is {self.witnesses}; at least 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Boxes:
        """The stage with thresholds by the origins' ids, and with people pinned and models apart."""
        scores = {id_: self.scores[origin.called] for id_, origin in origins.items() if origin.called in self.scores}
        people = tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human"))
        precisions = {
            id_: self.precisions[origin.called] for id_, origin in origins.items() if origin.called in self.precisions
        }
        models = tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "model"))
        return replace(self, scores=scores, precisions=precisions, pinned=people, apart=models)

    @property
    def makes(self) -> tuple[Origin, ...]:
        """The origins of annotations that the stage adds."""
        return (FUSION,)

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each region that a rule drops or merges, and the merged boxes."""
        work = _Work(self, record)
        for rule in (_form, _score, _nms, _agreement, _unwitnessed, _across):
            rule(work)
        measures = {
            each.id: {"witnesses": float(len(work.origins[each.id])), "area": _share(each, record.image.size)}
            for each in work.live
        }
        return record.extended(work.added, measures, work.verdicts)


class _Work:
    """The regions of a record that are still kept, and what was decided."""

    def __init__(self, stage: Boxes, record: Record) -> None:
        self.stage, self.size = stage, record.image.size
        self.live = list(record.kept("region"))
        self.added: list[Annotation] = []
        self.verdicts: list[Verdict] = []
        self.origins = {each.id: {each.origin} for each in self.live}
        self.margins: dict[str, float] = {each.id: self.margin(each) for each in self.live}

    def bound(self, each: Annotation) -> float:
        return self.stage.scores.get(each.origin, self.stage.score)

    def margin(self, each: Annotation) -> float:
        bound = self.bound(each)
        return 0.0 if each.score is None else (each.score - bound) / (1 - bound) if bound < 1 else 0.0

    def is_apart(self, each: Annotation) -> bool:
        return each.origin in self.stage.apart

    def is_pinned(self, each: Annotation) -> bool:
        return each.origin in self.stage.pinned

    def precision(self, each: Annotation) -> float:
        """That of its origin for its label; of a merged box the best of its members'; 0 where none is known."""
        label = self.label(each)
        known = [self.stage.precisions.get(origin, {}) for origin in self.origins[each.id]]
        return max((of.get(label, of.get("", 0.0)) for of in known), default=0.0)

    def label(self, each: Annotation) -> str:
        label = " ".join(label_of(each).casefold().split())
        return self.stage.synonyms.get(label, label)

    def decide(
        self,
        each: Annotation,
        status: Status,
        rule: str,
        measured: float | None = None,
        bound: float | None = None,
        by: str | None = None,
    ) -> None:
        self.verdicts.append(
            Verdict(
                annotation=each.id, status=status, stage=f"{self.stage.name}.{rule}", measured=measured, bound=bound,
                by=by,
            )
        )  # fmt: skip
        self.live = [other for other in self.live if other.id != each.id]

    def best_first(self) -> list[Annotation]:
        """People's boxes, then by the number of origins, by precision, by margin, and by id."""
        return sorted(
            self.live,
            key=lambda each: (
                not self.is_pinned(each), -len(self.origins[each.id]), -self.precision(each), -self.margins[each.id],
                each.id,
            ),
        )  # fmt: skip


def label_of(region: Annotation) -> str:
    """The label of a region; "" for a proposal."""
    labels = region.value.labels if isinstance(region.value, BoxesValue) else ()
    return labels[0] if labels else ""


def box_of(region: Annotation) -> Box:
    """The box of a region; ValueError for another kind of annotation."""
    if not isinstance(region.value, BoxesValue):
        raise ValueError(f"a {region.kind} annotation has no box")
    return region.value.boxes[0]


def overlaps(boxes: Sequence[Box]) -> NDArray[np.float64]:
    """(N, N): intersection over union of boxes that are finite."""
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    low = np.maximum(corners[:, None, :2], corners[None, :, :2])
    high = np.minimum(corners[:, None, 2:], corners[None, :, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=-1)
    areas = np.prod(np.clip(corners[:, 2:] - corners[:, :2], 0, None), axis=-1)
    either = areas[:, None] + areas[None] - both
    matrix: NDArray[np.float64] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return matrix


def _share(each: Annotation, size: Size) -> float:
    """The share of its image that a region covers; 0 if the image has no size."""
    whole = size.width * size.height
    return area(box_of(each)) / whole if whole else 0.0


# ---------------------------------------------------------------------------- rules


def _form(work: _Work) -> None:
    for each in work.live:
        if work.is_pinned(each):
            continue
        box = box_of(each)
        if not is_finite(box) or area(box) <= 0:
            work.decide(each, "dropped", "form", 0.0, 0.0)
            continue
        inside = area((max(box[0], 0), max(box[1], 0), min(box[2], work.size.width), min(box[3], work.size.height)))
        if inside < INSIDE * area(box):
            work.decide(each, "dropped", "form", inside / area(box), INSIDE)
            continue
        share = _share(each, work.size)
        if share < work.stage.smallest:
            work.decide(each, "dropped", "size", share, work.stage.smallest)
        elif share > work.stage.largest:
            work.decide(each, "dropped", "size", share, work.stage.largest)


def _score(work: _Work) -> None:
    for each in work.live:
        bound = work.bound(each) * work.stage.confirmed
        if each.score is not None and each.score < bound and not work.is_pinned(each):
            work.decide(each, "dropped", "score", each.score, bound)


def _nms(work: _Work) -> None:
    _suppress(
        work, "nms", work.stage.nms,
        lambda one, other: one.origin == other.origin and work.label(one) == work.label(other),
    )  # fmt: skip


def _across(work: _Work) -> None:
    """Within a label at `nms` and across labels at `across`; a proposal, without a label, competes with proposals."""

    def compete(one: Annotation, other: Annotation) -> bool:
        return work.is_apart(one) == work.is_apart(other) and bool(label_of(one)) == bool(label_of(other))

    _suppress(
        work, "nms", work.stage.nms, lambda one, other: compete(one, other) and work.label(one) == work.label(other)
    )
    _suppress(work, "across", work.stage.across, compete)


def _suppress(work: _Work, rule: str, bound: float, compete: Callable[[Annotation, Annotation], bool]) -> None:
    """Greedy suppression: from the best box on, each drops the later ones that overlap it by more than the bound."""
    order = work.best_first()
    if len(order) < 2:
        return
    matrix = overlaps([box_of(each) for each in order])
    kept: list[int] = []
    for place, each in enumerate(order):
        rivals = [] if work.is_pinned(each) else [k for k in kept if matrix[k, place] > bound]
        by = next((order[k] for k in rivals if compete(order[k], each)), None)
        if by is None:
            kept.append(place)
        else:
            work.decide(each, "dropped", rule, float(matrix[order.index(by), place]), bound, by.id)


def _agreement(work: _Work) -> None:
    """Each box, from the best on, gathers the best box of every other origin that says the same; they become one."""
    order = [each for each in work.best_first() if not work.is_apart(each)]
    if len({each.origin for each in order}) < 2:
        return
    matrix = overlaps([box_of(each) for each in order])
    free = set(range(len(order)))
    for first, leader in enumerate(order):
        if first not in free:
            continue
        members = {leader.origin: first}
        for place in sorted(free - {first}, key=lambda place: -matrix[first, place]):
            other = order[place]
            if matrix[first, place] < work.stage.agree:
                break
            if other.origin not in members and work.label(other) == work.label(leader) and not work.is_pinned(other):
                members[other.origin] = place
        free -= set(members.values())
        if len(members) > 1:
            _merge(work, [order[place] for place in members.values()], [matrix[first, p] for p in members.values()])


def _merge(work: _Work, members: list[Annotation], agreement: Sequence[float]) -> None:
    leader = members[0]
    merged = leader if work.is_pinned(leader) else fused(members)
    if merged is not leader:
        work.added.append(merged)
        work.live.append(merged)
    work.origins[merged.id] = {each.origin for each in members}
    work.margins[merged.id] = max(work.margins[each.id] for each in members)
    for each, overlap in zip(members, agreement, strict=True):
        if each is not merged:
            work.decide(each, "merged", "agreement", float(overlap), work.stage.agree, merged.id)


def fused(members: Sequence[Annotation]) -> Annotation:
    """One region for regions that say the same: the mean of their boxes weighted by score, with the first's label.

    A region without a score weighs 1.  The score is the mean of those there are.
    """
    weights = np.array([1.0 if each.score is None else max(each.score, 1e-6) for each in members])
    corners = np.array([box_of(each) for each in members], np.float64)
    left, top, right, bottom = (float(number) for number in (weights[:, None] * corners).sum(0) / weights.sum())
    scores = [each.score for each in members if each.score is not None]
    labels = (label_of(members[0]),) if label_of(members[0]) else ()
    return Annotation(
        image=members[0].image,
        kind="region",
        value=BoxesValue(((left, top, right, bottom),), labels),
        origin=FUSION.id,
        parents=tuple(sorted(each.id for each in members)),
        score=sum(scores) / len(scores) if scores else None,
    )


def _unwitnessed(work: _Work) -> None:
    for each in work.live:
        witnesses = len(work.origins[each.id])
        if work.is_pinned(each) or work.is_apart(each):
            continue
        if witnesses < work.stage.witnesses:
            work.decide(each, "dropped", "unwitnessed", float(witnesses), float(work.stage.witnesses))
        elif witnesses == 1 and each.score is not None and each.score < work.bound(each):
            work.decide(each, "dropped", "unwitnessed", each.score, work.bound(each))
