"""Speed, studies, tables and engine folders, read from a folder of results."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from harness import store
from harness.core import Run
from harness.data_engine.recipes import Recipe
from harness.data_engine.shards import Engine
from harness.errors import DataError
from harness.evaluation import extras
from harness.evaluation.extras import Live
from harness.protocols.ablate import cells_of, record_path
from harness.protocols.studies import METRICS, STUDIES
from tests.harness.data_engine.engines import image_row
from tests.harness.viewer.viewed import run_of
from tests.speeds import record


def keep_cells(results: Path, seeds: int, value: float = 10.0) -> Path:
    """Records of the arm `own` of the study `prompts`; the path of the first."""
    paths = []
    for (arm, seed), cell in cells_of(STUDIES["prompts"], range(seeds)).items():
        if arm == "own":
            path = record_path(results, "small", cell)
            path.parent.mkdir(parents=True, exist_ok=True)
            numbers = {task: {"metric": metric, "value": value + seed} for task, metric in METRICS.items()}
            path.write_text(json.dumps({"seed": seed, "evaluations": {"": numbers, "paraphrase": numbers}}))
            paths.append(path)
    return paths[0]


def test_studies_have_all_seeds_of_their_records(tmp_path: Path) -> None:
    keep_cells(tmp_path, 4)
    found = {study.name: study for study in extras.studies_of(tmp_path)}
    own = found["prompts"].arms[0]
    assert own.arm == "own" and own.values["refcoco_res"].each == (10.0, 11.0, 12.0, 13.0)
    assert all(study.done for study in found.values()) and "granularity" not in found
    assert extras.studies_of(tmp_path / "none") == []


def test_damaged_study_is_logged_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    damaged = keep_cells(tmp_path, 2)
    damaged.write_text('{"seed": "x"')
    with caplog.at_level(logging.WARNING):
        assert extras.studies_of(tmp_path) == []
    assert f"study prompts is left out: {damaged} is damaged" in caplog.text


def test_live_reads_again_only_after_a_change(tmp_path: Path) -> None:
    runs: list[Run] = []
    live = Live(tmp_path, [], lambda: runs)
    before = live.stamps()
    assert live.speeds == [] and live.studies == [] and live.engines == []
    store.keep_speed(tmp_path, "A", "one", record())
    after = live.stamps()
    assert [page for page in after if after[page] != before[page]] == ["speed"]
    assert [each["model"] for each in live.speeds] == ["florence2-b"]
    assert live.speeds is live.speeds
    keep_cells(tmp_path, 1)
    assert live.stamps()["studies"] != after["studies"] and next(study.name for study in live.studies) == "prompts"


def test_tables_follow_the_runs(tmp_path: Path) -> None:
    runs: list[Run] = []
    live = Live(tmp_path, [], lambda: runs)
    count = len(live.tables)
    runs.append(run_of("florence2-nano", 5, data="miniature"))
    assert len(live.tables) == count + 1 and live.tables[-1].key == "miniature_zero_shot"
    ours = {table.key: table for table in live.tables if table.our_rows}
    assert all(row[0].endswith("(ours)") for table in ours.values() for row in table.rows[-table.our_rows :])
    assert ours and all(not row[0].endswith("(ours)") for t in ours.values() for row in t.rows[: -t.our_rows])


def test_engine_folders_are_read_and_others_refused(tmp_path: Path) -> None:
    engine = Engine.create(tmp_path / "engine", [image_row(0)], Recipe(name="mine", stages=()), "photos", shard=2)
    found = extras.collected(tmp_path, [replace(run_of("a"), status="running")], [engine.path])
    assert [each.name for each in found.engines] == ["engine, recipe mine"]
    with pytest.raises(DataError, match="is no engine folder"):
        extras.engines_of([tmp_path / "none"])
    with pytest.raises(DataError, match="is no engine folder"):
        Live(tmp_path, [tmp_path / "none"], list)
