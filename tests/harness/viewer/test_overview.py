"""The data of the first page."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness import store
from harness.core import Estimate, Run
from harness.viewer.given import Listed
from harness.viewer.overview import overview, role, scale, sentence, warnings
from tests.harness.viewer.viewed import run_of


def listed(*runs: Run) -> list[Listed]:
    return [Listed(run, run.status, "") for run in runs]


def with_id(run: Run, name: str, **changes: object) -> Run:
    return replace(run, id=name, **changes)  # type: ignore[arg-type]


def test_sentence_counts_models_tasks_and_predictions() -> None:
    runs = [run_of("a", 5), run_of("b", 7, split="testA"), run_of("whole-image", 5), run_of("oracle", 5, data="x")]
    expected = (
        "2 models on 1 task of coco, x: 4 runs, 22 predictions, 2026-11-26."  # floors and ceilings do not compete
    )
    assert sentence(runs) == expected
    assert sentence([]) == "No runs yet."


def test_leaderboard_ranks_models_and_not_floors_or_ceilings() -> None:
    best = replace(run_of("best"), metrics={"Acc@0.5": Estimate(80, 78, 82, 9)})
    ceiling = replace(run_of("oracle"), metrics={"Acc@0.5": Estimate(100, 100, 100, 9)})
    found = overview(listed(run_of("other"), best, ceiling, run_of("whole-image")), live=False)
    [task] = found["tasks"]
    cells = task["cells"]
    assert cells["best zero_shot"]["best"] and cells["best zero_shot"]["rank"] == [1, 1]
    assert cells["other zero_shot"]["rank"] == [2, 2] and cells["oracle zero_shot"]["rank"] is None
    [alone] = overview(listed(best), live=False)["tasks"]
    assert alone["cells"]["best zero_shot"]["rank"] is None  # a rank among one says nothing
    assert [model["role"] for model in found["models"]] == ["model", "model", "ceiling", "floor"]
    assert role("most-frequent") == "floor" and role("florence2-l") == "model"


def test_cell_of_several_runs_shows_the_complete_one() -> None:
    whole = with_id(run_of("a"), "whole")
    partial = with_id(run_of("a", limit=3), "part", status="partial", provenance={"date": "2027-01-01"})
    [task] = overview(listed(partial, whole), live=False)["tasks"]
    assert task["cells"]["a zero_shot"]["run"] == "whole" and task["cells"]["a zero_shot"]["others"] == 1


def test_published_figures_are_beside_real_data_only() -> None:
    real = overview(listed(run_of("a", task="coco_caption", split="test")), live=False)
    assert real["tasks"][0]["published"] == []  # of Acc@0.5, which no captioning figure has
    captions = replace(
        run_of("a", task="coco_caption", split="test"), headline="CIDEr", metrics={"CIDEr": Estimate(90, 89, 91, 9)}
    )
    [task] = overview(listed(captions), live=False)["tasks"]
    values = [figure["value"] for figure in task["published"]]
    assert values == sorted(values, reverse=True) and 0 < len(values) <= 12
    miniature = replace(captions, spec=replace(captions.spec, data="miniature"))
    assert overview(listed(miniature), live=False)["tasks"][0]["published"] == []


@pytest.mark.parametrize(
    ("metric", "high", "end"),
    [("mAP", 60.0, 100.0), ("CIDEr", 812.0, 812.0), ("CIDEr", 0.0, 100.0), ("x", 140.0, 140.0)],
)
def test_scale_ends_at_a_hundred_percent_or_at_the_largest_cider(metric: str, high: float, end: float) -> None:
    assert scale(metric, [Estimate(high / 2, 0.0, high, 9), Estimate(None, None, None, 0)]) == end


def test_warnings_name_edits_contradictions_and_failures() -> None:
    sealed = store.sealed(run_of("a", 5))
    assert warnings(sealed) == []
    lied = replace(sealed, metrics={"Acc@0.5": Estimate(99.0, 98.0, 100.0, 5)})
    assert "edited" in warnings(lied)[0]
    failed = replace(run_of("a"), status="incomplete", counts={"failed": 2}, provenance={"failures": {"s": "no image"}})
    assert warnings(failed) == ["2 questions failed, so there is no result; first failure: no image"]
    contradicted = replace(run_of("a"), provenance={"contradicted": "they differ", "remarks": ["one"]})
    assert warnings(contradicted) == ["they differ", "one"]
    for foreign in (None, 5, "text", {"a": 1}):
        assert warnings(replace(run_of("a"), provenance={"remarks": foreign, "notes": foreign})) == []
