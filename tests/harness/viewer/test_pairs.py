"""Which pairs of runs are compared."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from harness.report.page import Shown
from harness.viewer import contents, pairs
from tests.harness.viewer.viewed import library, renamed, run_of, shown_of

NAMES = ("a", "bb", "cccc", "whole-image")  # the headline grows with the length of the name; the last is a floor


def test_all_pairs_are_compared_while_they_fit() -> None:
    runs = library([shown_of(name, Path()) for name in NAMES], 0)
    taken, left_out = pairs.chosen(runs)
    ids = [f"id-{name}" for name in NAMES]
    assert sorted(taken) == sorted(combinations(sorted(ids), 2)) and left_out == []


def test_pairs_of_the_best_model_are_kept_and_others_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "MOST", 12)  # one further pair of 12 samples
    runs = library([shown_of(name, Path()) for name in NAMES], 0)
    taken, left_out = pairs.chosen(runs)
    assert taken[:3] == [("id-a", "id-cccc"), ("id-bb", "id-cccc"), ("id-cccc", "id-whole-image")]
    assert len(taken) == 4 and len(left_out) == 2
    said = contents.payload(runs, "overview", live=False)["pairs left out"]
    assert said == [" ".join(pair) for pair in left_out]
    assert contents.payload(runs, "overview", live=True)["pairs left out"] == []
    assert not {f"pair/{a}/{b}" for a, b in left_out} & set(contents.names(runs))


def test_runs_of_other_splits_or_without_samples_do_not_pair() -> None:
    record = Shown(run_of("dd"), None, (), Path())
    runs = library([shown_of("a", Path()), renamed(shown_of("bb", Path()), split="testA"), record], 0)
    assert pairs.chosen(runs) == ([], [])
