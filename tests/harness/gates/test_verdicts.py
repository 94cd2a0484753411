"""How each promise is judged, by numbers worked out in comments."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.comparison import Compared
from harness.core import Estimate, Run, RunSpec, Score
from harness.gates import verdicts
from harness.gates.promises import Promise
from harness.statistics import Difference

ONE = Promise(name="one", task="refcoco", model="m", at_least=80.0)
WORSE = Promise(name="worse", task="refcoco", model="m", not_worse_than="run", margin=2.0)


def run_of(**metrics: Estimate) -> Run:
    spec = RunSpec(data="d", data_hash="h", task="refcoco", version=2, split="val", model="m", fingerprint="f")
    return Run(schema=1, id="0", spec=spec, status="complete", headline="R", metrics=metrics)


@pytest.mark.parametrize(("value", "low", "high", "state", "chance"), [
    (80.0, 78.0, 82.0, "kept", ""),
    (79.9, 78.0, 82.0, "broken", "the interval contains the bound"),
    (70.0, 68.0, 72.0, "broken", "the whole interval is beyond"),
    (70.0, None, None, "broken", "no interval"),
    (None, None, None, "undecided", "undefined on these samples"),
])  # fmt: skip
def test_a_bound_is_hard(value: float, low: float, high: float, state: str, chance: str) -> None:
    found = verdicts.bounded(ONE, "one", run_of(R=Estimate(value, low, high, 9)), "more")
    assert found.state == state
    assert chance in found.chance


def test_a_bound_on_what_is_not_there_is_broken() -> None:
    found = verdicts.bounded(replace(ONE, metric="CIDEr"), "one", run_of(R=Estimate(1.0, None, None, 9)), "")
    assert found.state == "broken"
    assert "there are R" in found.came


def compared(value: float, low: float | None, high: float | None) -> Compared:
    return Compared(90.0, 90.0 + value, Difference(value, low, high, 0.5, 100), "", None)


@pytest.mark.parametrize(("metric", "value", "low", "high", "state", "told"), [
    ("R", 0.0, 0.0, 0.0, "kept", ""),
    ("R", -1.0, -1.9, -0.1, "kept", ""),  # worse for sure, but by no more than 2
    ("R", -3.0, -4.0, -2.5, "broken", "beyond noise"),
    ("R", -3.0, -4.0, -0.1, "broken", "beyond noise"),
    # 3 lost, up to 1 gained: the upper half is 4 wide and has to be 3, so (4 / 3) squared of 100 images: 177.8
    ("R", -3.0, -7.0, 1.0, "undecided", "about 178 images"),
    # 1 lost, down to 4: the lower half is 3 wide and the room to the margin is 1, so 9 times the images
    ("R", -1.0, -4.0, 2.0, "undecided", "about 900 images"),
    ("R", -2.0, -4.0, 0.5, "undecided", "another margin"),
    ("unreadable", 3.0, 2.5, 4.0, "broken", "beyond noise"),  # more of what is bad
    ("unreadable", -3.0, -4.0, -2.5, "kept", ""),
    ("R", 0.0, None, None, "kept", ""),
    ("R", -1.0, None, None, "undecided", "no interval"),
    ("R", -3.0, None, None, "broken", "no interval"),
])  # fmt: skip
def test_not_worse_needs_the_margin_and_the_interval(
    metric: str, value: float, low: float, high: float, state: str, told: str
) -> None:
    found = verdicts.no_worse(WORSE, "worse", metric, compared(value, low, high), 100, "")
    assert found.state == state
    assert told in found.chance


def test_what_cannot_be_told_is_red_unless_allowed() -> None:
    wide = compared(-1.0, -4.0, 2.0)
    assert verdicts.no_worse(WORSE, "worse", "R", wide, 100, "").red
    assert not verdicts.no_worse(replace(WORSE, undecided="passes"), "worse", "R", wide, 100, "").red


def test_a_slower_decode_given_as_recorded_timings() -> None:
    promise = Promise(name="speed", timings="t.json", at_least=0.95)
    base = [1.00, 1.02, 0.99, 1.01, 1.00, 1.03, 0.98, 1.00]
    slower = [one * factor for one, factor in zip(base, (1.2, 1.25, 1.15, 1.2, 1.3, 1.2, 1.18, 1.22), strict=True)]
    found = verdicts.quick(promise, base, slower, "")
    assert found.state == "broken"
    assert "p = 0.0039" in found.chance  # all of 8 ranks on one side: 1 / 2 ** 8
    assert verdicts.quick(promise, base, base, "").state == "kept"
    assert verdicts.quick(promise, slower, base, "").state == "kept"
    unclear = [1.5, 0.9, 1.2, 1.0]  # ratios 0.67, 1.13, 0.83, 1.01: a median of 0.92 by chance
    assert verdicts.quick(promise, [1.0, 1.02, 0.99, 1.01], unclear, "").state == "undecided"
    with pytest.raises(ValueError, match="equally many"):
        verdicts.quick(promise, [1.0], [], "")


def test_a_changed_mark_under_the_same_version_is_named() -> None:
    before = run_of(R=Estimate(50.0, 40.0, 60.0, 2))
    marks = {"a": Score({"hit": 1.0}), "b": Score({"hit": 0.0})}
    same = verdicts.same_scores("m", before, 2, marks, marks, before.metrics, "")
    assert same.state == "kept"
    other = marks | {"b": Score({"hit": 0.5})}
    found = verdicts.same_scores("m", before, 2, other, marks, before.metrics, "")
    assert found.state == "broken"
    assert "hit of b 0.5, which was 0.0" in found.came
    assert verdicts.same_scores("m", before, 3, other, marks, before.metrics, "").state == "undecided"
    fewer = verdicts.same_scores("m", before, 2, marks, marks, {}, "")
    assert fewer.state == "broken"
    assert verdicts.same_scores("m", before, 2, {"a": marks["a"]}, marks, before.metrics, "").state == "broken"


def test_golden_prompts() -> None:
    golden = {"caption brief": ["What does the image describe?"], "vqa bare": ["a"]}
    assert [one.state for one in verdicts.same_prompts(golden, golden)] == ["kept"]
    found = verdicts.same_prompts(golden, {"caption brief": ["What is this?"], "new form": ["b"]})
    assert {one.name: one.state for one in found} == {
        "prompt caption brief": "broken", "prompt new form": "broken", "prompt vqa bare": "broken",
    }  # fmt: skip
