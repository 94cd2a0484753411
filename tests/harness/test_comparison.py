"""Two runs against each other: against enumeration, arithmetic by hand, and scipy."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm, permutation_test

from harness import comparison, runner
from harness.comparison import compare, holm, permuted, samples_needed, smallest
from harness.core import Row, Run
from harness.errors import DataError
from harness.report import compared
from harness.statistics import Difference
from harness.store import SCHEMA
from tests import toy
from tests.toy import Counting, go

Call = Callable[..., tuple[int, str, str]]


def ran(tmp_path: Path, name: str, wrong: Sequence[int] = (), **more: Any) -> tuple[Run, list[Row[Any]]]:
    """A finished run of the toy task with its rows."""
    model = Counting(wrong=wrong)
    run = go(tmp_path / name, model, **more)
    task = toy.task()
    samples = runner.choose(list(task.load(toy.Source(tmp_path, "val"))), run.spec.limit, run.spec.seed)
    kept = runner.kept_answers(samples, toy.folder(tmp_path / name, run.spec), "counting")
    return run, runner.mark(task, samples, kept)


def test_what_changed_is_counted_both_ways(tmp_path: Path) -> None:
    """60 samples; A is wrong in 6, B in 4, of which 1 is the same: +2 of 60, 5 better, 3 worse."""
    a, b = ran(tmp_path, "a", (0, 1, 2, 10, 20, 30)), ran(tmp_path, "b", (30, 40, 41, 50))
    found = compare(toy.task(), a, b)
    one = found.metrics["accuracy"]
    assert (found.samples, found.images, found.left_out) == (60, 20, 0)
    assert one.a == pytest.approx(90) and one.b == pytest.approx(100 * 56 / 60)
    assert one.difference.value == pytest.approx(100 * 2 / 60)
    assert [change.a.sample.id for change in found.better] == ["0", "1", "10", "2", "20"]
    assert [change.a.sample.id for change in found.worse] == ["40", "41", "50"]
    assert found.other_words == 8
    assert found.parted.startswith("tokens: 8 answers are other words")
    assert one.test.startswith("permutation")
    assert 0.3 < (one.difference.p or 0) < 1


def test_a_run_against_itself_is_alike(tmp_path: Path) -> None:
    a = ran(tmp_path, "a", (1, 2))
    found = compare(toy.task(), a, a)
    assert not found.worse and not found.better
    assert found.parted == "nowhere: every answer is the same, word for word"
    assert found.metrics["accuracy"].difference == Difference(0.0, 0.0, 0.0, 1.0, 60)


def test_where_one_was_asked_less_what_both_were_asked_counts(tmp_path: Path) -> None:
    whole, part = ran(tmp_path, "a", (0,)), ran(tmp_path, "b", (0,), limit=5)
    found = compare(toy.task(), whole, part)
    assert (found.samples, found.images, found.left_out) == (15, 5, 45)
    assert "15 samples, 5 images, 45 that only one was asked are left out" in compared.describe([found])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"task": "other"}, "not of the same task"), ({"version": 2}, "task version .*`score RUN` marks"),
        ({"data_hash": "1"}, "not of the same annotations"), ({"split": "test"}, "not of the same split"),
        ({"data": "others"}, "not of the same data"),
    ],
)  # fmt: skip
def test_what_is_not_the_same_is_refused(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    a = ran(tmp_path, "a")
    b = replace(a[0], spec=replace(a[0].spec, **changes)), a[1]
    with pytest.raises(DataError, match=complaint):
        compare(toy.task(), a, b)


def test_an_unfinished_run_and_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    a = ran(tmp_path, "a")
    with pytest.raises(DataError, match="is incomplete, so it has no result"):
        compare(toy.task(), a, (replace(a[0], status="incomplete"), a[1]))
    with pytest.raises(DataError, match="no sample in common"):
        compare(toy.task(), (a[0], a[1][:6]), (a[0], a[1][6:]))
    moved = [replace(row, sample=replace(row.sample, cluster="elsewhere")) for row in a[1]]
    with pytest.raises(DataError, match="sample 0 is not the same in both"):
        compare(toy.task(), a, (a[0], moved))


def test_permutations_against_all_of_them_and_scipy() -> None:
    """Nine images of one to three samples: 512 ways to exchange them."""
    draw = np.random.default_rng(0)
    clusters = np.repeat(np.arange(9), [1, 2, 3] * 3)
    differences = draw.normal(0.4, 1, len(clusters))
    sums = np.bincount(clusters, differences)
    ways = [abs(np.dot(signs, sums)) for signs in itertools.product((-1, 1), repeat=9)]
    exact = np.mean(np.array(ways) >= abs(sums.sum()) - 1e-9)
    theirs = permutation_test((sums,), np.sum, permutation_type="samples", n_resamples=np.inf).pvalue
    assert theirs == pytest.approx(exact)
    assert permuted(list(differences), list(clusters), seed=1) == pytest.approx(exact, abs=0.02)
    assert permuted([0.0] * 5, [0, 0, 1, 2, 3], seed=1) == 1.0


def test_permutations_hold_their_level() -> None:
    """Of 300 pairs of runs that are alike, at most a few more than 1 in 20 are told apart."""
    draw = np.random.default_rng(1)
    values = [permuted(list(draw.normal(0, 1, 40)), [place // 2 for place in range(40)], seed=2) for _ in range(300)]
    assert 0.01 < np.mean(np.array(values) < 0.05) < 0.09


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.02 x 3, 0.03 x 2, 0.5 x 1; and none below one before it (0.04 x 2 after 0.03 x 3)."""
    assert holm([0.5, 0.01, 0.03, 0.02]) == pytest.approx([0.5, 0.04, 0.06, 0.06])
    assert holm([0.03, 0.04, 0.9]) == pytest.approx([0.09, 0.09, 0.9])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_smallest_that_is_seen_is_seen_four_times_in_five() -> None:
    """A normal estimate with a standard error of 1 and a true difference of 2.8 is beyond 1.96 in 80 of 100 cases."""
    found = smallest(Difference(0.0, -1.96, 1.96, 0.5, 100))
    assert found == pytest.approx(2.8)
    assert norm.sf(1.96 - 2.8) == pytest.approx(0.8, abs=0.001)
    assert samples_needed(Difference(0.0, -1.96, 1.96, 0.5, 100), 1.4) == 400  # half as much: four times as many
    assert smallest(Difference(1.0, None, None, None, 1)) is None


def test_the_first_stage_at_which_they_part(tmp_path: Path) -> None:
    a, b = ran(tmp_path, "a"), ran(tmp_path, "b", (3,))
    told = {"model": {"prompts": {"refer": "x"}, "weights sha256": "1", "precision": "float32", "device": "cpu"}}
    other = {"model": {"prompts": {"refer": "x"}, "weights sha256": "2", "precision": "float32", "device": "cuda"}}
    one, two = (replace(a[0], provenance=told), a[1]), (replace(b[0], provenance=other), b[1])
    found = compare(toy.task(), one, two)
    assert found.parted == "weights: another weights sha256"
    assert found.settings == {"model: weights sha256": ("1", "2"), "model: device": ("cpu", "cuda")}
    reworded = replace(b[0], provenance={"model": {**other["model"], "prompts": {"refer": "y"}}})
    assert compare(toy.task(), one, (reworded, b[1])).parted == "prompt: another prompts"
    seen = {row.sample.id: "aa" for row in a[1]}
    found = compare(toy.task(), one, two, (seen, {**seen, "7": "bb"}))
    assert found.parted == "data: 1 samples have another picture, of the same name"


def test_several_headlines_are_corrected_together(tmp_path: Path) -> None:
    a, b = ran(tmp_path, "a", range(12)), ran(tmp_path, "b")
    found = compare(toy.task(), a, b)
    single = found.metrics["accuracy"].difference.p
    assert single is not None
    assert compared.corrections([found, found, found]) == pytest.approx([3 * single] * 3)
    told = compared.describe([found, found])
    assert "all together (2 headlines)" in told and "p by Holm" in told


def test_nothing_that_was_written_is_markup(tmp_path: Path) -> None:
    a, b = ran(tmp_path, "a", (3,)), ran(tmp_path, "b")
    row = replace(a[1][3], answer=replace(a[1][3].answer, raw=("<script>alert(1)</script> ![x](y)",)))
    found = replace(
        compare(toy.task(), a, b), better=(comparison.Change(row, b[1][3], 0.0, 1.0),)
    )  # fmt: skip
    said = compared._plain(compared._told(found.better[0]))
    assert "<script>" not in said and "\\<script\\>" in said and "![x]" not in said


def test_as_a_person_types_it(call: Call, tmp_path: Path) -> None:
    """Floor and ceiling of one task: two runs by their model's names, a page with pictures, and JSON."""
    for model in ("whole-image", "oracle-quantised"):
        asked = ("run", "--task", "refcoco", "--model", model, "--data", "miniature", "--limit", "4", "--json")
        assert call(*asked)[0] == 0
    status, out, said = call("compare", "whole-image", "oracle-quantised", "--to", "page", "--pictures", "4")
    assert status == 0, said
    assert "refcoco val · miniature" in out and "B is worse in 0 samples" in out
    assert "Acc@0.5" in out and "permutation" in out
    assert len(list((tmp_path / "page").glob("*.jpg"))) == 2
    assert "0-better-00.jpg" in (tmp_path / "page/compare.md").read_text()
    status, out, _ = call("compare", "whole-image", "oracle-quantised", "--json")
    [record] = json.loads(out)
    assert record["metrics"]["Acc@0.5"]["b"] == pytest.approx(100)
    assert record["metrics"]["Acc@0.5"]["p"] < 1
    for arguments, complaint in (
        (("whole-image", "nothing"), "no run has the id or folder 'nothing'"),
        ((tmp_path, "oracle-quantised"), "several runs of refcoco val"),
    ):
        status, _, said = call("compare", *arguments)
        assert status == 2 and complaint in said


def test_a_run_of_another_version_is_to_be_marked_again(call: Call, tmp_path: Path) -> None:
    assert call("run", "--task", "refcoco", "--model", "whole-image", "--data", "miniature", "--limit", "2")[0] == 0
    [record] = (tmp_path / "results").rglob("run.json")
    stored = json.loads(record.read_text())
    assert stored["schema"] == SCHEMA
    stored["spec"]["version"] -= 1
    record.write_text(json.dumps(stored))
    status, _, said = call("compare", record.parent, record.parent)
    assert status == 3 and "marks its answers again" in said
