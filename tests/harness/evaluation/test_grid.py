"""Grids of models and tasks: each model is built once, failures do not end the others, and commands that try again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import baselines
from baselines import Batched, Entry
from harness.core import Boxes, Question
from harness.errors import CheckpointError, IncompleteError, UsageError
from harness.evaluation import grid
from harness.evaluation.request import Request


def whole(images: Sequence[Any], questions: Sequence[Question]) -> list[Boxes]:
    return [Boxes(((0.0, 0.0, *map(float, image.size)),), ("thing",)) for image in images]


def breaking(images: Sequence[Any], questions: Sequence[Question]) -> list[Boxes]:
    if any(question.text for question in questions):
        raise RuntimeError("a fault of the model")
    return whole(images, questions)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models as they are built: `refers`, `breaks` on expressions, and `lacks` its weights."""
    names: list[str] = []

    def entry(name: str, answer: Any) -> Entry:
        def build(setting: Any, options: Any) -> Batched:
            names.append(name)
            if answer is None:
                raise CheckpointError("lacks: its weights are not there")
            return Batched(f"{name} version 1", answer, setting)

        return Entry(name=name, about=name, build=build, kinds=frozenset({"refer", "detect"}))

    entries = {"refers": entry("refers", whole), "breaks": entry("breaks", breaking), "lacks": entry("lacks", None)}
    monkeypatch.setattr(baselines, "MODELS", {**baselines.MODELS, **entries})
    return names


def request(tmp_path: Path, **changes: Any) -> Request:
    tasks = "refcoco,vizwiz,coco_detection"
    command = ["python -m harness", "run", "--task", tasks, "--model=refers,breaks,lacks", "--limit", "2"]
    settings = {"task": tasks, "model": "refers,breaks,lacks", "limit": 2, "data": "miniature"}
    return Request(**{**settings, "out": tmp_path, "command": command, **changes})


def test_grid_goes_on_after_a_failure_and_builds_each_model_once(built: list[str], tmp_path: Path) -> None:
    planned = grid.plan(request(tmp_path))
    runs = [(evaluated.run.spec.model, evaluated.run.spec.task) for evaluated in planned]
    assert runs == [("refers", "refcoco"), ("refers", "coco_detection"), ("breaks", "coco_detection")]
    assert built == ["refers", "breaks", "lacks"]
    again = "python -m harness run --limit 2 --model"
    assert [(cell.model, cell.task, cell.reason, cell.command) for cell in planned.cells] == [
        ("refers", "vizwiz", "answers no vqa questions, only detect, refer", ""),
        ("breaks", "refcoco", "RuntimeError: a fault of the model", f"{again} breaks --task refcoco --split val"),
        ("breaks", "vizwiz", "answers no vqa questions, only detect, refer", ""),
        (
            "lacks", "all tasks", "lacks: its weights are not there",
            "python -m harness run --task refcoco,vizwiz,coco_detection --limit 2 --model lacks",
        ),
    ]  # fmt: skip
    with pytest.raises(IncompleteError, match="2 failed; the reason and the command that tries again are above"):
        planned.check()


def test_single_model_goes_on_after_a_failure_but_refuses_what_it_cannot_answer(
    built: list[str], tmp_path: Path
) -> None:
    planned = grid.plan(request(tmp_path, model="breaks", task="refcoco,coco_detection"))
    assert [evaluated.run.spec.task for evaluated in planned] == ["coco_detection"]
    assert [cell.task for cell in planned.cells] == ["refcoco"]
    with pytest.raises(UsageError, match="breaks cannot be evaluated on vizwiz"):
        list(grid.plan(request(tmp_path, model="breaks")))
    with pytest.raises(RuntimeError, match="a fault of the model"):
        list(grid.plan(request(tmp_path, model="breaks", task="refcoco")))
    with pytest.raises(CheckpointError, match="its weights are not there"):
        list(grid.plan(request(tmp_path, model="lacks", task="refcoco")))


def test_models_are_selected_by_commas_and_globs(built: list[str]) -> None:
    assert grid.models_of("whole-image, florence2-?,whole-image") == ["whole-image", "florence2-b", "florence2-l"]
    assert grid.models_of("all")[-3:] == ["refers", "breaks", "lacks"]
    with pytest.raises(UsageError, match="no model is called 'nothing-\\*'"):
        grid.models_of("nothing-*")
    with pytest.raises(UsageError, match="did you mean"):
        grid.models_of("whole-image,florence-2-l")
    with pytest.raises(UsageError, match="--model is empty"):
        grid.models_of(" , ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "here"}, "--weights is of one model, and --model names 2"),
        ({"name": "mine"}, "--name is of one model"),
        ({"dtype": "float32"}, "--dtype: model whole-image takes no such setting"),
    ],
)
def test_setting_that_not_every_model_takes_is_refused_before_anything_is_loaded(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        grid.plan(request(tmp_path, model="florence2-nano,whole-image", **changes))


def test_model_that_is_built_for_each_task_fails_for_one_alone(tmp_path: Path) -> None:
    """`most-frequent` needs a training split, which nocaps does not have."""
    planned = grid.plan(request(tmp_path, model="most-frequent", task="nocaps,vizwiz"))
    assert [evaluated.run.spec.task for evaluated in planned] == ["vizwiz"]
    [cell] = planned.cells
    assert (cell.task, "training" in cell.reason) == ("nocaps", True)
