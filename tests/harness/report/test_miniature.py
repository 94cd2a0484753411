"""Tables of the embedded benchmark, one per protocol."""

from __future__ import annotations

from dataclasses import replace

from harness.core import Estimate, Run
from harness.report import miniature
from tests.harness.report.runs import a_box_run, a_run


def test_tables_of_the_miniature_are_separate_and_marked_as_not_comparable() -> None:
    run = a_run()
    embedded = replace(run, spec=replace(run.spec, data="miniature"))
    [table] = miniature.tables([run, embedded])
    assert "MINIATURE" in table.title
    assert "not comparable with published numbers" in " ".join(table.notes)
    assert table.rows == [["coco_caption test, CIDEr", "136.1 [135.1, 137.1]"]]


def test_tables_have_one_table_per_protocol_and_a_dash_for_a_missing_run() -> None:
    runs = [
        a_run("a", 10.0, data="miniature"),
        a_run("b", 20.0, data="miniature", split="val"),
        a_run("a", 30.0, data="miniature", protocol="fine_tuned"),
        replace(a_run("a", 40.0, data="miniature", split="val"), status="incomplete"),
    ]
    zero_shot, fine_tuned = miniature.tables(runs)
    assert (zero_shot.key, fine_tuned.key) == ("miniature_zero_shot", "miniature_fine_tuned")
    assert zero_shot.head == ["task", "a", "b"]
    assert zero_shot.rows == [
        ["coco_caption test, CIDEr", "10.0 [9.0, 11.0]", "–"],
        ["coco_caption val, CIDEr", "–", "20.0 [19.0, 21.0]"],
    ]
    assert fine_tuned.rows == [["coco_caption test, CIDEr", "30.0 [29.0, 31.0]"]]


def test_tables_several_runs_in_a_cell_show_the_newest_of_the_latest_version() -> None:
    def run(name: str, version: int, date: str, value: float) -> Run:
        made = a_box_run(
            "miniature", "m", provenance={"date": date}, metrics={"Acc@0.5": Estimate(value, None, None, 5)}
        )
        return replace(made, id=name, spec=replace(made.spec, version=version))

    runs = [run("a", 1, "2027-01-01", 10.0), run("b", 2, "2026-01-01", 20.0), run("c", 2, "2026-02-01", 30.0)]
    [table] = miniature.tables(runs)
    assert table.rows == [["refcoco val, Acc@0.5", "30.0"]]
    [note] = [note for note in table.notes if "is shown" in note]
    assert note == "m refcoco val: Run c is shown, the newest of version 2; other runs: a (version 1), b (version 2)."
