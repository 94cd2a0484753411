"""The training data of a checkpoint, with respect to a task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.protocols.zero_shot import Seen, seen
from harness.training.history import NAME
from tasks import TASKS


def checkpoint(folder: Path, *runs: dict[str, list[str]]) -> Path:
    """A folder whose history has a run for each of `runs`, given as task names with their splits."""
    recorded = [{"identity": "x", "tasks": {task: {"splits": splits} for task, splits in run.items()}} for run in runs]
    (folder / NAME).write_text(json.dumps({"runs": recorded}))
    return folder


@pytest.mark.parametrize(
    ("runs", "expected", "text"),
    [
        (({},), Seen(True), "not trained on this task"),
        (({"vqav2": ["train"]},), Seen(True, ("train",)), "trained on this task's train"),
        (
            ({"vqav2": ["train"], "textvqa": ["train"]}, {"vqav2": ["val", "train"], "vizwiz": ["train"]}),
            Seen(True, ("train", "val"), ("textvqa", "vizwiz")),
            "trained on this task's train, val; also on textvqa, vizwiz",
        ),
        (({"vizwiz": ["train"]},), Seen(True, (), ("vizwiz",)), "not trained on this task; also on vizwiz"),
    ],
)
def test_seen_of_checkpoint_with_history_lists_splits_and_other_tasks(
    runs: tuple[dict[str, Any], ...], expected: Seen, text: str, tmp_path: Path
) -> None:
    found = seen(TASKS["vqav2"], checkpoint(tmp_path, *runs))
    assert found == expected
    assert found.said() == text


def test_seen_of_checkpoint_without_history_is_unknown(tmp_path: Path) -> None:
    for folder in (tmp_path, None):
        assert seen(TASKS["textvqa"], folder) == Seen(False)
        assert seen(TASKS["textvqa"], folder).said().startswith("unknown")


def test_seen_of_adapter_without_history_is_what_its_base_was_trained_on(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    checkpoint(base, {"vqav2": ["train"]})
    assert seen(TASKS["vqav2"], tmp_path, base) == Seen(True, ("train",))
    assert seen(TASKS["textvqa"], tmp_path, base) == Seen(False)  # the adapter may have been trained on it
    checkpoint(tmp_path, {"textvqa": ["train"]})
    assert seen(TASKS["vqav2"], tmp_path, base) == Seen(True, (), ("textvqa",))
