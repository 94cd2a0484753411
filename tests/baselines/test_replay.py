"""Stored answers as a model: of a run, and of an official result file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import baselines
from baselines import Setting
from baselines.entry import Part
from baselines.replay import Replay
from harness.core import Answer, Failure, Question, Sample, Size, Text
from harness.errors import UsageError
from tasks import TASKS
from tests.harness.cli.calling import Outcome

DATA = ("--data", "miniature", "--json")


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from harness.cli import main

    monkeypatch.chdir(tmp_path)

    def call_here(*arguments: str) -> Outcome:
        status = main(list(arguments))
        outcome = capsys.readouterr()
        return Outcome(status, outcome.out, outcome.err)

    return call_here


def run(here: Any, task: str, model: str, *more: str) -> tuple[dict[str, Any], Path]:
    outcome = here("run", "--task", task, "--model", model, *DATA, *more)
    assert outcome.status == 0, outcome.err
    record = json.loads(outcome.out)
    [folder] = [path.parent for path in Path("results").rglob("run.json") if path.parent.name == record["id"]]
    return record, folder


@pytest.mark.parametrize("task", ["refcoco", "coco_caption", "coco_detection", "vqav2", "refcoco_res", "flickr30k"])
def test_replayed_run_has_the_metrics_of_the_run(here: Any, task: str) -> None:
    own, folder = run(here, task, "whole-image", "--limit", "12")
    replayed, again = run(here, task, f"replay:{folder}", "--limit", "12")
    assert replayed["metrics"] == own["metrics"] and replayed["counts"] == own["counts"]
    assert (replayed["spec"]["model"], replayed["spec"]["protocol"]) == ("replay", "predictions")
    origin = replayed["provenance"]["model"]["answers of"]
    assert (origin["run"], origin["model"]) == (own["id"], "whole-image")
    lines = [(path / "answers.jsonl").read_text().splitlines() for path in (folder, again)]
    stored = [[json.loads(line)["value"] for line in kept] for kept in lines]
    assert stored[0] == stored[1]


@pytest.mark.parametrize("task", ["refcoco", "coco_detection", "vqav2", "flickr30k"])
def test_official_file_has_the_metrics_of_the_run_that_wrote_it(here: Any, task: str) -> None:
    own, _ = run(here, task, "oracle", "--export", "exported")
    [path] = Path("exported").iterdir()
    replayed, _ = run(here, task, f"replay:{path}", "--name", "theirs")
    for name, estimate in own["metrics"].items():
        assert replayed["metrics"][name]["value"] == pytest.approx(estimate["value"], abs=1e-3), name
    assert replayed["spec"]["model"] == "theirs"
    assert replayed["provenance"]["model"]["answers of"]["file"] == path.name
    limited, _ = run(here, task, f"replay:{path}", "--limit", "3")  # the file has entries of other images too
    assert limited["counts"]["images"] == 3


def test_run_json_names_its_folder(here: Any) -> None:
    _, folder = run(here, "refcoco", "whole-image", "--limit", "3")
    replayed, _ = run(here, "refcoco", f"replay:{folder}/run.json", "--limit", "3")
    assert replayed["counts"]["answered"] > 0


def test_run_without_some_answers_is_incomplete_with_the_reason(here: Any) -> None:
    _, folder = run(here, "refcoco", "whole-image")
    path = folder / "answers.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[2:]))
    outcome = here("run", "--task", "refcoco", "--model", f"replay:{folder}", *DATA)
    assert outcome.status == 7 and "there is no stored answer to this question" in outcome.err
    assert json.loads(outcome.out)["counts"]["failed"] == 2


def test_answers_of_another_split_task_or_data_are_refused(here: Any, tmp_path: Path) -> None:
    _, folder = run(here, "refcoco", "whole-image", "--limit", "3")
    split = here("run", "--task", "refcoco", "--split", "testA", "--model", f"replay:{folder}", *DATA)
    assert split.status == 2 and "is a run of refcoco val, not of refcoco testA" in split.complaint
    task = here("run", "--task", "vqav2", "--model", f"replay:{folder}", *DATA)
    assert task.status == 2 and "not of vqav2 val" in task.complaint
    record = json.loads((folder / "run.json").read_text())
    record["spec"]["data_hash"] = "another"
    (folder / "run.json").write_text(json.dumps(record))
    data = here("run", "--task", "refcoco", "--model", f"replay:{folder}", *DATA)
    assert data.status == 2 and "other annotations" in data.complaint


@pytest.mark.parametrize(("path", "status", "message"), [
    ("nowhere", 2, "there is no such file or folder"),
    ("", 2, "model replay needs a path"),
    ("empty", 2, "is no run, and results of refcoco are a file"),
    ("bad.json", 3, "bad.json"),
    ("lost", 3, "has no stored answers"),
])  # fmt: skip
def test_path_without_answers_is_one_line(here: Any, tmp_path: Path, path: str, status: int, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    _, folder = run(here, "refcoco", "whole-image", "--limit", "3")
    shutil.copytree(folder, tmp_path / "lost")
    (tmp_path / "lost/answers.jsonl").unlink()
    outcome = here("run", "--task", "refcoco", "--model", f"replay:{path}", *DATA)
    assert outcome.status == status and message in outcome.complaint, outcome.err


def part(*samples: Sample[Any]) -> Part:
    return Part(task=TASKS["vqav2"], split="val", data_hash="", samples=samples, training_root=Path)


def test_equal_questions_keep_their_own_answers() -> None:
    samples = [Sample(name, Question("x.jpg", Size(1, 1), "vqa", text="why"), None, "x") for name in "ab"]
    answers = {name: Answer((name,), Text((name,))) for name in "ab"}
    model = Replay(part(*samples), answers, {})
    given = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    assert given == {0: answers["a"], 1: answers["b"]}
    equal = Question("x.jpg", Size(1, 1), "vqa", text="why")
    [(_, first)] = model.answer([(0, equal)])
    assert first == answers["a"]
    [(_, other)] = model.answer([(0, Question("y.jpg", None, "vqa"))])
    assert isinstance(other, Failure)


def test_fingerprint_depends_on_values_alone() -> None:
    answers = {"a": Answer(("x",), Text(("x",)), seconds=1.0)}
    same = {"a": Answer(("x",), Text(("x",)), seconds=2.0)}
    other = {"a": Answer(("y",), Text(("y",)))}
    prints = [Replay(part(), stored, {}).fingerprint for stored in (answers, same, other)]
    assert prints[0] == prints[1] != prints[2]


def test_replay_is_found_by_its_path_and_needs_a_task() -> None:
    entry = baselines.find("replay:some/folder")
    assert entry.name == "replay" and baselines.origin_of(entry, "replay:x") == {"model from": "replay:x"}
    with pytest.raises(UsageError, match="there is no task here"):
        entry.load(Setting())
    with pytest.raises(UsageError, match="needs a path"):
        baselines.find("replay").load(Setting())
