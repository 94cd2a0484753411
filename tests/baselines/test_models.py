"""Models by name; the embedded one answers, and as well as its card says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
import torch
from PIL import Image

import baselines
from baselines import Setting, florence2
from harness import runner
from harness.core import (
    Answer,
    Boxes,
    Grounded,
    Kind,
    Phrase,
    Polygons,
    Quads,
    Question,
    Size,
    Source,
    Text,
)
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


def test_nano_answers_every_kind_with_the_same_tokens_again(tmp_path: Path) -> None:
    """It was never trained on some kinds, but each gets an answer of its own type, the same in any batch."""
    values: dict[Kind, type] = {
        "caption": Text, "detailed_caption": Text, "more_detailed_caption": Text, "detect": Boxes, "find": Boxes,
        "ground": Grounded, "refer": Boxes, "segment": Polygons, "vqa": Text, "ocr": Text, "ocr_regions": Quads,
        "name": Text, "describe": Text, "outline": Polygons, "read": Text, "regions": Boxes, "propose": Boxes,
    }  # fmt: skip
    assert set(values) == set(get_args(Kind))
    Image.effect_noise((96, 64), 90).convert("RGB").save(tmp_path / "x.png")
    phrases = (Phrase("a red cup"), Phrase("a dog"))
    asked = [
        Question("x.png", size, kind, region=(9.5, 8.0, 60.0, 40.0), text="a red cup and a dog", phrases=phrases)
        for kind in values
        for size in (Size(96, 64), None)
    ]

    def answers(batch: int) -> list[Answer]:
        model = baselines.find("florence2-nano").load(Setting(root=tmp_path, batch_size=batch), max_new_tokens=24)
        found = dict(model.answer(enumerate(asked)))
        assert all(isinstance(answer, Answer) for answer in found.values())
        return [answer for _, answer in sorted(found.items()) if isinstance(answer, Answer)]

    first, again = answers(8), answers(5)
    assert len(first) == len(asked)
    for question, one, other in zip(asked, first, again, strict=True):
        assert (one.raw, one.trail) == (other.raw, other.trail)
        assert one.value is None or isinstance(one.value, values[question.kind])
    for with_size, without in zip(first[::2], first[1::2], strict=True):  # the opened image's size is the same
        assert (with_size.raw, with_size.trail) == (without.raw, without.trail)


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
