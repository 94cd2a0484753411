"""Simulated audits: a population of annotations whose errors are known, and people who err."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.core import Boxes, Size, Text
from harness.data_engine import audit, audit_estimates
from harness.data_engine.audit_verdicts import Decision
from harness.data_engine.records import Annotation, ImageRow, Origin, Record, Verdict

ORIGINS = {
    origin.id: origin
    for origin in (
        Origin(kind="specialist", name="detector", fingerprint="1"),
        Origin(kind="specialist", name="other", fingerprint="2"),
        Origin(kind="model", name="captioner", fingerprint="3"),
    )
}
ERRS = 0.05  # how often a person says the opposite
UNSURE = 0.03  # how often a person cannot tell


@dataclass(frozen=True)
class Population:
    """Records, and which of their annotations are wrong."""

    records: tuple[Record, ...]
    wrong: Mapping[str, bool]

    def audited(self, kept: bool) -> float:
        """The percentage of the kept (or other) annotations that people would call wrong if they saw all of them."""
        chosen = [
            self.wrong[annotation.id]
            for record in self.records
            for annotation in record.annotations
            if (annotation in list(record.kept())) is kept
        ]
        wrong = sum(chosen) / len(chosen)
        return 100 * (1 - UNSURE) * (wrong * (1 - ERRS) + (1 - wrong) * ERRS)


def population(images: int, seed: int) -> Population:
    """Images of different difficulty: on a hard one, more annotations are wrong; what is dropped is mostly wrong."""
    draw = np.random.default_rng(seed)
    detector, other, captioner = ORIGINS
    records, wrong = [], {}
    for place in range(images):
        sha = hashlib.sha256(f"{seed} {place}".encode()).hexdigest()
        hard = draw.beta(1, 5)  # 0.17 on average
        annotations, verdicts = [], []
        for number in range(1 + draw.poisson(5)):
            origin = detector if draw.random() < 0.7 else other
            score = float(draw.beta(4, 2))
            annotation = Annotation(
                image=sha, kind="region", value=Boxes(((float(number), 0.0, 40.0, 40.0),), ("thing",)), origin=origin,
                score=score,
            )  # fmt: skip
            dropped = score < 0.4
            wrong[annotation.id] = draw.random() < (0.8 if dropped else hard * (1.6 - score))
            annotations.append(annotation)
            if dropped:
                verdicts.append(Verdict(annotation=annotation.id, status="dropped", stage="regions.score"))
        text = Annotation(image=sha, kind="text", value=Text((f"a text {place}",)), origin=captioner, length="brief")
        wrong[text.id] = draw.random() < hard
        row = ImageRow(reference=f"{place}.jpg", sha256=sha, size=Size(64, 64))
        records.append(Record(image=row, annotations=(*annotations, text), verdicts=tuple(verdicts)))
    return Population(tuple(records), wrong)


def judged(sample: audit.AuditSample, wrong: Mapping[str, bool], seed: int) -> dict[str, Decision]:
    """What a person says of each item."""
    draw = np.random.default_rng([seed, 1])
    said: dict[str, Decision] = {}
    for item in sample.items:
        errs, unsure = draw.random() < ERRS, draw.random() < UNSURE
        says_wrong = wrong[item.annotation] is not errs
        said[item.annotation] = "cannot tell" if unsure else "wrong" if says_wrong else "right"
    return said


def coverage(of: Population, audits: int, items: int = audit.SAMPLE, least: int = audit.LEAST) -> dict[str, float]:
    """In what share of the audits the interval holds the audited error of kept annotations, and of others."""
    truth = {"kept": of.audited(True), "not kept": of.audited(False)}
    inside = dict.fromkeys(truth, 0)
    for seed in range(audits):
        sample = audit.draw(lambda: of.records, ORIGINS, sample=items, least=least, seed=seed)
        verdicts = judged(sample, of.wrong, seed)
        for name, true in truth.items():
            chosen = [item for item in sample.items if (item.stratum.status == "kept") is (name == "kept")]
            hits = [verdicts[item.annotation] == "wrong" for item in chosen]
            estimate = audit_estimates.share(chosen, hits, seed, 1000)
            inside[name] += estimate.low <= true <= estimate.high  # type: ignore[operator]
    return {name: count / audits for name, count in inside.items()}
