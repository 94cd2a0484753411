"""Tables of the embedded benchmark."""

from __future__ import annotations

from dataclasses import replace

from harness.report import miniature
from tests.harness.report.runs import a_run


def test_miniature_has_its_own_tables_which_are_not_comparable() -> None:
    run = a_run()
    embedded = replace(run, spec=replace(run.spec, data="miniature"))
    [table] = miniature.tables([run, embedded])
    assert "MINIATURE" in table.title
    assert "not comparable with published ones" in " ".join(table.notes)
    assert table.rows == [["coco_caption test, CIDEr", "136.1 [135.1, 137.1]"]]


def test_each_protocol_has_a_table_and_a_missing_run_a_dash() -> None:
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
