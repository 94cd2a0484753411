"""The command `merge`, and `run --shard`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.harness.cli.calling import Call, process

RUN = ("run", "--task", "vqav2", "--model", "most-frequent", "--data", "miniature", "--limit", "12")


def test_two_shards_and_a_merge_print_the_result_of_one_run(here: Call, tmp_path: Path) -> None:
    for shard in ("1/2", "2/2"):
        outcome = here(*RUN, "--shard", shard, "--out", tmp_path / shard[0])
        assert outcome.status == 0, outcome.err
        assert f"shard {shard}: asked, not scored" in outcome.out
    whole = here(*RUN, "--out", tmp_path / "whole", "--json")
    merged = here(
        "merge", tmp_path / "1", tmp_path / "2", "--data", "miniature", "--out", tmp_path / "merged", "--json"
    )
    assert merged.status == 0, merged.err
    assert json.loads(merged.out)["metrics"] == json.loads(whole.out)["metrics"]


def test_merge_without_a_shard_names_it_with_status_seven(here: Call, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        here(*RUN, "--shard", f"{number}/3", "--out", tmp_path)
    [second] = tmp_path.rglob("2-of-3")
    shutil.rmtree(second)
    outcome = here("merge", "--data", "miniature", "--out", tmp_path)
    assert outcome.status == 7
    assert "answers are missing of shards 2/3" in outcome.err
    assert "start the missing shards and merge again" in outcome.complaint


def test_ls_and_show_say_which_shards_are_asked_and_what_is_next(here: Call, tmp_path: Path) -> None:
    out = ("--out", tmp_path)
    for number in (1, 3):
        here(*RUN, "--shard", f"{number}/3", *out)
    row = here("ls", *out).out.splitlines()[1]
    assert "2 of 3 shards" in row
    assert json.loads(here("ls", *out, "--json").out) == []  # no run has a record yet
    run_id = row.split()[0]
    shown = here("show", run_id[:6], *out)
    assert "asked: 2 of 3 shards" in shown.out and "not here: 2/3" in shown.out
    assert "next: `run` with --shard 2/3, then `merge`" in shown.out
    assert [each["provenance"]["shard"] for each in json.loads(here("show", run_id, *out, "--json").out)] == [
        "1/3", "3/3",
    ]  # fmt: skip
    refused = here("score", run_id, *out)
    assert (refused.status, "only shards of this run were asked; `merge`" in refused.complaint) == (2, True)
    here("merge", "--data", "miniature", *out)
    assert "incomplete, 2 of 3 shards" in here("ls", *out).out
    here(*RUN, "--shard", "2/3", *out)
    assert "next: `merge`" in here("show", run_id, *out).out.splitlines()
    here("merge", "--data", "miniature", *out)
    assert "shards" not in here("ls", *out).out
    shown = here("show", run_id, *out)
    assert "accuracy" in shown.out and "asked: 3 of 3 shards" in shown.out and "next:" not in shown.out


def test_rm_removes_a_run_of_which_only_shards_were_asked(here: Call, tmp_path: Path) -> None:
    here(*RUN, "--shard", "1/3", "--out", tmp_path)
    [shard] = tmp_path.rglob("shard.json")
    assert here("rm", shard.parents[2].name, "--out", tmp_path).status == 0
    assert not list(tmp_path.iterdir())


def test_shard_with_export_or_under_torchrun_is_a_line(here: Call, tmp_path: Path) -> None:
    outcome = here(*RUN, "--shard", "1/2", "--export", tmp_path, "--out", tmp_path)
    assert (outcome.status, "`merge` joins the shards" in outcome.complaint) == (2, True)
    outcome = process(*RUN, "--out", tmp_path, WORLD_SIZE="2")
    assert (outcome.status, "--shard 1/N" in outcome.complaint) == (2, True)
