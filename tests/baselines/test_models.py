"""Models by name; the embedded one answers, and as well as its card says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

import baselines
from baselines import Setting, florence2
from harness import runner
from harness.core import Answer, Source
from harness.errors import CheckpointError, UsageError
from harness.florence2 import weights
from harness.training.history import history_of
from tasks import TASKS

NANO = florence2.WEIGHTS / "florence2-nano"


def test_the_names() -> None:
    assert set(baselines.MODELS) == {
        "florence2-nano", "florence2-nano-ft", "florence2-b", "florence2-l", "florence2-b-ft", "florence2-l-ft",
        "oracle", "oracle-quantised", "whole-image",
    }  # fmt: skip
    assert baselines.find("florence2-l").revision == "f0acedb"  # the paper's weights
    assert all(entry.about for entry in baselines.MODELS.values())
    with pytest.raises(UsageError, match="did you mean florence2-l"):
        baselines.find("florence-2-l")


@pytest.mark.parametrize("name", ["florence2-nano", "florence2-nano-ft"])
def test_nano_is_small(name: str) -> None:
    folder = florence2.WEIGHTS / name
    checkpoint = weights.load(folder)
    count = sum(p.numel() for p in checkpoint.model.parameters())
    assert 3e6 <= count <= 6e6
    assert baselines.find(name).parameters == f"{count / 1e6:.1f} M"
    assert (folder / "model.safetensors").stat().st_size <= 12_000_000
    assert (folder / "README.md").is_file()


def test_what_the_checkpoints_have_seen() -> None:
    zero, tuned = (history_of(florence2.WEIGHTS / name) or [] for name in ("florence2-nano", "florence2-nano-ft"))
    assert tuned[: len(zero)] == zero
    assert not any(run["tasks"] for run in zero)
    assert tuned[len(zero)]["from"] == weights.load(NANO).sha256
    assert {name for name, task in TASKS.items() if task.train_splits} == set(tuned[-1]["tasks"])


@pytest.mark.parametrize(
    ("task", "least"),
    [
        *(("refcoco", 92), ("refcoco_plus", 92), ("refcocog", 92), ("refcoco_res", 69)),
        *(("coco_caption", 300), ("textcaps", 500), ("coco_detection", 45), ("flickr30k", 62)),
        *(("vqav2", 93), ("textvqa", 85), ("vizwiz", 55)),
    ],
)
def test_fine_tuning_makes_nano_good(task: str, least: float, miniature: Path) -> None:
    """On 40 images, and far better than it was; the card has the numbers on all of them."""
    before, after = (_headline(model, task, miniature) for model in ("florence2-nano", "florence2-nano-ft"))
    assert after >= least
    assert after > 1.4 * before


def test_nano_as_it_is_finds_what_is_named(miniature: Path) -> None:
    assert _headline("florence2-nano", "refcoco", miniature) > 40  # the whole image would have 0


def _headline(name: str, task: str, miniature: Path) -> float:
    split = TASKS[task].splits[0]
    samples = runner.choose(list(TASKS[task].load(Source(miniature, split))), 40, 0)
    model = baselines.find(name).load(Setting(root=miniature, batch_size=32))
    found = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    answers = {samples[place].id: answer for place, answer in found.items() if isinstance(answer, Answer)}
    value = runner.reduce(TASKS[task], runner.mark(TASKS[task], samples, answers), 0)[TASKS[task].headline].value
    assert value is not None
    return value


def test_what_weights_cannot_mean(tmp_path: Path, miniature: Path) -> None:
    build = baselines.find("florence2-b").load
    for given in ("nowhere", "./no/where", "a/b/c", str(tmp_path / "x")):
        with pytest.raises(CheckpointError, match="no such folder, and no hub repository"):
            build(Setting(root=miniature, weights=given))
    for file in NANO.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    for number in range(3000):
        tokenizer["model"]["vocab"][f"word{number}"] = len(tokenizer["model"]["vocab"]) + 2000
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(CheckpointError, match="the embedding only"):
        build(Setting(root=miniature, weights=str(tmp_path)))


def test_devices_and_precisions() -> None:
    assert florence2.choose_dtype(None, "cpu") == torch.float32
    assert florence2.choose_dtype(None, "cuda:1") == torch.bfloat16
    assert florence2.choose_dtype("bfloat16", "cpu") == torch.bfloat16
    assert florence2.choose_device("cpu") == "cpu"
