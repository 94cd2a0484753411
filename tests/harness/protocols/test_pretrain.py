"""Pre-training from random weights: the start is kept and reused, and the tokenizer knows the data's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.core import Sample
from harness.errors import UsageError
from harness.florence2 import weights
from harness.florence2.tokenizer import Tokenizer
from harness.protocols import pretrain
from harness.protocols.finetune import Taught
from harness.training.paper import PRETRAINING
from harness.training.recipe import Recipe
from tasks import fld
from tests.harness.data_engine import samples
from tests.harness.data_engine.folders import folder
from tests.harness.training.tiny import SMALL


@pytest.fixture(scope="module")
def taught(miniature: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Taught]:
    path = tmp_path_factory.mktemp("engines") / "mine"
    folder(path, miniature, samples.records(miniature, 2))
    return {"fld": Taught(fld.of(path, miniature), ("train",))}


def recipe(seed: int = 0) -> Recipe:
    plan = replace(PRETRAINING[0].plan, steps=1, batch=2, warmup=0, precision="float32", seed=seed)
    return replace(PRETRAINING[0], config=SMALL, image_size=64, plan=plan)


def test_random_start_is_of_the_seed_and_is_reused(taught: Any, miniature: Path, tmp_path: Path) -> None:
    starts = [
        pretrain.random_start(recipe(seed), taught, miniature, tmp_path / name)
        for seed, name in ((0, "a"), (0, "b"), (1, "c"))
    ]
    first, same, other = (weights.load(start) for start in starts)
    assert first.sha256 == same.sha256 != other.sha256
    assert first.model.embedding.weight.shape == (1400, 32)
    before = (starts[0] / "model.safetensors").stat().st_mtime_ns
    assert pretrain.random_start(recipe(), taught, miniature, tmp_path / "a") == starts[0]
    assert (starts[0] / "model.safetensors").stat().st_mtime_ns == before


def test_tokenizer_is_learned_from_prompts_and_answers(taught: Any, miniature: Path, tmp_path: Path) -> None:
    start = pretrain.random_start(recipe(), taught, miniature, tmp_path / "a")
    tokenizer = Tokenizer.load(start)
    words = [tokenizer.backend.decode([id_]) for id_ in tokenizer.encode("Locate the objects with a small house")]
    assert any(word.strip() == "Locate" for word in words)
    assert any(word.strip() in ("house", "small") for word in words)


def test_texts_of_a_sample_have_no_locations(miniature: Path) -> None:
    [record] = samples.records(miniature, 1)
    texts = [text for sample in fld.samples(record) for text in pretrain.texts_of(sample)]
    assert samples.TEXT in texts and "housecar" in texts and "CAFÉ" in texts
    assert not any("<loc_" in text for text in texts)
    outside: Sample[Any] = next(each for each in fld.samples(record) if each.question.kind == "name")
    outside = replace(outside, question=replace(outside.question, region=(900.0, 0.0, 910.0, 5.0)))
    assert list(pretrain.texts_of(outside)) == []


def test_recipe_without_a_size_needs_a_start(taught: Any, miniature: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="starts from a checkpoint: give --start FOLDER"):
        pretrain.pretrain(replace(recipe(), config=None), taught, miniature, tmp_path)


def test_pretraining_changes_the_weights(taught: Any, miniature: Path, tmp_path: Path) -> None:
    done = pretrain.pretrain(recipe(), taught, miniature, tmp_path)
    before, after = (weights.load(each).model.state_dict() for each in (tmp_path / "start", done))
    assert any(not torch.equal(before[name], after[name]) for name in before)
