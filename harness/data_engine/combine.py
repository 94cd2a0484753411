"""The merge of a round: what specialists said of an image, and what a model that was taught their labels says.

    both, same label            kept, with one more witness; a lower score is enough
    both, other label           the one that is more often right by calibration; the other is superseded
    specialist alone            kept above its own strict threshold, else dropped as unwitnessed
    model alone                 added above its threshold, at which its calibrated precision is the wanted one
    a person                    always kept

The stage `boxes` runs before, and has merged what specialists agree on.  A region of the model is compared with what is
kept of the others: they are about the same place if their IoU is at least `agree`.  A model confirms what it was
taught, right or wrong; whoever asks it decides about which images it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from harness.core import Boxes
from harness.data_engine.records import Annotation, Origin, Record, Status, Verdict
from harness.data_engine.regions import box_of, label_of, overlaps


@dataclass(frozen=True, kw_only=True)
class Combine:
    """The stage that combines specialists with the model of a round; see the module for its table.

    `strict` is the score that a specialist's region without a witness must have, and `alone` that of a model's; both
    by origin, with `score` for others.  `precisions` are by origin and label, as in the stage `boxes`.  `models` are
    the ids of the origins that were taught, of which the last round's counts; `people` those of people.  Names become
    ids in `for_origins`.
    """

    name: ClassVar[str] = "combine"
    version: ClassVar[int] = 1

    agree: float = 0.5
    score: float = 0.5
    strict: Mapping[str, float] = field(default_factory=dict)
    alone: Mapping[str, float] = field(default_factory=dict)
    precisions: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    people: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """ValueError for a score or an overlap that is not from 0 to 1."""
        scores = [("agree", self.agree), ("score", self.score), *self.strict.items(), *self.alone.items()]
        for name, value in scores:
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it is from 0 to 1")

    def for_origins(self, origins: Mapping[str, Origin]) -> Combine:
        """The stage with settings by the origins' ids, and with the origins of models and of people."""

        def by_id(of: Mapping[str, float]) -> dict[str, float]:
            return {id_: of[origin.name] for id_, origin in origins.items() if origin.name in of}

        taught = sorted((origin.round, id_) for id_, origin in origins.items() if origin.kind == "model")
        last = taught[-1][0] if taught else 0
        return replace(
            self,
            strict=by_id(self.strict),
            alone=by_id(self.alone),
            precisions={
                id_: self.precisions[origin.name] for id_, origin in origins.items() if origin.name in self.precisions
            },
            models=tuple(id_ for round_, id_ in taught if round_ == last),
            people=tuple(sorted(id_ for id_, origin in origins.items() if origin.kind == "human")),
        )

    def __call__(self, record: Record) -> Record:
        """The record with a verdict on each region that is dropped, superseded, or a repetition of another.

        Nothing is decided without a taught model: the verdicts of the stages before hold.
        """
        regions = list(record.kept("region"))
        if not self.models:
            return record
        taught = [each for each in regions if each.origin in self.models]
        others = [each for each in regions if each.origin not in self.models]
        matrix = overlaps([box_of(each) for each in (*others, *taught)])[: len(others), len(others) :]
        verdicts: list[Verdict] = []
        measures: dict[str, dict[str, float]] = {}
        met: set[str] = set()
        for row, each in enumerate(others):
            near = [place for place in range(len(taught)) if matrix[row, place] >= self.agree]
            same = [place for place in near if _label(taught[place]) == _label(each)]
            if same:
                best = max(same, key=lambda place: matrix[row, place])
                met.add(taught[best].id)
                witnesses = record.measures.get(each.id, {}).get("witnesses", 1.0)
                measures[each.id] = {"witnesses": witnesses + 1}
                overlap = float(matrix[row, best])
                verdicts.append(self._verdict(taught[best], "merged", "confirmed", overlap, self.agree, each.id))
            elif near:
                rival = taught[max(near, key=lambda place: matrix[row, place])]
                met.add(rival.id)
                verdicts.append(self._dispute(record, each, rival))
            elif not self._stands_alone(record, each):
                bound = self.strict.get(each.origin, self.score)
                verdicts.append(self._verdict(each, "dropped", "unwitnessed", each.score, bound))
        for each in taught:
            bound = self.alone.get(each.origin, self.score)
            if each.id not in met and (each.score is None or each.score < bound):
                verdicts.append(self._verdict(each, "dropped", "alone", each.score, bound))
        return record.extended(measures=measures, verdicts=verdicts)

    def _stands_alone(self, record: Record, each: Annotation) -> bool:
        """Whether a region that the model does not see is kept: of a person, of two specialists, or of a high score."""
        witnesses = record.measures.get(each.id, {}).get("witnesses", 1.0)
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


def churn(before: Record, after: Record) -> tuple[int, int]:
    """How many regions are kept in one of two rounds alone, and how many in at least one."""
    one, other = ({each.id for each in record.kept("region")} for record in (before, after))
    return len(one ^ other), len(one | other)
