"""The folder of one run: answers, scores, record, packing, removal."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness import store
from harness.core import Answer, Score, Text
from harness.errors import DataError, UsageError
from harness.store import Kept, RunFolder
from tests import toy

FIRST, SECOND = (Kept(name, "d", Answer((name,), Text((name,)))) for name in "12")


def append(folder: RunFolder, *answers: Kept) -> None:
    with folder.locked(), folder.appending() as appender:
        for answer in answers:
            appender.write(answer)


@pytest.mark.parametrize("damage", ['{"id": "9", "raw": ["x"', '{"id": "9"}', "\x00\x00", "[]", "null"])
def test_incomplete_last_line_is_ignored_and_then_removed(tmp_path: Path, damage: str) -> None:
    folder = RunFolder(tmp_path)
    append(folder, FIRST)
    with (tmp_path / "answers.jsonl").open("a") as stream:
        stream.write(damage)
    assert folder.answers() == {"1": FIRST}
    append(folder, SECOND)
    assert folder.answers() == {"1": FIRST, "2": SECOND}
    assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 2


def test_damaged_line_between_others_is_skipped(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append(folder, FIRST)
    with (tmp_path / "answers.jsonl").open("a") as stream:
        stream.write('{"id": ["not", "a", "string"], "asked": "d", "raw": [], "value": null, "tokens": 0, ')
        stream.write('"truncated": false, "seconds": 0, "batch": 1}\n')
    append(folder, SECOND)
    assert folder.answers() == {"1": FIRST, "2": SECOND}


def test_later_answer_replaces_earlier_one_of_same_sample(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append(folder, FIRST, replace(FIRST, asked="other"))
    assert folder.answers() == {"1": replace(FIRST, asked="other")}


def test_answer_that_cannot_be_encoded_leaves_no_line(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        append(folder, replace(FIRST, answer=Answer(("x",), None, seconds=math.nan)))
    assert folder.answers() == {}


def test_scores_round_trip_and_replace_packed_ones(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_scores([("7", Score({"iou": 0.1}))])
    store.pack(folder)
    assert folder.scores() == {"7": Score({"iou": 0.1})}
    folder.write_scores([("8", Score({"iou": 0.2}, readable=False))])
    assert folder.scores() == {"8": Score({"iou": 0.2}, readable=False)}


def test_damaged_score_line_is_refused(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text('{"id": "1"}\n')
    with pytest.raises(DataError, match=r"scores\.jsonl has a line that is not a score \(KeyError.*scores again"):
        RunFolder(tmp_path).scores()


def test_packed_run_is_read_and_scored_without_queries(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    answers, scores = folder.answers(), folder.scores()
    store.pack(folder)
    assert sorted(path.name for path in folder.path.iterdir()) == ["answers.jsonl.gz", "run.json", "scores.jsonl.gz"]
    assert (folder.answers(), folder.scores(), folder.has_answers) == (answers, scores, True)
    silent = toy.Counting()
    assert toy.go(tmp_path, silent) == record
    assert silent.asked == []


def test_packed_answers_are_kept_when_more_are_appended(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting(bad="4.png"))
    store.pack(toy.folder(tmp_path, record.spec))
    rest = toy.Counting()
    assert toy.go(tmp_path, rest).metrics["accuracy"].n == 60
    assert rest.asked == ["12", "13", "14"]


def test_run_folder_stays_inside_results_for_hostile_names(tmp_path: Path) -> None:
    hostile = replace(toy.spec(toy.task()), model="../../outside", data="..")
    assert tmp_path in store.run_folder(tmp_path, hostile).resolve().parents


def test_remove_leaves_no_empty_folders_below_results(tmp_path: Path) -> None:
    results = tmp_path / "results"
    first, other = (toy.go(results, toy.Counting(), limit=limit) for limit in (2, 3))
    assert toy.folder(results, first.spec).remove(results) == ()
    assert toy.folder(results, other.spec).read_run() == other
    assert toy.folder(results, other.spec).remove(results) == ()
    assert list(results.iterdir()) == []


def test_remove_leaves_files_that_no_run_wrote(tmp_path: Path) -> None:
    record = toy.go(tmp_path / "results", toy.Counting())
    folder = toy.folder(tmp_path / "results", record.spec)
    (folder.path / "thesis").mkdir()
    for name in ("notes.txt", "thesis/chapter.tex", "run.json.1234.partial"):
        (folder.path / name).write_text("mine")
    assert folder.remove(tmp_path / "results") == ("notes.txt", "thesis")
    assert sorted(path.name for path in folder.path.rglob("*")) == ["chapter.tex", "notes.txt", "thesis"]


@pytest.mark.parametrize("place", ["elsewhere", "results/linked", "."])
def test_remove_of_folder_that_is_not_below_results_raises(tmp_path: Path, place: str) -> None:
    """A folder of the user's that merely holds a run.json; directly, by a link in the results, and a folder above."""
    (tmp_path / "results").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "results/linked").symlink_to(tmp_path / "elsewhere")
    record = toy.go(tmp_path / "made", toy.Counting())
    shutil.copytree(toy.folder(tmp_path / "made", record.spec).path, tmp_path / place, dirs_exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match=r"is not below .*results; --out names the folder of results"):
        RunFolder(tmp_path / place).remove(tmp_path / "results")
    assert sorted(tmp_path.rglob("*")) == before


def test_forget_removes_everything_but_the_folder(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    store.pack(folder)
    folder.forget()
    assert list(folder.path.iterdir()) == []
    assert (folder.read_run(), folder.answers(), folder.has_answers) == (None, {}, False)


def test_siblings_are_the_other_runs_of_model_and_split(tmp_path: Path) -> None:
    first, other = (toy.go(tmp_path, toy.Counting(), limit=limit) for limit in (2, 3))
    [(sibling, record)] = toy.folder(tmp_path, first.spec).siblings()
    assert (sibling.path, record) == (toy.folder(tmp_path, other.spec).path, other)


def test_inherit_renames_the_folder_of_the_same_spec(tmp_path: Path) -> None:
    record = toy.go(tmp_path, toy.Counting())
    folder = toy.folder(tmp_path, record.spec)
    answers = folder.answers()
    folder.path.rename(folder.path.with_name("id of an earlier version"))
    folder.inherit(replace(record.spec, seed=1))  # no run has this spec
    assert not folder.path.exists()
    folder.inherit(record.spec)
    assert (folder.read_run(), folder.answers(), folder.siblings()) == (record, answers, [])


def test_folder_is_busy_while_it_is_locked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert not folder.busy
    with folder.locked():
        assert folder.busy
    assert not folder.busy


@pytest.mark.parametrize("name", ["lock", "answers.jsonl"])
def test_link_in_place_of_a_file_of_the_run_is_not_written_through(tmp_path: Path, name: str) -> None:
    """A stranger's results folder may hold a link to a file of the user's."""
    (tmp_path / "thesis.tex").write_text("mine, without a newline")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "thesis.tex")
    with pytest.raises(DataError, match=f"{name} is a link, a folder, a pipe or a device, which no run writes; remove"):
        append(RunFolder(tmp_path / "run"), FIRST)
    assert (tmp_path / "thesis.tex").read_text() == "mine, without a newline"
    assert not RunFolder(tmp_path / "run").busy


def test_pipe_in_place_of_the_lock_is_not_opened(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever."""
    os.mkfifo(tmp_path / "lock")
    assert not RunFolder(tmp_path).busy
    with pytest.raises(DataError, match="lock is a link, a folder, a pipe or a device"):
        append(RunFolder(tmp_path), FIRST)
