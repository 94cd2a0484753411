"""How often a model is built for the tasks of a request, and where its images lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from baselines.entry import Entry, Part, Setting
from harness.core import Model
from harness.errors import UsageError
from harness.evaluation.building import Models, entry_of
from harness.evaluation.plan import DataSource
from harness.evaluation.request import Request
from tests import toy

PART = Part(task=toy.task(), split="val", data_hash="0", samples=(), training_root=Path)


def entry(built: list[Path], **more: Any) -> Entry:
    def build(setting: Setting, options: object) -> Model:
        built.append(setting.root)
        return toy.Counting()

    return Entry(name="toy", about="", build=build, **more)


def roots(model: Entry, names: list[str]) -> list[int]:
    """The identity of the model for each task in turn, whose images lie in the folder of each name."""
    kept = []
    with Models(Request(task="toy", model=model), model) as models:
        for name in names:
            models.prepare(DataSource(name, Path(name)), (), PART)
            kept.append(models.of((), PART, None))
    return [id(each) for each in kept]


def test_model_is_shared_by_tasks_with_the_same_images() -> None:
    built: list[Path] = []
    first, second, third = roots(entry(built), ["a", "a", "b"])
    assert (first == second, second == third) == (True, False)
    assert built == [Path("a"), Path("b")]


def test_model_of_each_task_is_built_again() -> None:
    built: list[Path] = []
    assert len(set(roots(entry(built, per_task=True), ["a", "a"]))) == 2
    assert built == [Path("a"), Path("a")]


def test_model_object_is_taken_as_it_is_and_has_no_settings() -> None:
    model = toy.Counting()
    assert entry_of(model) is None
    with Models(Request(task="toy", model=model), None) as models:
        models.prepare(DataSource("a", Path("a")), (), PART)
        assert models.of((), PART, None) is model
    with (
        Models(Request(task="toy", model=model, device="cpu"), None) as models,
        pytest.raises(UsageError, match="built"),
    ):
        models.prepare(DataSource("a", Path("a")), (), PART)
