"""All runs under a folder of results, and one of them by its name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness import store
from harness.errors import UsageError
from tests import toy


def test_find_by_id_beginning_folder_or_file(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    for name in (record.id, record.id[:5], str(folder.path), str(folder.path / "run.json")):
        found, again = store.find(tmp_path, name)
        assert (found.path, again) == (folder.path, record)


def test_find_of_ambiguous_or_unknown_name_raises(tmp_path: Path) -> None:
    toy.go(tmp_path, toy.Counting())
    toy.go(tmp_path, toy.Counting(), limit=3)
    with pytest.raises(UsageError, match="2 runs begin with ''"):
        store.find(tmp_path, "")
    with pytest.raises(UsageError, match=r"no run has the id or folder 'nothing' .*; `python -m harness ls` lists"):
        store.find(tmp_path, "nothing")


def test_find_prefers_the_folder_with_the_id_of_the_run_to_a_copy(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    shutil.copytree(folder.path, folder.path.with_name("a copy"))
    assert store.find(tmp_path, record.id)[0].path == folder.path
    assert store.find(tmp_path, "a copy")[0].path.name == "a copy"


def test_runs_are_in_order_of_path_without_damaged_ones(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    records = [toy.go(tmp_path / name, toy.Counting(), limit=3) for name in ("b", "a")]
    (tmp_path / "0").mkdir()
    (tmp_path / "0/run.json").write_text("{")
    (toy.folder(tmp_path / "a", records[1].spec).path / "below").mkdir()
    (toy.folder(tmp_path / "a", records[1].spec).path / "below/run.json").write_text("{")  # inside a run: not searched
    assert [run for _, run in store.runs(tmp_path)] == [records[1], records[0]]
    assert [record.message.partition(": ")[0] for record in caplog.records] == [
        f"{tmp_path / '0/run.json'} is not a run record"
    ]


def test_runs_of_missing_folder_are_none(tmp_path: Path) -> None:
    assert list(store.runs(tmp_path / "nowhere")) == []


def test_sharded_runs_have_their_shards_and_find_names_them_on_request(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    assert list(store.sharded(tmp_path)) == []
    for name in ("2-of-2", "1-of-2"):
        shard = folder.shard(name)
        shard.path.mkdir(parents=True)
        shard.write_run(record)
    (folder.path / "run.json").unlink()
    [(found, shards)] = store.sharded(tmp_path)
    assert (found.path, [shard.path.name for shard, _ in shards]) == (folder.path, ["1-of-2", "2-of-2"])
    assert list(store.runs(tmp_path)) == []
    for name in (record.id[:5], str(folder.path)):
        assert store.find(tmp_path, name, shards=True)[0].path == folder.path
        with pytest.raises(UsageError, match="only shards of this run were asked"):
            store.find(tmp_path, name)
    (shards[0][0].path / "shard.json").write_text("{")
    assert [len(shards) for _, shards in store.sharded(tmp_path)] == [1]
