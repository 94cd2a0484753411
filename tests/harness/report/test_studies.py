"""The results of a study: intervals by hand, differences paired by seed, and agreement with the paper."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest

from harness.report import studies
from harness.report.studies import Spread, StudyResult, results_of

METRICS = {"coco_caption": "CIDEr", "refcoco_res": "mIoU"}
VALUES = {
    ("plain", ""): {s: {"coco_caption": c, "refcoco_res": m} for s, c, m in ((0, 100, 30), (1, 110, 32), (2, 120, 31))},
    ("rich", ""): {s: {"coco_caption": c, "refcoco_res": m} for s, c, m in ((0, 109, 33), (1, 120, 29), (2, 131, 31))},
    ("late", ""): {},
}
PAPER: dict[str, dict[str, float | None]] = {
    "plain": {"coco_caption": 118.7, "refcoco_res": 18.6},
    "rich": {"coco_caption": 124.4, "refcoco_res": None},
}


def study() -> StudyResult:
    results = results_of(VALUES, ("plain", ""), {}, PAPER)
    claims = [("c", "agrees", "")]
    return StudyResult("test", "Why?", "plain", "Summary.", "Table 0", results, METRICS, 6, 9, "small", claims)


def test_spread_of_three_seeds_has_a_t_interval() -> None:
    spread = Spread.of([100.0, 110.0, 120.0])
    # Standard deviation 10, standard error 10 / sqrt(3); t(0.975, 2 degrees of freedom) = 4.3027 in printed tables.
    assert spread.mean == 110
    assert spread.low == pytest.approx(110 - 4.3027 * 10 / math.sqrt(3), abs=1e-3)
    assert Spread.of([5.0]) == Spread(5.0, None, None, 1, (5.0,))
    assert not Spread.of([5.0]).excludes_zero


def test_results_of_arms_have_differences_paired_by_seed() -> None:
    plain, rich, late = study().arms
    assert plain.differences == late.differences == late.values == {}
    captions = rich.differences["coco_caption"]  # 9, 10, 11: mean 10, standard deviation 1
    assert captions.mean == pytest.approx(10)
    assert captions.high == pytest.approx(10 + 4.3027 / math.sqrt(3), abs=1e-3)
    assert captions.excludes_zero
    outlines = rich.differences["refcoco_res"]  # 3, -3, 0
    assert outlines.mean == pytest.approx(0)
    assert not outlines.excludes_zero


def test_markdown_arm_without_records_is_not_run() -> None:
    text = studies.markdown(study())
    assert "| late | as trained | 0 | not run | not run |" in text
    assert text.count("late") == 1  # no row of differences
    assert "6 of 9 cells have a record" in text
    assert "not comparable with numbers of a real benchmark" in text
    assert "Claim: *c*. Verdict versus the paper: **agrees**." in text
    assert "| rich | as trained | **+10.0 [7.5, 12.5]** | +0.0 [-7.5, 7.5] |" in text


def test_margins_tell_equal_arms_from_undecided_ones() -> None:
    """The outlines differ by 0 within [-7.5, 7.5]: equal within a margin of 8, undecided within one of 7."""
    wide = replace(study(), margins={"coco_caption": 2.0, "refcoco_res": 8.0})
    assert "= +0.0 [-7.5, 7.5] |" in studies.markdown(wide)
    assert "(2 CIDEr, 8 mIoU)" in studies.markdown(wide)
    assert studies.resolved(wide) == (
        "Of 2 comparisons, 1 show a difference and 1 equality within the margin; 0 cannot tell."
    )
    assert "0 equality within the margin; 1 cannot tell" in studies.resolved(
        replace(wide, margins={"refcoco_res": 7.0})
    )


def test_costs_are_ratios_of_seconds() -> None:
    costed = replace(study(), costs={("plain", "3 beams"): Spread.of([1.5, 1.7])})
    assert "| plain | 3 beams | 1.60 [0.33, 2.87] |" in studies.markdown(costed)  # t(0.975, 1) = 12.706, sd 0.1414


def test_agreement_of_a_decided_difference_has_the_same_or_the_opposite_sign() -> None:
    text = studies.agreement(study())
    assert "- same sign: rich CIDEr (paper +5.7, here +10.0)" in text  # 124.4 - 118.7
    assert "- opposite sign: none" in text
    assert "- undecided: none" in text  # the paper has no mIoU of this arm
    swapped = {("rich", ""): VALUES["plain", ""], ("plain", ""): VALUES["rich", ""]}
    results = results_of(swapped, ("plain", ""), {}, PAPER)
    other = StudyResult("t", "", "plain", "", "", results, METRICS, 6, 6, "small", [])
    assert "- opposite sign: rich CIDEr (paper +5.7, here -10.0)" in studies.agreement(other)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        ("plain", "No comparison: no other arm of the paper has been run."),
        ("rich", "No comparison: the baseline arm has not been run."),
    ],
)
def test_agreement_of_a_single_arm_has_no_comparison(arm: str, message: str) -> None:
    values = {key: by_seed if key[0] == arm else {} for key, by_seed in VALUES.items()}
    results = results_of(values, ("plain", ""), {}, PAPER)
    assert studies.agreement(StudyResult("t", "", "plain", "", "", results, METRICS, 3, 9, "small", [])) == message


def test_table_has_one_row_per_arm_and_metric() -> None:
    rows = list(csv.DictReader(io.StringIO(studies.table(study()))))
    assert [(row["arm"], row["task"]) for row in rows] == [(a, t) for a in ("plain", "rich") for t in METRICS]
    assert float(rows[2]["difference"]) == pytest.approx(10)
    assert rows[2]["paper"] == "124.4000"


def test_draw_same_study_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        studies.draw(study(), tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    assert (tmp_path / "one.png").stat().st_size > 5_000
