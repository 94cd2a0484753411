"""The page of the data engine's study: the gate, labels, models and the sparse arms, with intervals over seeds.

Means are over the seeds that passed the gate, with 95 % Student t-intervals; a difference is paired by seed.  Without a
seed that passed, the page has the gate alone: the rest would tell nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.report.studies import Spread
from harness.report.tables import Table, markdown

Records = Mapping[tuple[str, float], Mapping[int, Mapping[str, Any]]]  # (arm, level) -> seed -> record
NONE = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStudy:
    """Every record by arm, level and seed, and what is reported of them.

    `arms` has each arm's description, `gate` the F1 to pass, `truth` the name of its arm, `done` of `cells` were made.
    """

    records: Records
    arms: Mapping[str, str]
    levels: Sequence[float]
    gate: float
    truth: str
    done: int
    cells: int
    choosing: bool = False

    @property
    def passed(self) -> list[int]:
        """The seeds that passed the gate."""
        return [seed for seed, record in self.seeds(self.truth, 0.0).items() if record["model"]["F1"] >= self.gate]

    def seeds(self, arm: str, level: float) -> Mapping[int, Mapping[str, Any]]:
        """The records of an arm by seed."""
        return self.records.get((arm, level), {})

    def values(self, arm: str, level: float, of: str, measure: str) -> dict[int, float]:
        """A measure by seed, of seeds that passed the gate; `of` is "labels" or "model"."""
        level = 0.0 if arm == self.truth else level
        found = {seed: self.seeds(arm, level).get(seed, {}).get(of, {}).get(measure) for seed in self.passed}
        return {seed: value for seed, value in found.items() if value is not None}


def page(study: EngineStudy) -> str:
    """The tables as Markdown."""
    kind = "seeds on which settings are chosen: not to be reported" if study.choosing else "reported seeds"
    intro = (
        f"# Study: engine\n\nDoes a round of the data engine help? {study.done} of {study.cells} cells have a record "
        f"({kind}). **Small models on drawn scenes: not comparable with numbers of a real benchmark.**\n"
    )
    return "\n".join([intro, *(markdown(table).replace("# ", "## ", 1) for table in tables(study))])


def tables(study: EngineStudy) -> list[Table]:
    """The gate; and, if a seed passed it, the labels, the models and the sparse arms."""
    shown = [_gate(study)]
    if study.passed:
        shown += [_labels(study), _models(study), _sparse(study)]
    return [table for table in shown if table.rows]


def _gate(study: EngineStudy) -> Table:
    rows = [
        [str(seed), f"{record['model']['F1']:.1f}", "passed" if seed in study.passed else "NOT passed"]
        for seed, record in study.seeds(study.truth, 0.0).items()
    ]
    notes = [f"F1 on held-out scenes of a model that was taught the truth; it must reach {study.gate:g}"]
    if not study.passed:
        notes.append("no seed passed: the study tells nothing, and no other number is shown")
    return Table("gate", "The gate", ["seed", "F1", ""], rows or [["none", NONE, "not made"]], 1, notes)


def _labels(study: EngineStudy) -> Table:
    arms = [arm for arm in study.arms if arm != study.truth and not arm.startswith(("detailed", "filtered, "))]
    rows = []
    for level in study.levels:
        for arm in arms:
            f1 = study.values(arm, level, "labels", "F1")
            if f1:
                parts = [_mean(study.values(arm, level, "labels", name)) for name in ("precision", "recall")]
                base = study.values("filtered", level, "labels", "F1")
                rows.append([
                    f"{level:g}", arm, str(len(f1)), *parts, _mean(f1), _difference(f1, base, arm),
                    _above(study, arm, level), _notes(study, arm, level),
                ])  # fmt: skip
    head = [
        "noise",
        "labels",
        "seeds",
        "precision",
        "recall",
        "F1",
        "gain over filtered",
        "seeds with gain above 0",
        "",
    ]
    notes = [
        "labels of scenes that no threshold was chosen on",
        "seeds with gain above 0: those whose 95 % interval by image is above 0",
    ]
    return Table("labels", "Labels: a round versus filtered labels (E2)", head, rows, 2, notes)


def _models(study: EngineStudy) -> Table:
    rows = []
    for level in study.levels:
        raw, best = (study.values(arm, level, "model", "mAP") for arm in ("raw", study.truth))
        base = study.values("filtered", level, "model", "mAP")
        for arm in study.arms:
            found = study.values(arm, level, "model", "mAP")
            if found:
                f1 = _mean(study.values(arm, level, "model", "F1"))
                rows.append([
                    f"{level:g}", arm, str(len(found)), _mean(found), _difference(found, base, arm), f1,
                    _closed(found, raw, best),
                ])  # fmt: skip
    notes = ["gap closed: of the mAP between raw and truth, a ratio of means over the seeds that have all three"]
    head = ["noise", "taught", "seeds", "mAP", "difference from filtered", "F1", "gap closed, %"]
    return Table("models", "Models taught these labels, on held-out scenes (E2, E3)", head, rows, 2, notes)


def _sparse(study: EngineStudy) -> Table:
    found: dict[str, dict[int, float]] = {}
    for (arm, level), _ in study.records.items():
        if arm.startswith("detailed"):
            found[arm] = study.values(arm, level, "model", "CIDEr")
    base = found.get("detailed, from nothing", {})
    rows = [
        [arm, str(len(values)), _mean(values), _difference(values, base, arm, "detailed, from nothing")]
        for arm in study.arms
        if (values := found.get(arm, {}))
    ]
    head = ["start", "seeds", "CIDEr", "difference from nothing"]
    return Table("sparse", "Detailed texts of few scenes (E4)", head, rows, 1)


def _mean(values: Mapping[int, float]) -> str:
    return Spread.of(list(values.values())).as_text() if values else NONE


def _difference(values: Mapping[int, float], base: Mapping[int, float], arm: str, baseline: str = "filtered") -> str:
    both = sorted(values.keys() & base.keys())
    if not both or arm == baseline:
        return NONE
    return Spread.of([values[seed] - base[seed] for seed in both]).as_text(sign=True)


def _above(study: EngineStudy, arm: str, level: float) -> str:
    """How many seeds have a gain whose interval by image is above 0."""
    by_seed = study.seeds(arm, level)
    gains = [by_seed.get(seed, {}).get("gain in F1 over filtered") for seed in study.passed]
    known = [each for each in gains if each is not None]
    return f"{sum(low is not None and low > 0 for _, low, _ in known)} of {len(known)}" if known else NONE


def _notes(study: EngineStudy, arm: str, level: float) -> str:
    """The notes of the seeds, such as that a round was not promoted."""
    said: dict[str, int] = {}
    for seed in study.passed:
        note = study.seeds(arm, level).get(seed, {}).get("note", "")
        if note:
            said[note] = said.get(note, 0) + 1
    return "; ".join(f"{note} ({count})" for note, count in said.items())


def _closed(found: Mapping[int, float], raw: Mapping[int, float], best: Mapping[int, float]) -> str:
    """The share of the gap from raw to best, in percent, over the seeds that have all three."""
    seeds = sorted(found.keys() & raw.keys() & best.keys())
    gap = sum(best[seed] - raw[seed] for seed in seeds)
    return f"{100 * sum(found[seed] - raw[seed] for seed in seeds) / gap:.0f}" if gap > 0 else NONE
