"""Training by name: what is chosen and refused before anything is trained, and what the training is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import baselines
import tasks
from harness.core import Task
from harness.errors import UsageError
from harness.evaluation import tuning
from harness.evaluation.request import Request
from harness.protocols import finetune as protocol


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of each fine-tuning, which is not done."""
    made: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def record(*arguments: Any, **named: Any) -> Path:
        made.append((arguments, named))
        return Path(arguments[4])

    monkeypatch.setattr(protocol, "finetune", record)
    return made


def test_fine_tuning_is_given_the_tasks_and_a_folder_of_its_settings(calls: list[Any], tmp_path: Path) -> None:
    paths = [
        tuning.tuned("florence2-nano", task="refcoco,vqav2", data="miniature", device="cpu", changes=changes)
        for changes in (None, {"steps": "3"}, None)
    ]
    assert paths[0] == paths[2] != paths[1]
    assert paths[0].parent == tuning.RUNS and paths[0].name.startswith("florence2-nano-")
    recipe, taught = calls[1][0][:2]
    assert recipe.plan.steps == 3 and set(taught) == {"refcoco", "vqav2"}
    assert tuning.tuned("florence2-nano", task="vqav2", data="miniature", device="cpu", to=tmp_path) == tmp_path


@pytest.mark.parametrize(("named", "message"), [
    ({"model": "oracle", "task": "vqav2"}, "oracle cannot be fine-tuned here; there are .*florence2-nano"),
    ({"model": "florence2-nano", "task": " "}, "--task is empty"),
    ({"model": "florence2-nano", "task": "vqav2", "weights": ""}, "--weights is empty"),
    ({"model": "florence2-nano", "task": "vqav2", "to": Path()}, "--to is empty"),
    ({"model": "florence2-nano", "task": "vqav2", "changes": {"stepps": "3"}}, "stepps"),
    ({"model": "florence2-nano", "task": "vqav2", "recipe": "none"}, "none"),
])  # fmt: skip
def test_contradictory_options_are_usage_errors(named: dict[str, Any], message: str, calls: list[Any]) -> None:
    with pytest.raises(UsageError, match=message):
        tuning.tuned(**{"data": "miniature", "device": "cpu", **named})
    assert not calls


def test_protocol_fine_tuned_leaves_out_tasks_without_training_split(calls: list[Any]) -> None:
    entry = baselines.find("florence2-nano")
    request = Request(task="vqav2,nocaps", model="florence2-nano", data="miniature", device="cpu")
    requested: list[Task[Any]] = tasks.select("vqav2,nocaps")
    tuning.fine_tuned(request, entry, requested)
    assert set(calls[0][0][1]) == {"vqav2"}  # NoCaps publishes no captions for training
    with pytest.raises(UsageError, match="nocaps has no training split"):
        tuning.fine_tuned(Request(task="nocaps", model="florence2-nano"), entry, tasks.select("nocaps"))


def test_pretraining_refuses_a_recipe_of_fine_tuning(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        tuning.pretrained("nano-finetune", to=tmp_path / "x", device="cpu")
    with pytest.raises(UsageError, match="there are"):
        tuning.pretrained("mega", to=tmp_path / "x")
