"""Speed, studies, tables and the data engine as payloads, against arithmetic."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from harness.data_engine.counts import ASPECTS, SIZES
from harness.report.studies import StudyResult, results_of
from harness.report.tables import Table
from harness.viewer.extras import NAMES, Collected, payload
from tests.harness.report.test_engine import REPORT
from tests.speeds import PEER, record

METRICS = {"refcoco_res": "mIoU"}


def study(published: float | None, rich: tuple[float, float, float] = (39, 40, 41), margin: float = 3.0) -> StudyResult:
    """Two arms: `plain` with 30, 30, 30 and `rich`; the paper has 18.6 for `plain`."""
    by_seed = {
        arm: {seed: {"refcoco_res": float(value)} for seed, value in enumerate(values)}
        for arm, values in {("plain", ""): (30.0, 30.0, 30.0), ("rich", ""): rich}.items()
    }
    paper: dict[str, dict[str, float | None]] = {"plain": {"refcoco_res": 18.6}, "rich": {"refcoco_res": published}}
    results = results_of(by_seed, ("plain", ""), {"rich": "more"}, paper)
    return StudyResult(
        "test", "Why?", "plain", "Summary.", "Table 0", results, METRICS, 6, 6, "small", [], paper,
        {"refcoco_res": margin},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("published", "rich", "margin", "decided", "agreement"),
    [
        # Differences 9, 10, 11: 10 +- 4.3027 / sqrt(3) = 7.5 to 12.5.
        (20.6, (39, 40, 41), 3, "higher", "agrees"),
        (17.6, (39, 40, 41), 3, "higher", "disagrees"),
        (18.6, (39, 40, 41), 3, "higher", "cannot tell"),  # the paper has no difference
        (20.6, (21, 20, 19), 3, "lower", "disagrees"),
        # Differences -1, 0, 1: 0 +- 2.48, within a margin of 3 and not within 2.
        (20.6, (29, 30, 31), 3, "equal", "cannot tell"),
        (20.6, (29, 30, 31), 2, "cannot tell", "cannot tell"),
        (None, (39, 40, 41), 3, "higher", ""),
    ],
)
def test_study_difference_says_what_its_interval_and_the_paper_say(
    published: float | None, rich: tuple[float, float, float], margin: float, decided: str, agreement: str
) -> None:
    [found] = payload(Collected(studies=[study(published, rich, margin)]), "studies")["studies"]
    plain, arm = found["arms"]
    assert plain["differences"] == {} and arm["arm"] == "rich" and arm["about"] == "more"
    mean, low, high, seeds, says, theirs, verdict = arm["differences"]["refcoco_res"]
    assert mean == pytest.approx(sum(rich) / 3 - 30) and low < mean < high and seeds == 3
    assert (says, verdict) == (decided, agreement)
    assert theirs == (None if published is None else pytest.approx(published - 18.6))


def test_speed_groups_records_and_ratios_by_machine() -> None:
    invalid = {**PEER, "ratio": {"value": 1.5, "low": None, "high": None}, "reasons": ["too few rounds"]}
    records = [
        record(device="B", against={"transformers": PEER, "other": {"cannot run": "no GPU"}}),
        record(device="A", settings={"batch size": 8}),
        record(device="A", against={"transformers": invalid}, valid=False, reasons=["a trend"]),
    ]
    first, second = payload(Collected(speeds=records), "speed")["machines"]
    assert (first["machine"], second["machine"]) == ("A", "B")
    assert [each["batch"] for each in first["records"]] == [4, 8]
    assert (first["records"][0]["valid"], first["records"][0]["reasons"]) == (False, ["a trend"])
    [versus] = first["versus"]
    assert (versus["ratio"], versus["low"], versus["reasons"]) == (1.5, None, ["too few rounds"])
    other, peer = second["versus"]
    assert other["problem"] == "cannot run here (no GPU)" and "ratio" not in other
    assert (peer["peer"], peer["ratio"], peer["low"], peer["high"]) == ("transformers", 2.5, 2.25, 3.0)
    assert peer["theirs"] / peer["ours"] == peer["ratio"]


def test_tables_say_how_many_rows_are_ours() -> None:
    table = Table("t", "T", ["model", "x"], [["theirs", "1"], ["mine (ours)", "2"]], our_rows=1, figure_count=1)
    [found] = payload(Collected(tables=[table]), "tables")["tables"]
    assert (found["ours"], found["figures"], found["rows"][-1]) == (1, 1, ["mine (ours)", "2"])


def test_engine_histograms_are_shares_of_the_boxes_at_the_middle_of_bins() -> None:
    [found] = payload(Collected(engines=[REPORT]), "engine")["engines"]
    assert found["name"] == "mine" and "counts" in [table["key"] for table in found["tables"]]
    for name, edges in (("sizes", SIZES), ("aspects", ASPECTS)):
        for points in found[name].values():
            assert sum(share for _, share in points) == pytest.approx(100)
            assert [place for place, _ in points] == pytest.approx([(a + b) / 2 for a, b in pairwise(edges)])
    flows = {(kind, origin): rest for kind, origin, *rest in found["flows"]}
    assert flows["region", "detector"] == [4, 2, 2]  # raw, kept, dropped


def test_nothing_to_show_is_empty() -> None:
    assert [list(payload(Collected(), name).values()) for name in NAMES] == [[[]]] * 4


def test_study_payload_keeps_the_figures_of_the_paper_apart() -> None:
    [found] = payload(Collected(studies=[replace(study(20.6), costs={})]), "studies")["studies"]
    assert found["paper"] == [
        {"arm": "plain", "values": {"refcoco_res": 18.6}}, {"arm": "rich", "values": {"refcoco_res": 20.6}},
    ]  # fmt: skip
    assert found["arms"][1]["values"]["refcoco_res"][:1] == [40.0]
