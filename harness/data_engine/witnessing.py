"""The thresholds of a round, chosen on images whose truth is known: what a model's confirmation is worth.

Three groups of regions have thresholds: of specialists without the model's confirmation (`strict`), of specialists
that `boxes.score` dropped and the model confirms (`confirmed`), and of the model alone (`alone`).  Each threshold gives
the best F1 together with the others; that of the model alone also has the wanted precision.  A group of specialists
that is best kept whole has the threshold 0, so that a model that says nothing of use changes nothing.  Other regions
are kept or not without a threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.data_engine.calibration import FEWEST, Object, curve, right_of
from harness.data_engine.combine import Combine
from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Annotation, Origin, Record
from harness.data_engine.regions import Boxes

GROUPS = {"unwitnessed": "strict", "revived": "confirmed", "alone": "alone"}  # rule -> setting of the stage
PASSES = 4
NEVER = 1.0  # a threshold that no region of the group passes


@dataclass(frozen=True, slots=True)
class _Group:
    """The scores that a threshold decides about, from the highest on, and the number of right ones up to each."""

    scores: tuple[float, ...]
    right: tuple[int, ...]

    def prefixes(self) -> Iterable[tuple[int, int]]:
        """The numbers of kept and of right regions, for each threshold; equal scores are kept together."""
        yield 0, 0
        for place, score in enumerate(self.scores):
            if place + 1 == len(self.scores) or self.scores[place + 1] < score:
                yield place + 1, self.right[place]


def first_settings(model: Origin) -> dict[str, dict[str, dict[str, Any]]]:
    """The settings that a round has before any threshold is chosen: `boxes.score` drops nothing of the model."""
    return {"boxes": {"scores": {model.called: 0.0}}}


def chosen(
    records: Sequence[Record],
    truth: Mapping[str, Sequence[Object]],
    recipe: Recipe,
    origins: Mapping[str, Origin],
    wanted: float,
) -> dict[str, dict[str, dict[str, Any]]]:
    """The settings of the stages `boxes` and `combine` by origin, from raw records of images with truth.

    `origins` are those of the round; its model is the last one.  `wanted` is the precision of what the model alone
    adds, from 0 to 1.
    """
    model = sorted((each for each in origins.values() if each.kind == "model"), key=lambda each: each.round)[-1]
    start = first_settings(model)
    stages = recipe.completed(start).resolved(origins)
    boxes = next(stage for stage in stages.stages if isinstance(stage, Boxes))
    combine = next(stage for stage in stages.stages if isinstance(stage, Combine))
    asked = [each for each in origins.values() if each.kind == "specialist"] + [model]
    precisions = {each.called: curve(records, truth, each, boxes, wanted).precisions for each in asked}
    precisions = {
        name: {label: round(share, 4) for label, share in of.items()} for name, of in precisions.items() if of
    }
    precisions_by_id = {id_: precisions[each.called] for id_, each in origins.items() if each.called in precisions}
    combine = replace(
        combine, score=NEVER, strict={}, alone={}, confirmed={}, precisions=combine.precisions or precisions_by_id
    )
    before = [_before(stages, combine, record) for record in records]
    fixed_kept = fixed_right = objects = 0
    marked: dict[tuple[str, str], list[tuple[float, bool]]] = {}
    for record in before:
        true = truth[record.image.reference]
        objects += len(true)
        fixed = sorted(combine(record).kept("region"), key=lambda each: (-(each.score or 0.0), each.id))
        fixed_kept += len(fixed)
        fixed_right += sum(right_of(fixed, true))
        kept = {each.id for each in fixed}
        for meeting in combine.meetings(record):
            setting, region = GROUPS.get(meeting.rule), meeting.region
            if setting is not None and region.id not in kept and region.score is not None:
                marked.setdefault((setting, region.origin), []).append((region.score, _is_right(region, true)))
    groups = {key: _group(of) for key, of in sorted(marked.items())}
    bounds = _best(groups, fixed_kept, fixed_right, objects, wanted)
    settings: dict[str, dict[str, Any]] = {"strict": {}, "confirmed": {}, "alone": {}, "precisions": dict(precisions)}
    for (setting, origin), bound in bounds.items():
        settings[setting][origins[origin].called] = bound
    settings["alone"].setdefault(model.called, NEVER)
    return {**start, "combine": settings}


def _before(stages: Recipe, combine: Combine, record: Record) -> Record:
    """The record after the stages that run before the combination."""
    for stage in stages.stages:
        if stage.name == combine.name:
            break
        record = stage(record)
    return record


def _is_right(region: Annotation, objects: Sequence[Object]) -> bool:
    return right_of([region], objects)[0]


def _group(marked: list[tuple[float, bool]]) -> _Group:
    marked.sort(key=lambda pair: -pair[0])
    right, count = [], 0
    for _, is_right in marked:
        count += is_right
        right.append(count)
    return _Group(tuple(score for score, _ in marked), tuple(right))


def _best(
    groups: Mapping[tuple[str, str], _Group], kept: int, right: int, objects: int, wanted: float
) -> dict[tuple[str, str], float]:
    """The threshold of each group with the best F1, one group after the other, until none changes."""
    taken = dict.fromkeys(groups, (0, 0))
    for _ in range(PASSES):
        before = dict(taken)
        for key, group in groups.items():
            others = [pair for other, pair in taken.items() if other != key]
            rest_kept, rest_right = kept + sum(n for n, _ in others), right + sum(n for _, n in others)
            allowed = [
                (n, good)
                for n, good in group.prefixes()
                if key[0] != "alone" or n == 0 or (n >= FEWEST and good >= wanted * n)
            ]
            taken[key] = max(
                allowed, key=lambda pair: ((rest_right + pair[1]) / max(1, rest_kept + pair[0] + objects), -pair[0])
            )
        if taken == before:
            break
    return {key: _bound(key[0], groups[key], n) for key, (n, _) in taken.items()}


def _bound(setting: str, group: _Group, kept: int) -> float:
    """The threshold that keeps the first regions of a group."""
    if kept == len(group.scores) and setting != "alone":
        return 0.0
    return group.scores[kept - 1] if kept else NEVER
