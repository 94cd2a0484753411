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


def test_nano_is_small() -> None:
    checkpoint = weights.load(NANO)
    count = sum(p.numel() for p in checkpoint.model.parameters())
    assert 3e6 <= count <= 6e6
    assert baselines.find("florence2-nano").parameters == f"{count / 1e6:.1f} M"
    assert (NANO / "model.safetensors").stat().st_size <= 12_000_000
    assert (NANO / "README.md").is_file()


@pytest.mark.parametrize(
    ("task", "least"),
    [
        *(("refcoco", 92), ("refcoco_plus", 92), ("refcocog", 92), ("refcoco_res", 66)),
        *(("coco_caption", 450), ("textcaps", 600), ("coco_detection", 65), ("flickr30k", 50)),
        *(("vqav2", 90), ("textvqa", 65), ("vizwiz", 75)),
    ],
)
def test_nano_is_good(task: str, least: float, miniature: Path) -> None:
    """On 40 images; the card has the numbers on all of them."""
    split = TASKS[task].splits[0]
    samples = runner.choose(list(TASKS[task].load(Source(miniature, split))), 40, 0)
    model = baselines.find("florence2-nano").build(Setting(root=miniature, batch_size=32))
    found = dict(model.answer((place, sample.question) for place, sample in enumerate(samples)))
    answers = {samples[place].id: answer for place, answer in found.items() if isinstance(answer, Answer)}
    estimate = runner.reduce(TASKS[task], runner.mark(TASKS[task], samples, answers), 0)[TASKS[task].headline]
    assert estimate.value is not None and estimate.value >= least


def test_what_weights_cannot_mean(tmp_path: Path, miniature: Path) -> None:
    build = baselines.find("florence2-b").build
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
    assert florence2.choose_dtype(None, "cuda:1") == torch.float16
    assert florence2.choose_dtype("bfloat16", "cpu") == torch.bfloat16
    assert florence2.choose_device("cpu") == "cpu"
