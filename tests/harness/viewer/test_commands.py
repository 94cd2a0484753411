"""Empty cells and their commands."""

from __future__ import annotations

import shlex
from dataclasses import replace

from harness.core import Estimate
from harness.viewer.commands import MOST, command, missing
from tests.harness.viewer.viewed import run_of


def test_missing_cell_is_of_a_model_with_the_metric_on_the_same_data() -> None:
    captions = replace(
        run_of("captioner", data="coco", task="coco_caption"),
        headline="CIDEr",
        metrics={"CIDEr": Estimate(9, 8, 10, 5)},
    )
    runs = [run_of("a"), run_of("a", split="testA"), run_of("b"), run_of("c", data="other"), captions]
    [cell] = missing(runs)
    assert (cell.data, cell.task, cell.split, cell.model) == ("coco", "refcoco", "testA", "b")
    assert cell.command == "python -m harness run --task refcoco --split testA --model b --data DATA_ROOT"


def test_unfinished_run_leaves_its_cell_empty() -> None:
    begun = replace(run_of("b", split="testA"), status="running", metrics={})
    cells = missing([run_of("a"), run_of("a", split="testA"), run_of("b"), begun])
    assert [(cell.model, cell.split) for cell in cells] == [("b", "testA")]


def test_command_quotes_hostile_names_for_a_shell() -> None:
    run = run_of("a; rm -rf ~", data="miniature", protocol="fine_tuned")
    words = shlex.split(command(run, "miniature", "$(id)", "val\n"))
    assert words[:5] == ["python", "-m", "harness", "run", "--task"]
    assert words[5] == "$(id)" and words[9] == "a; rm -rf ~"
    assert words[-4:] == ["--protocol", "fine_tuned", "--data", "miniature"]
    assert "\n" not in command(run, "miniature", "t", "val\n")


def test_commands_are_bounded() -> None:
    runs = [run_of("a", split=f"s{number}") for number in range(2 * MOST)] + [run_of("b", split="s0")]
    assert len(missing(runs)) == MOST
