"""The command `tasks`."""

from __future__ import annotations

import json

from tasks import TASKS
from tests.harness.cli.calling import Call


def test_every_task_is_listed_with_its_splits_and_the_format_of_its_predictions(here: Call) -> None:
    listed = {one["name"]: one for one in json.loads(here("tasks", "--json").out)}
    assert listed.keys() == TASKS.keys()
    assert listed["refcoco"] == {
        "name": "refcoco", "splits": ["val", "testA", "testB"], "hidden_splits": [], "train_splits": ["train"],
        "headline": "Acc@0.5",
    }  # fmt: skip
    out = here("tasks").out
    formats = [line for line in out.splitlines() if line.startswith("predictions of ")]
    named = [name for line in formats for name in line.removeprefix("predictions of ").rstrip(":").split(", ")]
    assert sorted(named) == sorted(TASKS)
