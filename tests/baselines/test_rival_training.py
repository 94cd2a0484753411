"""What the training of rivals shares: wrong starts and settings, the state, and names of bases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import baselines
from baselines.pretrained import Checkpoint
from baselines.rival_training import RivalLesson, name_of
from harness.core import Task
from harness.errors import CheckpointError, DataError, ResourceError, UsageError
from harness.training.lessons import Batch, Loss
from tests.baselines import pupils
from tests.baselines import test_paligemma as paligemma

PT = paligemma.ENTRIES["paligemma-3b-pt-224"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return paligemma.save(tmp_path_factory.mktemp("start"), "gemma", "where")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pupils.root(tmp_path_factory.mktemp("images"))


@pytest.mark.parametrize(("task", "changes", "message"), [
    (pupils.UNTAUGHT, {}, "untaught has no training split"),
    (pupils.DETECTED, {"precision": "bfloat16"}, "precision=bfloat16 needs a GPU for this model"),
    (pupils.ASKED, {"image_size": "64"}, "recipes have no 'image_size'; they have steps"),
    (pupils.ASKED, {"lora_dropout": "1"}, "lora_dropout=1.0: at least 1, and a share below 1"),
    (pupils.ASKED, {"freeze": "model"}, "freeze has no effect with adapters"),
    (pupils.ASKED, {"lora": "0", "freeze": "tower"}, "freeze=tower: the network has no such part; it has model"),
])  # fmt: skip
def test_training_that_cannot_work_is_one_clear_line(
    start: Path, images: Path, tmp_path: Path, task: Task[Any], changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        pupils.tuned(PT, start, images, tmp_path, [task], **changes)
    assert "\n" not in str(raised.value)


def test_recipe_of_another_family_is_refused(start: Path, images: Path) -> None:
    from harness.evaluation import tuning

    with pytest.raises(UsageError, match="recipe 'unified' is not for paligemma-3b-pt-224; there are lora, detector"):
        tuning.tuned(PT, task=pupils.name(pupils.ASKED), recipe="unified", weights=str(start), data=str(images))
    with pytest.raises(UsageError, match="recipe 'lora' is not for florence2-nano; there are base-stage1"):
        tuning.tuned("florence2-nano", task="vqav2", recipe="lora", data="miniature")


def test_lora_without_peft_says_what_to_install(
    start: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ResourceError, match=r'lora needs peft, which is not installed: pip install "florence2-harness'):
        pupils.tuned(PT, start, images, tmp_path, [pupils.ASKED], steps=1)


def test_task_that_the_model_cannot_be_taught_is_left_out_or_refused(
    start: Path, images: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    detr = baselines.find("detr-r50")
    assert detr.teach is not None
    pupils.tuned(PT, start, images, tmp_path / "a", [pupils.ASKED, pupils.POINTED], steps=1)
    assert "left out: pointed (outline questions); this model can be taught caption, detect" in caplog.text
    with pytest.raises(UsageError, match=r"nothing to train on: pointed \(outline questions\); this model"):
        pupils.tuned(PT, start, images, tmp_path / "b", [pupils.POINTED], steps=1)


def test_finished_training_is_found_and_a_damaged_or_other_one_is_not_overwritten(
    start: Path, images: Path, tmp_path: Path
) -> None:
    folder = pupils.tuned(PT, start, images, tmp_path, [pupils.ASKED], steps=1)
    before = (folder / "adapter_model.safetensors").stat().st_mtime_ns
    assert pupils.tuned(PT, start, images, tmp_path, [pupils.ASKED], steps=1) == folder
    assert (folder / "adapter_model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="holds something else, which would be lost"):
        pupils.tuned(PT, start, images, tmp_path, [pupils.ASKED], steps=2)
    with pytest.raises(UsageError, match=f"{folder} is an adapter, and the training of {PT.name} starts from whole"):
        pupils.tuned(PT, folder, images, tmp_path / "more", [pupils.ASKED], steps=1)
    (folder / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match="cannot be read"):
        pupils.tuned(PT, start, images, tmp_path, [pupils.ASKED], steps=1)


def test_bad_image_ends_the_training_or_is_skipped_and_counted(start: Path, images: Path, tmp_path: Path) -> None:
    from harness.evaluation import tuning
    from harness.training.history import history_of

    root = pupils.root(tmp_path)
    (root / "red.png").write_bytes(b"no image")
    named: dict[str, Any] = {
        "task": pupils.name(pupils.ASKED), "weights": str(start), "data": str(root), "device": "cpu",
        "to": tmp_path / "out", "changes": {**pupils.FAST, "steps": "2", "batch": "8"},
    }  # fmt: skip
    with pytest.raises(DataError, match=r"red\.png cannot be decoded"):
        tuning.tuned(PT, **named)
    folder = tuning.tuned(PT, skip_bad_images=0.5, **named)
    assert (history_of(folder) or [])[-1]["skipped images"] == {"count": 1, "first": ["red.png"]}


def test_whole_weights_are_trained_without_adapters_and_loaded(start: Path, images: Path, tmp_path: Path) -> None:
    changes = {"lora": 0, "freeze": "model.vision_tower", "steps": 2, "checkpointing": "false"}
    folder = pupils.tuned(PT, start, images, tmp_path / "out", [pupils.ASKED], **changes)
    assert (folder / "model.safetensors").is_file() and (folder / "tokenizer.json").is_file()
    run = pupils.accuracy(PT, folder, images, tmp_path / "results", pupils.ASKED, max_new_tokens=4)
    assert run.spec.protocol == "fine_tuned"


class Noise(RivalLesson):
    """A loss with dropout, and frozen weights."""

    def loss(self, batch: Batch, device: torch.device) -> Loss:
        return nn.functional.dropout(self.model.weight, 0.5).sum(), {}  # type: ignore[arg-type,union-attr]


def test_dropout_depends_on_step_and_images_and_not_on_what_was_drawn_before() -> None:
    def part(step: int, name: str) -> Batch:
        return Batch([], torch.zeros(0), (), (), (), names=[name], step=step)

    lesson = Noise(nn.Linear(50, 50), 3)
    first: Tensor = lesson(part(1, "a"))[0]
    state = torch.get_rng_state()
    torch.rand(9)
    assert torch.equal(lesson(part(1, "a"))[0], first)
    others = [lesson(part(2, "a"))[0], lesson(part(1, "b"))[0], Noise(lesson.model, 4)(part(1, "a"))[0]]
    assert all(not torch.equal(other, first) for other in others)
    torch.set_rng_state(state)
    expected = torch.rand(3)
    torch.set_rng_state(state)
    lesson(part(1, "a"))
    assert torch.equal(torch.rand(3), expected)


def test_state_has_no_frozen_weights_and_is_not_loaded_into_another_network() -> None:
    model = nn.Linear(3, 2)
    model.weight.requires_grad_(False)
    lesson = Noise(model, 0)
    assert set(lesson.state_dict()) == {"model.bias"}
    lesson.load_state_dict({"model.bias": torch.ones(2)})
    assert torch.equal(model.bias.data, torch.ones(2))
    with pytest.raises(KeyError, match="another network"):
        lesson.load_state_dict({"model.weight": torch.ones(2)})


def test_name_of_starting_weights_is_a_folder_or_a_repository_with_its_revision(tmp_path: Path) -> None:
    checkpoint = Checkpoint("x", "google/x", "v1")
    assert name_of(checkpoint, None) == ("google/x", "v1")
    assert name_of(checkpoint, str(tmp_path)) == (str(tmp_path.resolve()), None)
    assert name_of(checkpoint, "someone/y@abc") == ("someone/y", "abc")
