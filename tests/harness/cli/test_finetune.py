"""train, finetune, recipes, ablate and `run --protocol fine_tuned`, as a person types them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.training import nano, recipes
from tasks import miniature
from tasks.miniature import train_files

Call = Callable[..., tuple[int, str, str]]
NAMED = ("--model", "florence2-nano", "--data", "miniature")
FEW = ("--set", "steps=2", "--set", "batch=4", "--set", "warmup=1")


@pytest.fixture
def training_root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small one in place of the embedded one."""
    root = tmp_path_factory.mktemp("training")
    train_files.write(root, train_files.Images(coco=4, signs=2, vizwiz=2, flickr30k=2))
    monkeypatch.setattr(miniature, "ensure_training", lambda: root)
    return root


@pytest.mark.parametrize(("arguments", "status", "complaint"), [
    (("finetune", *NAMED, "--task", "nocaps"), 2, "nocaps has no training split"),
    (("finetune", *NAMED, "--task", "refcoco", "--split", "val"), 2, "refcoco val is for evaluation, and is not"),
    (("finetune", *NAMED, "--recipe", "nano"), 2, "recipe 'nano' draws scenes of its own"),
    (("finetune", *NAMED, "--recipe", "giant"), 2, "no recipe is called 'giant'; there are base-stage1"),
    (("finetune", *NAMED, "--set", "speed=3"), 2, "recipes have no 'speed'"),
    (("finetune", *NAMED, "--set", "speed"), 2, "--set speed: key=value"),
    (("finetune", "--model", "oracle", "--data", "miniature"), 2, "oracle cannot be fine-tuned here"),
    (("finetune", *NAMED, "--weights", "./nowhere"), 4, "no such folder"),
    (("train", "--recipe", "unified"), 2, "recipe 'unified' is for `finetune`"),
    (("ablate", "--study", "size"), 2, "no study is called 'size'; there are granularity"),
    (("ablate", "--study", "prompts", "--arm", "none"), 2, "--arm none: no such arm; there are own, generic"),
    (("ablate", "--study", "prompts", "--seeds", "0"), 2, "--seeds 0: at least 1"),
    (("run", "--task", "nocaps", *NAMED, "--protocol", "fine_tuned"), 2, "nocaps has no training split"),
    (("run", "--task", "refcoco", *NAMED, "--protocol", "fine_tuned", "--dtype", "int4"), 2, "--dtype int4: one of"),
    (("run", "--task", "refcoco", *NAMED, "--protocol", "fine_tuned", "--beams", "0"), 2, "--beams 0: at least 1"),
    (("run", "--task", "refcoco", *NAMED, "--protocol", "fine_tuned", "--threads", "no"), 2, "--threads no: a whole"),
    (("run", "--task", "refcoco", *NAMED, "--protocol", "tuned"), 2, "zero_shot, few_shot or fine_tuned"),
])  # fmt: skip
def test_impossible_training_is_refused(
    call: Call, training_root: Path, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    found, _, said = call(*arguments)
    assert (found, said.startswith("error: ")) == (status, True)
    assert complaint in said
    assert not Path("runs").exists()  # nothing was trained first


def test_missing_training_file_is_named(call: Call, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    status, _, said = call("finetune", "--model", "florence2-nano", "--task", "vqav2", "--data", "root")
    assert status == 3
    assert "v2_OpenEnded_mscoco_train2014_questions.json, which is not there" in said


@pytest.mark.slow
def test_fine_tuned_checkpoint_is_evaluated_and_reused(
    call: Call, training_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = replace(nano.NANO_UNIFIED_RECIPE, plan=replace(nano.NANO_UNIFIED_RECIPE.plan, steps=2, batch=4))
    monkeypatch.setattr(recipes, "RECIPES", {**recipes.RECIPES, "nano-unified": short})
    asked = ("run", "--task", "refcoco", *NAMED, "--protocol", "fine_tuned", "--limit", "3", "--json")
    status, out, said = call(*asked)
    assert status == 0, said
    record = json.loads(out)
    assert record["spec"]["protocol"] == "fine_tuned"
    assert record["provenance"]["seen"] == "trained on this task's train"
    [checkpoint] = (tmp_path / "runs").glob("florence2-nano-nano-unified-*/checkpoint/model.safetensors")
    before = checkpoint.stat().st_mtime_ns
    status, out, said = call(*asked)
    assert status == 0 and "nothing was queried" in said
    assert checkpoint.stat().st_mtime_ns == before
    asked = ("run", "--task", "refcoco", *NAMED, "--limit", "3", "--json", "--weights", checkpoint.parent)
    assert json.loads(call(*asked)[1])["spec"]["protocol"] == "fine_tuned"  # by what the weights say
    status, _, said = call(*asked, "--protocol", "zero_shot")
    assert status == 2 and "these weights were trained on this task's train" in said
    asked = (
        "run",
        "--task",
        "vqav2",
        *NAMED,
        "--limit",
        "3",
        "--weights",
        checkpoint.parent,
        "--protocol",
        "fine_tuned",
    )
    status, _, said = call(*asked)
    assert status == 2 and "these weights were not trained on this task; also on refcoco" in said
    status, out, said = call("run", "--task", "refcoco", *NAMED, "--limit", "3", "--json")
    assert json.loads(out)["provenance"]["seen"] == "not trained on this task"
    assert json.loads(out)["spec"]["fingerprint"] != record["spec"]["fingerprint"]


DAMAGED = (
    "{", "{}", "null", '{"runs": []}', '{"runs": [{}]}',
    '{"runs": [{"identity": "x", "tasks": {"a": {"splits": "b"}}}]}',
)  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_history_is_refused_before_training(
    call: Call, training_root: Path, tmp_path: Path, damage: str
) -> None:
    own = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
    shutil.copytree(own, tmp_path / "w")
    (tmp_path / "w/training.json").write_text(damage)
    for command in (
        ("finetune", *NAMED, "--task", "vizwiz", *FEW),
        ("run", "--task", "vizwiz", *NAMED, "--limit", "1"),
    ):
        status, _, said = call(*command, "--weights", tmp_path / "w")
        assert status == 4
        assert "training.json is damaged" in said
    assert not list(tmp_path.glob("runs/*/training.pt"))


def test_existing_files_are_not_overwritten_by_a_checkpoint(call: Call, training_root: Path, tmp_path: Path) -> None:
    (tmp_path / "out/checkpoint").mkdir(parents=True)
    (tmp_path / "out/checkpoint/thesis.txt").write_text("years of work")
    status, _, said = call("finetune", *NAMED, "--task", "vizwiz", *FEW, "--to", tmp_path / "out")
    assert status == 2
    assert "checkpoint holds something else, which would be lost" in said
    assert (tmp_path / "out/checkpoint/thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(("setting", "complaint"), [
    ("rate=inf", "rate=inf"), ("rate=nan", "rate=nan"), ("weight_decay=inf", "weight_decay=inf"),
    ("floor=nan", "floor=nan"),
    ("image_size=0", "image_size=0: at least 32 pixels"), ("image_size=768", "has 256 positions, and an image of 768"),
])  # fmt: skip
def test_settings_that_ruin_weights_are_refused(call: Call, training_root: Path, setting: str, complaint: str) -> None:
    status, _, said = call("finetune", *NAMED, "--task", "vizwiz", *FEW, "--set", setting)
    assert status == 2
    assert complaint in said
