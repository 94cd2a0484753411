"""What fine-tuning needs of a model: a model of one number goes through the whole protocol."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from harness.core import Kind, Question, Sample
from harness.protocols import finetune
from harness.training.florence2 import Florence2Learner
from harness.training.history import TrainingRun, history_of, write_history
from harness.training.learner import Learner
from harness.training.lessons import Batch, Loss
from harness.training.loop import Batches, fit
from harness.training.nano import NANO_UNIFIED_RECIPE
from harness.training.recipe import Plan
from harness.training.stores import Examples
from tests.baselines import pupils

RECIPE = replace(
    NANO_UNIFIED_RECIPE,
    plan=Plan(steps=30, batch=4, rate=0.3, warmup=0, precision="float32"),
)


class Number(nn.Module):
    """The squared distance of one number from the first id of each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch) -> Loss:
        targets = torch.tensor([float(answer[0]) for answer in batch.answers])
        return batch.share * (self.value - targets).square().mean(), {}


class OneNumber:
    """The learner of `Number`: the answer to each question is 3."""

    sha256, notes, before, language, ids, limits = "0", (), None, "numbers", 9, (9, 9)
    origin: tuple[object, ...] = ()
    kinds: frozenset[Kind] | None = frozenset({"vqa"})

    def __init__(self) -> None:
        self.lesson = Number()
        self.first: Mapping[str, Question] = {}

    def check(self, finished: Path) -> None:
        json.loads((finished / "number.json").read_text())

    def begin(self, questions: Mapping[str, Question]) -> None:
        self.first = questions

    def examples(self, sample: Sample[Any], root: Path) -> Examples:
        return [([1], [3])]

    @property
    def resizing(self) -> OneNumber:
        return self

    def resize(self, image: Image.Image) -> tuple[int, int]:
        return image.size

    def joined(self, pixels: list[Any]) -> list[Any]:
        return pixels

    def train(self, batches: Batches, out: Path, identity: str, device: str) -> None:
        fit(self.lesson, batches, RECIPE.plan, out, identity=identity)

    def save(self, folder: Path, run: TrainingRun) -> Path:
        folder.mkdir()
        (folder / "number.json").write_text(json.dumps(float(self.lesson.value.detach())))
        write_history(folder, None, run)
        return folder


def test_any_learner_is_trained_on_the_tasks_of_its_kinds(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    tasks = finetune.choose(RECIPE, [pupils.ASKED, pupils.FOUND])
    learner: Learner = OneNumber()
    folder = finetune.finetune(RECIPE, tasks, pupils.root(root), tmp_path, tmp_path / "out", learner=learner)
    assert abs(json.loads((folder / "number.json").read_text()) - 3) < 0.5
    [run] = history_of(folder) or []
    assert set(run["tasks"]) == {"asked"}  # `found` asks for boxes
    assert run["tasks"]["asked"]["samples"] == 8
    again = finetune.finetune(RECIPE, tasks, root, tmp_path, tmp_path / "out", learner=OneNumber())
    assert again == folder


def test_florence2_is_a_learner_of_all_kinds() -> None:
    nano = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
    learner: Learner = Florence2Learner(NANO_UNIFIED_RECIPE, nano)
    assert learner.kinds is None
