"""The command `models`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

import baselines
import tasks
from harness.cli import models
from harness.core import Kind, Source
from harness.data.manifest import missing
from tests import toy
from tests.harness.cli.calling import ROOT, Call


def test_every_model_is_listed_with_where_its_weights_lie(here: Call) -> None:
    outcome = here("models", "--json")
    listed = {one["name"]: one for one in json.loads(outcome.out)}
    assert listed.keys() == baselines.every().keys()
    assert listed["florence2-b"]["repo"] == "microsoft/Florence-2-base"
    assert Path(listed["florence2-nano"]["at_hand"], "model.safetensors").is_file()
    assert (listed["florence2-b"]["licence"], listed["sam-b"]["licence"]) == ("MIT", "")
    table = here("models").out.splitlines()
    unknown = {line.split()[0] for line in table if "not established" in line}
    assert "sam-b" in unknown and unknown.isdisjoint({"florence2-b", "florence2-nano", "oracle", "rapidocr"})
    assert [line.split()[0] for line in table[1:]] == list(listed)


def test_kinds_are_a_table_with_a_row_for_models_of_a_family_that_answer_the_same(here: Call) -> None:
    head, _, *rows = here("models", "--kinds").out.splitlines()
    names = [cell.strip() for cell in head.split("|")[1:-1]]
    [blip2] = [row for row in rows if "`blip2-opt-2.7b`" in row]
    assert "`blip2-flan-t5-xxl`" in blip2
    marks = [cell.strip() for cell in blip2.split("|")[1:-1]][1:]
    assert [name for name, mark in zip(names[1:], marks, strict=True) if mark] == ["caption", "vqa"]


def test_table_of_the_documentation_is_that_of_the_program(here: Call) -> None:
    page = (ROOT / "docs/rivals.md").read_text()
    shown = page.partition("<!-- kinds -->\n")[2].partition("<!-- end of kinds -->")[0]
    assert shown == here("models", "--kinds").out


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_task_states_the_kind_of_its_questions(miniature: Path, name: str) -> None:
    task = tasks.TASKS[name]
    assert task.kind in get_args(Kind)
    there = [] if task.candidates_of else [split for split in task.splits if not missing(task, miniature, [split])]
    for split in there:  # a re-ranking needs a run; the miniature does not have the data of every task
        assert {sample.question.kind for sample in task.load(Source(miniature, split))} == {task.kind}
    assert there or name.startswith(("odinw", "rf100_vl", "grefcoco", "lvis_val", "flickr30k_rerank", "coco_rerank"))


def test_table_of_tasks_has_a_row_for_each_kind_and_one_for_tasks_that_state_none() -> None:
    stated, silent = toy.task(), replace(toy.task(), name="silent")
    stated = replace(stated, kind="ocr_regions")
    head, _, *rows = models.askers([stated, silent]).splitlines()
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in (head, *rows)]
    assert [cell[0] for cell in cells[1:-1]] == [kind.replace("_", " ") for kind in get_args(Kind)]
    assert [cell for cell in cells[1:] if cell[1]] == [["ocr regions", "`toy`"], ["not stated", "`silent`"]]
