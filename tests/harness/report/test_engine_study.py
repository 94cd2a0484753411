"""The page of the data engine's study: the gate first, differences paired by seed, and nothing without the gate."""

from __future__ import annotations

from typing import Any

from harness.report.engine_study import EngineStudy, page, tables
from harness.report.tables import Table

ARMS = {
    "truth": "",
    "raw": "",
    "filtered": "",
    "round 1": "",
    "detailed, from nothing": "",
    "detailed, from the engine": "",
}
MAP = {"raw": (10.0, 20.0), "filtered": (20.0, 26.0), "round 1": (22.0, 32.0)}


def record(f1: float, m: float, **more: Any) -> dict[str, Any]:
    return {"labels": {"precision": 90.0, "recall": 50.0, "F1": f1}, "model": {"F1": 85.0, "mAP": m}, **more}


def study(gate: tuple[float, float] = (85.0, 85.0)) -> EngineStudy:
    records: dict[tuple[str, float], dict[int, dict[str, Any]]] = {
        ("truth", 0.0): {seed: {"labels": {}, "model": {"F1": f1, "mAP": 40.0}} for seed, f1 in enumerate(gate)}
    }
    for arm, values in MAP.items():
        gains = {"gain in F1 over filtered": [2.0, 0.5 if arm == "round 1" else -1.0, 3.0]} if arm != "filtered" else {}
        f1 = {"raw": 60.0, "filtered": 70.0, "round 1": 73.0}[arm]
        records[arm, 1.0] = {seed: record(f1 + seed, value, **gains) for seed, value in enumerate(values)}
    records["round 1", 1.0][1]["note"] = "not promoted"
    for arm, level, cider in (("detailed, from nothing", 0.0, 5.0), ("detailed, from the engine", 1.0, 65.0)):
        records[arm, level] = {seed: {"labels": {}, "model": {"CIDEr": cider + seed}} for seed in (0, 1)}
    return EngineStudy(records=records, arms=ARMS, levels=(1.0,), gate=80.0, truth="truth", done=12, cells=50)


def row(table: Table, arm: str, place: int = 1) -> list[str]:
    [found] = [list(each) for each in table.rows if each[place] == arm]
    return found


def test_labels_have_the_gain_of_each_seed_and_their_notes() -> None:
    labels = tables(study())[1]
    # 73 and 74; t(0.975, 1) = 12.706, standard error 0.5: 6.35 to each side; the gain is 3 with both seeds
    assert row(labels, "round 1") == [
        "1", "round 1", "2", "90.0 [90.0, 90.0]", "50.0 [50.0, 50.0]", "73.5 [67.1, 79.9]", "+3.0 [3.0, 3.0]", "2 of 2",
        "not promoted (1)",
    ]  # fmt: skip
    assert row(labels, "raw")[7] == "0 of 2"
    assert row(labels, "filtered")[6:] == ["–", "–", ""]


def test_gap_closed_is_that_of_map_between_raw_and_truth() -> None:
    models = tables(study())[2]
    assert row(models, "round 1")[-1] == "48"  # raw 15, truth 40, round 1 27: 12 / 25
    assert row(models, "raw")[-1] == "0" and row(models, "truth")[-1] == "100"
    assert row(models, "filtered")[4] == "–"
    assert row(models, "round 1")[4].startswith("+4.0 [")  # 2 and 6


def test_sparse_arms_differ_from_nothing() -> None:
    sparse = tables(study())[3]
    assert row(sparse, "detailed, from the engine", 0)[3] == "+60.0 [60.0, 60.0]"
    assert row(sparse, "detailed, from nothing", 0)[3] == "–"


def test_seed_that_failed_the_gate_counts_nowhere() -> None:
    shown = tables(study((85.0, 79.0)))
    assert [each[2] for each in shown[0].rows] == ["passed", "NOT passed"]
    assert row(shown[1], "round 1")[2] == "1"
    assert row(shown[1], "round 1")[5] == "73.0"


def test_without_a_seed_past_the_gate_no_number_but_the_gate_is_shown() -> None:
    text = page(study((70.0, 60.0)))
    assert "no seed passed: the study tells nothing, and no other number is shown" in text
    assert "CIDEr" not in text and "mAP" not in text and "| 0 | 70.0 | NOT passed |" in text
    empty = EngineStudy(records={}, arms=ARMS, levels=(1.0,), gate=80.0, truth="truth", done=0, cells=50)
    assert "| none | – | not made |" in page(empty)
    assert "12 of 50 cells have a record (reported seeds)" in page(study())
