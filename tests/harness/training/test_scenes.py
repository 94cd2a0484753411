"""Training on synthetic scenes, from a recipe to a checkpoint folder."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.florence2 import weights
from harness.training import vocabulary
from harness.training.history import history_of
from harness.training.paper import UNIFIED_RECIPE
from harness.training.scenes import drawing_of, teach
from tasks.miniature.training import FIRST_TRAINING_SEED
from tests.harness.training.tiny import DRAWING, SMALL, TINY, training_scene

SHORT = replace(
    TINY,
    plan=replace(TINY.plan, steps=2),
    data=replace(DRAWING, scenes=8, vision=replace(TINY.plan, steps=1)),
)


@pytest.fixture(autouse=True)
def few_scenes_for_the_tokenizer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "SCENES", 20)


def test_teach_writes_a_checkpoint_that_another_run_can_start_from(tmp_path: Path) -> None:
    first = teach(SHORT, training_scene, FIRST_TRAINING_SEED, tmp_path / "first")
    assert first == tmp_path / "first/checkpoint"
    [run] = history_of(first) or []
    assert (run["recipe"]["name"], run["from"], run["tasks"]) == ("tiny", None, {})
    second = teach(SHORT, training_scene, FIRST_TRAINING_SEED, tmp_path / "second", start=first)
    before, after = history_of(second) or [{}, {}]
    assert before == run
    assert after["from"] == weights.load(first).sha256
    assert after["identity"] != run["identity"]
    assert (second / "tokenizer.json").read_bytes() == (first / "tokenizer.json").read_bytes()
    with pytest.raises(UsageError, match="checkpoint has another network size than recipe 'tiny' trains"):
        larger = replace(SHORT, config=replace(SMALL, text=replace(SMALL.text, decoder_layers=2)))
        teach(larger, training_scene, FIRST_TRAINING_SEED, tmp_path / "third", start=first)


def test_teach_of_a_finished_run_trains_no_step(tmp_path: Path) -> None:
    folder = teach(SHORT, training_scene, FIRST_TRAINING_SEED, tmp_path)
    model, log = (folder / "model.safetensors").read_bytes(), (tmp_path / "training.csv").read_bytes()
    states = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")}
    assert states.keys() == {"vision.pt", "training.pt"}
    assert teach(SHORT, training_scene, FIRST_TRAINING_SEED, tmp_path) == folder
    assert (folder / "model.safetensors").read_bytes() == model
    assert (tmp_path / "training.csv").read_bytes() == log
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.pt")} == states


def test_teach_with_other_settings_in_the_same_folder_raises(tmp_path: Path) -> None:
    teach(SHORT, training_scene, FIRST_TRAINING_SEED, tmp_path)
    with pytest.raises(UsageError, match=r"vision\.pt is of another run"):
        teach(replace(SHORT, sigma=(9.0, 3.0)), training_scene, FIRST_TRAINING_SEED, tmp_path)
    assert json.loads((tmp_path / "checkpoint/training.json").read_text())["runs"][0]["recipe"]["sigma"] == [10.0, 3.0]


def test_drawing_of_recipe_for_fine_tuning_raises() -> None:
    with pytest.raises(UsageError, match="recipe 'unified' is for `finetune`: it reads tasks' training splits"):
        drawing_of(UNIFIED_RECIPE)
