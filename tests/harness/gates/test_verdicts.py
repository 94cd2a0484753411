"""The verdict on each kind of promise; expected numbers are computed in comments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.comparison import Compared
from harness.core import Estimate, Run, RunSpec, Score
from harness.gates import verdicts
from harness.gates.promises import Promise
from harness.statistics import Difference

BOUND = Promise(name="one", task="refcoco", model="m", at_least=80.0)
WORSE = Promise(name="worse", task="refcoco", model="m", not_worse_than="run", margin=2.0)


def run_of(**metrics: Estimate) -> Run:
    spec = RunSpec(data="d", data_hash="h", task="refcoco", version=2, split="val", model="m", fingerprint="f")
    return Run(schema=1, id="0", spec=spec, status="complete", headline="R", metrics=metrics)


@pytest.mark.parametrize(("value", "low", "high", "state", "reason"), [
    (80.0, 78.0, 82.0, "kept", ""),
    (79.9, 78.0, 82.0, "broken", "the interval contains the bound"),
    (70.0, 68.0, 72.0, "broken", "the whole interval is beyond"),
    (70.0, None, None, "broken", "no interval"),
    (None, None, None, "undecided", "undefined on these samples"),
])  # fmt: skip
def test_bound_is_judged_by_the_value_and_explained_by_the_interval(
    value: float, low: float, high: float, state: str, reason: str
) -> None:
    verdict = verdicts.bounded(BOUND, "one", run_of(R=Estimate(value, low, high, 9)), "more")
    assert verdict.state == state
    assert reason in verdict.reason


def test_bound_on_a_missing_metric_is_broken() -> None:
    verdict = verdicts.bounded(replace(BOUND, metric="CIDEr"), "one", run_of(R=Estimate(1.0, None, None, 9)), "")
    assert verdict.state == "broken"
    assert "there are R" in verdict.measured


def compared(value: float, low: float | None, high: float | None) -> Compared:
    return Compared(90.0, 90.0 + value, Difference(value, low, high, 0.5, 100), "", None)


@pytest.mark.parametrize(("metric", "value", "low", "high", "state", "reason"), [
    ("R", 0.0, 0.0, 0.0, "kept", ""),
    ("R", -1.0, -1.9, -0.1, "kept", ""),  # surely worse, but by less than the margin of 2
    ("R", -3.0, -4.0, -2.5, "broken", "beyond noise"),
    ("R", -3.0, -4.0, -0.1, "broken", "beyond noise"),
    # Loss 3, upper end 1: the upper half is 4 wide and must shrink to 3, so (4 / 3) squared times 100 images: 177.8.
    ("R", -3.0, -7.0, 1.0, "undecided", "about 178 images"),
    # Loss 1, lower end -4: the lower half is 3 wide and must shrink to the margin, 1 away, so 9 times the images.
    ("R", -1.0, -4.0, 2.0, "undecided", "about 900 images"),
    ("R", -2.0, -4.0, 0.5, "undecided", "another margin"),
    ("unreadable", 3.0, 2.5, 4.0, "broken", "beyond noise"),  # lower is better for this metric
    ("unreadable", -3.0, -4.0, -2.5, "kept", ""),
    ("R", 0.0, None, None, "kept", ""),
    ("R", -1.0, None, None, "undecided", "no interval"),
    ("R", -3.0, None, None, "broken", "no interval"),
])  # fmt: skip
def test_not_worse_is_judged_by_margin_and_interval(
    metric: str, value: float, low: float, high: float, state: str, reason: str
) -> None:
    verdict = verdicts.no_worse(WORSE, "worse", metric, compared(value, low, high), 100, "")
    assert verdict.state == state
    assert reason in verdict.reason


def test_undecided_promise_fails_unless_it_passes_undecided() -> None:
    wide = compared(-1.0, -4.0, 2.0)
    assert verdicts.no_worse(WORSE, "worse", "R", wide, 100, "").red
    assert not verdicts.no_worse(replace(WORSE, undecided="passes"), "worse", "R", wide, 100, "").red


def test_recorded_timings_of_a_slower_side_are_broken_by_rank_test() -> None:
    promise = Promise(name="speed", timings="t.json", at_least=0.95)
    base = [1.00, 1.02, 0.99, 1.01, 1.00, 1.03, 0.98, 1.00]
    slower = [
        seconds * factor for seconds, factor in zip(base, (1.2, 1.25, 1.15, 1.2, 1.3, 1.2, 1.18, 1.22), strict=True)
    ]
    verdict = verdicts.quick(promise, base, slower, "")
    assert verdict.state == "broken"
    assert "p = 0.0039" in verdict.reason  # all 8 ranks have one sign: 1 / 2 ** 8
    assert verdicts.quick(promise, base, base, "").state == "kept"
    assert verdicts.quick(promise, slower, base, "").state == "kept"
    unclear = [1.5, 0.9, 1.2, 1.0]  # ratios 0.67, 1.13, 0.83, 1.01: median 0.92, but not significant
    assert verdicts.quick(promise, [1.0, 1.02, 0.99, 1.01], unclear, "").state == "undecided"
    with pytest.raises(ValueError, match="equally many"):
        verdicts.quick(promise, [1.0], [], "")


def test_changed_score_under_the_same_version_is_broken_and_named() -> None:
    before = run_of(R=Estimate(50.0, 40.0, 60.0, 2))
    scores = {"a": Score({"hit": 1.0}), "b": Score({"hit": 0.0})}
    same = verdicts.same_scores("m", before, 2, scores, scores, before.metrics, "")
    assert same.state == "kept"
    changed = scores | {"b": Score({"hit": 0.5})}
    verdict = verdicts.same_scores("m", before, 2, changed, scores, before.metrics, "")
    assert verdict.state == "broken"
    assert "hit of b 0.5, which was 0.0" in verdict.measured
    assert verdicts.same_scores("m", before, 3, changed, scores, before.metrics, "").state == "undecided"
    no_metrics = verdicts.same_scores("m", before, 2, scores, scores, {}, "")
    assert no_metrics.state == "broken"
    assert verdicts.same_scores("m", before, 2, {"a": scores["a"]}, scores, before.metrics, "").state == "broken"


def test_changed_new_and_removed_prompts_are_broken() -> None:
    golden = {"caption brief": ["What does the image describe?"], "vqa bare": ["a"]}
    assert [verdict.state for verdict in verdicts.same_prompts(golden, golden)] == ["kept"]
    changes = verdicts.same_prompts(golden, {"caption brief": ["What is this?"], "new form": ["b"]})
    assert {verdict.name: verdict.state for verdict in changes} == {
        "prompt caption brief": "broken", "prompt new form": "broken", "prompt vqa bare": "broken",
    }  # fmt: skip
