"""The command `models`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import baselines
import tasks
from harness.core import Source
from tests.harness.cli.calling import ROOT, Call


def test_every_model_is_listed_with_where_its_weights_lie(here: Call) -> None:
    outcome = here("models", "--json")
    listed = {one["name"]: one for one in json.loads(outcome.out)}
    assert listed.keys() == baselines.every().keys()
    assert listed["florence2-b"]["repo"] == "microsoft/Florence-2-base"
    assert Path(listed["florence2-nano"]["at_hand"], "model.safetensors").is_file()
    table = here("models").out.splitlines()
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


@pytest.mark.parametrize(("kind", "names"), [
    ("caption", ["coco_caption", "flickr30k_caption", "nocaps", "textcaps"]),
    ("detect", ["coco_detection", "lvis_minival"]),
    ("find", ["odinw_miniature", "rf100_vl_miniature"]),
    ("ground", ["flickr30k"]),
    ("refer", ["refcoco", "refcoco_plus", "refcocog"]),
    ("segment", ["refcoco_res", "refcoco_plus_res", "refcocog_res"]),
    ("vqa", ["vqav2", "textvqa", "vizwiz", "docvqa"]),
    ("describe", ["refcocog_caption"]),
    ("ocr_regions", ["icdar2015"]),
    ("embed", ["flickr30k_retrieval", "coco_retrieval"]),
])  # fmt: skip
def test_kinds_of_tasks_are_those_of_the_documentation(miniature: Path, kind: str, names: list[str]) -> None:
    for name in names:
        task = tasks.TASKS[name]
        assert {sample.question.kind for sample in task.load(Source(miniature, task.splits[0]))} == {kind}
