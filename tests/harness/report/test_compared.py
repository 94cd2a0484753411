"""A comparison of two runs as text, as JSON and as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from harness import comparison, runner
from harness.comparison import Comparison, Side
from harness.report import compared
from tests import toy
from tests.toy import Counting, go


def side(tmp_path: Path, name: str, wrong: Sequence[int] = (), limit: int | None = None) -> Side:
    """A finished run of the toy task (60 samples, 20 images) that answers the `wrong` samples wrongly."""
    run = go(tmp_path / name, Counting(wrong=wrong), limit=limit)
    task = toy.task()
    samples = runner.choose(list(task.load(toy.Source(tmp_path, "val"))), run.spec.limit, run.spec.seed)
    return Side(run, samples, runner.kept_answers(samples, toy.folder(tmp_path / name, run.spec), "counting"))


def compare(a: Side, b: Side) -> Comparison:
    return comparison.compare(toy.task(), a, b, partial(runner.mark, toy.task()))


def test_describe_two_runs_has_metrics_changes_and_counts(tmp_path: Path) -> None:
    # 60 samples: A is wrong in 6 (90.0), B in 3 (95.0).  5 of A's errors are corrected, 2 are new.
    result = compare(side(tmp_path, "a", (0, 1, 2, 10, 20, 30)), side(tmp_path, "b", (30, 40, 41)))
    lines = compared.describe([result], shown=2).splitlines()
    assert lines[0] == "toy val · toys · 60 samples, 20 images"
    [accuracy] = [line for line in lines if line.strip().startswith("accuracy")]
    assert accuracy.split()[1:4] == ["90.0", "95.0", "+5.0"]
    assert accuracy.endswith("permutation")
    assert "  right per sample: B is worse in 2, better in 5, equal in 53" in lines
    assert "    better: 0 (number 0): 0 → 100; ? → 0" in lines
    assert "    ... and 3 more better" in lines and not any("more worse" in line for line in lines)
    assert "all" not in lines[-1]  # the table of all headlines needs two comparisons


def test_describe_two_comparisons_ends_with_headlines_corrected_by_holm(tmp_path: Path) -> None:
    result = compare(side(tmp_path, "a", range(12)), side(tmp_path, "b"))
    single = result.metrics["accuracy"].difference.p
    assert single is not None
    # Holm: the smallest of three p-values is multiplied by 3, and the others are at least as large.
    assert compared.corrections([result, result, result]) == pytest.approx([3 * single] * 3)
    described = compared.describe([result, result])
    assert "all 2 headlines" in described and "p (Holm)" in described


def test_describe_runs_of_different_samples_counts_those_left_out(tmp_path: Path) -> None:
    result = compare(side(tmp_path, "a", (0,)), side(tmp_path, "b", (0,), limit=5))  # 5 images of 3 samples
    assert "15 samples, 5 images; 45 samples of only one run are left out" in compared.describe([result])


def test_corrections_of_a_headline_without_p_value_are_none(tmp_path: Path) -> None:
    result = compare(side(tmp_path, "a", (1,)), side(tmp_path, "b"))
    p = result.metrics["accuracy"].difference.p
    assert compared.corrections([replace(result, metrics={}), result]) == [None, p]


def test_as_json_has_the_unrounded_numbers(tmp_path: Path) -> None:
    result = compare(side(tmp_path, "a", (0, 1)), side(tmp_path, "b"))
    [record] = compared.as_json([result])
    accuracy = record["metrics"]["accuracy"]
    assert (accuracy["a"], accuracy["b"]) == (pytest.approx(100 * 58 / 60), 100.0)
    assert accuracy["p by Holm"] == accuracy["p"]  # one headline needs no correction
    assert record["metrics"]["unreadable"]["p by Holm"] is None
    assert (record["better"], record["worse"], record["samples"]) == (["0", "1"], [], 60)


def test_write_output_with_markup_is_escaped(tmp_path: Path) -> None:
    result = compare(side(tmp_path, "a", (3,)), side(tmp_path, "b"))
    [change] = result.better
    output = "<script>alert(1)</script> ![x](y)\x1b[2J\r\n```"
    change = replace(change, a=replace(change.a, answer=replace(change.a.answer, raw=(output,))))
    assert all(character.isprintable() for character in compared.change_line(change))
    page = compared.write([replace(result, better=[change])], [tmp_path], tmp_path / "page", 4).read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "no image: " in page  # the toy task has no images


def test_settings_of_one_record_alone_take_one_line(tmp_path: Path) -> None:
    settings = {
        "entry": ("floor", "nano"), "model: prompts: refer": (None, "a"), "model: prompts: vqa": (None, "b"),
        "model: device": (None, "cpu"), "model: bound": (1, None),
    }  # fmt: skip
    result = replace(compare(side(tmp_path, "a"), side(tmp_path, "b", (1,))), settings=settings)
    lines = compared.describe([result]).splitlines()
    assert lines[-3:] == [
        "    entry: floor | nano", "    only A records: model (bound)", "    only B records: model (prompts, device)",
    ]  # fmt: skip
