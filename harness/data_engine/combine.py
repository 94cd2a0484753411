"""The merge of a round: what specialists said of an image, and what a model that was taught their labels says.

    both, same label            kept, with one more witness; a lower score is enough
    both, other label           the one that is more often right by calibration; the other is superseded
    specialist alone            kept above its own strict threshold, else dropped as unwitnessed
    model alone                 added above its threshold, at which its calibrated precision is the wanted one
    a person                    always kept

The stage `boxes` runs before, and has merged what specialists agree on.  A region of the model is compared with what is
kept of the others, and then with what `boxes.score` dropped: they are about the same place if their IoU is at least
`agree`.  A model confirms what it was taught, right or wrong; whoever asks it decides about which images it is asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, NamedTuple

from harness.core import Boxes
from harness.data_engine.records import Annotation, Origin, Record, Status, Verdict
from harness.data_engine.regions import box_of, label_of, overlaps

LOW = "boxes.score"  # the rule whose dropped regions a model can confirm


class Meeting(NamedTuple):
    """How a region of specialists, or of the model alone, stands to the other side.

    - confirmed: `region` is of specialists, `other` of the model, with the same label.
    - revived: likewise, and `region` was dropped for its score.
    - disputed: the labels differ.
    - beside: `region` is the model's, at the place of `other`, which has a better match.
    - unwitnessed, alone: of specialists, of the model, without an other.
    """

    rule: Literal["confirmed", "revived", "disputed", "beside", "unwitnessed", "alone"]
    region: Annotation
    other: Annotation | None = None
    overlap: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Combine:
    """The stage that combines specialists with the model of a round; see the module for its table.

    `strict` is the score that a specialist's region without a witness must have, `confirmed` that of one that
    `boxes.score` dropped and the model confirms (none is kept without it), and `alone` that of a model's; each by
    origin, with `score` for others.  `precisions` are by origin and label, as in the stage `boxes`.  `models` are
    the ids of the origins that were taught, of which the last round's counts; `people` those of people.  Names become
    ids in `for_origins`.
    """

    name: ClassVar[str] = "combine"
    version: ClassVar[int] = 2

    agree: float = 0.5
    score: float = 0.5
    strict: Mapping[str, float] = field(default_factory=dict)
    confirmed: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    precisions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    people: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for a score or an overlap that is not from 0 to 1."""
        by_origin = (*self.strict.items(), *self.confirmed.items(), *self.alone.items())
        scores = [("agree", self.agree), ("score", self.score), *by_origin]
        for name, value in scores:
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is from 0 to 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Combine:
        """The stage with settings by the origins' ids, and with the origins of models and of people."""

        def by_id(of: Mapping[str, float]) -> dict[str, float]:
            return {id_: of[origin.called] for id_, origin in origins.items() if origin.called in of}

        taught = sorted((origin.round, id_) for id_, origin in origins.items() if origin.kind == "model")
        last = taught[-1][0] if taught else 0
        return replace(
            self,
            strict=by_id(self.strict),
            confirmed=by_id(self.confirmed),
            alone=by_id(self.alone),
            precisions={
                id_: self.precisions[origin.called]
                for id_, origin in origins.items()
                if origin.called in self.precisions
            },
            models=tuple(id_ for round_, id_ in taught if round_ == last),
            people=tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human")),
        )

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each region that is dropped, superseded, confirmed, or repeats another.

        Nothing is decided without a taught model: the verdicts of the stages before hold.
        """
        verdicts: list[Verdict] = []
        measures: dict[str, dict[str, float]] = {}
        for rule, region, other, overlap in self.meetings(record):
            if rule == "disputed" and other is not None:
                verdicts.append(self._dispute(record, region, other))
            elif rule == "beside" and other is not None:
                verdicts.append(self._verdict(region, "superseded", "beside", overlap, self.agree, other.id))
            elif rule == "confirmed" and other is not None:
                measures[region.id] = {"witnesses": self._witnesses(record, region) + 1}
                verdicts.append(self._verdict(other, "merged", "confirmed", overlap, self.agree, region.id))
            elif rule == "revived" and other is not None and self._is_revived(region):
                measures[region.id] = {"witnesses": 2.0}
                bound = self.confirmed[region.origin]
                verdicts.append(self._verdict(region, "kept", "confirmed", region.score, bound, other.id))
                verdicts.append(self._verdict(other, "merged", "confirmed", overlap, self.agree, region.id))
            elif rule == "unwitnessed" and not self._stands_alone(record, region):
                bound = self.strict.get(region.origin, self.score)
                verdicts.append(self._verdict(region, "dropped", "unwitnessed", region.score, bound))
            elif rule in ("revived", "alone"):
                taught = region if other is None else other
                bound = self.alone.get(taught.origin, self.score)
                if taught.score is None or taught.score < bound:
                    verdicts.append(self._verdict(taught, "dropped", "alone", taught.score, bound))
        return record.extended(measures=measures, verdicts=verdicts)

    def meetings(self, record: Record) -> Iterator[Meeting]:
        """How each kept region, and each that its score dropped and the model sees, stands to the other side.

        Of specialists first, in their order.  None without a taught model.
        """
        if not self.models:
            return
        regions = list(record.kept("region"))
        taught = [each for each in regions if each.origin in self.models]
        others = [each for each in regions if each.origin not in self.models]
        matrix = overlaps([box_of(each) for each in (*others, *taught)])[: len(others), len(others) :]
        met: set[str] = set()
        for row, each in enumerate(others):
            near = sorted(
                (place for place in range(len(taught)) if matrix[row, place] >= self.agree),
                key=lambda place: -matrix[row, place],
            )
            same = [place for place in near if _label(taught[place]) == _label(each)]
            if not near:
                yield Meeting("unwitnessed", each)
                continue
            best = (same or near)[0]
            rule: Literal["confirmed", "disputed"] = "confirmed" if same else "disputed"
            yield Meeting(rule, each, taught[best], float(matrix[row, best]))
            met.add(taught[best].id)
        yield from self._of_model(record, others, [each for each in taught if each.id not in met])

    def _of_model(
        self, record: Record, others: Sequence[Annotation], taught: Sequence[Annotation]
    ) -> Iterator[Meeting]:
        """How the model's regions stand that match no kept region best."""
        status = record.status()
        low = [
            each
            for each in record.annotations
            if each.id in status and status[each.id].stage == LOW and each.origin not in self.models
        ]
        rest = [*others, *low]
        matrix = overlaps([box_of(each) for each in (*rest, *taught)])[: len(rest), len(rest) :]
        used: set[str] = set()
        for column, each in enumerate(taught):
            near = [place for place in range(len(rest)) if matrix[place, column] >= self.agree]
            kept = [place for place in near if place < len(others)]
            fits = [
                place for place in near
                if place >= len(others) and _label(rest[place]) == _label(each) and rest[place].id not in used
            ]  # fmt: skip
            if kept:
                best = max(kept, key=lambda place: matrix[place, column])
                yield Meeting("beside", each, rest[best], float(matrix[best, column]))
            elif fits:
                best = max(fits, key=lambda place: (rest[place].score or 0.0, rest[place].id))
                used.add(rest[best].id)
                yield Meeting("revived", rest[best], each, float(matrix[best, column]))
            else:
                yield Meeting("alone", each)

    def _is_revived(self, each: Annotation) -> bool:
        """Whether a region that `boxes.score` dropped is kept, because the model confirms it."""
        bound = self.confirmed.get(each.origin)
        return bound is not None and each.score is not None and each.score >= bound

    @staticmethod
    def _witnesses(record: Record, each: Annotation) -> float:
        return record.measures.get(each.id, {}).get("witnesses", 1.0)

    def _stands_alone(self, record: Record, each: Annotation) -> bool:
        """Whether a region that the model does not see is kept: of a person, of two specialists, or of a high score."""
        witnesses = self._witnesses(record, each)
        strict = self.strict.get(each.origin, self.score)
        return each.origin in self.people or witnesses >= 2 or each.score is None or each.score >= strict

    def _dispute(self, record: Record, each: Annotation, rival: Annotation) -> Verdict:
        """A specialist's region keeps its place unless the model's label is more often right."""
        mine, theirs = self._precision(record, each), self._precision(record, rival)
        if each.origin in self.people or mine >= theirs:
            return self._verdict(rival, "superseded", "disputed", theirs, mine, each.id)
        return self._verdict(each, "superseded", "disputed", mine, theirs, rival.id)

    def _precision(self, record: Record, each: Annotation) -> float:
        """The calibrated precision of an origin for a label; of a merged region the best of its members'."""
        origins = {each.origin, *(other.origin for other in record.annotations if other.id in each.parents)}
        known = [self.precisions.get(origin, {}) for origin in origins]
        return max((of.get(_label(each), of.get("", 0.0)) for of in known), default=0.0)

    def _verdict(
        self, each: Annotation, status: Status, rule: str, measured: float | None, bound: float, by: str | None = None
    ) -> Verdict:
        return Verdict(
            annotation=each.id, status=status, stage=f"{self.name}.{rule}", measured=measured, bound=bound, by=by
        )  # fmt: skip


def _label(region: Annotation) -> str:
    return " ".join(label_of(region).casefold().split()) if isinstance(region.value, Boxes) else ""
