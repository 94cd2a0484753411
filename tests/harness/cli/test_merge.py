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


def test_shard_with_export_or_under_torchrun_is_a_line(here: Call, tmp_path: Path) -> None:
    outcome = here(*RUN, "--shard", "1/2", "--export", tmp_path, "--out", tmp_path)
    assert (outcome.status, "`merge` joins the shards" in outcome.complaint) == (2, True)
    outcome = process(*RUN, "--out", tmp_path, WORLD_SIZE="2")
    assert (outcome.status, "--shard 1/N" in outcome.complaint) == (2, True)
