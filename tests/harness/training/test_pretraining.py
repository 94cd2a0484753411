"""Pre-training of one part of the network: only that part changes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
import torch

from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.start import initialise
from harness.florence2.tokenizer import Tokenizer
from harness.training.data import Pack, pack
from harness.training.denoising import mask_of
from harness.training.pretraining import pretrain_text, pretrain_tower
from harness.training.recipe import Plan
from tasks.miniature.small_world import FIRST_TRAINING_SEED, small_scene
from tests.harness.training.processes import rows_of
from tests.harness.training.tiny import SMALL

WEIGHTS = Path(__file__).parents[3] / "baselines/weights/florence2-nano"
PLAN = Plan(steps=2, batch=4, rate=1e-3)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(WEIGHTS)


@pytest.fixture(scope="module")
def scenes(tokenizer: Tokenizer) -> Pack:
    seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 6)
    return pack(small_scene, seeds, tokenizer, Preprocess(64, 64), answer_limit=100, workers=1)


def model_for(tokenizer: Tokenizer) -> Florence2:
    model = Florence2(replace(SMALL, text=replace(SMALL.text, vocab=tokenizer.size + 1)))
    initialise(model, tokenizer.first_bin, torch.Generator().manual_seed(0))
    return model


def changed_parts(before: Florence2, after: Florence2) -> set[str]:
    first, second = before.state_dict(), after.state_dict()
    return {name.split(".")[0] for name in first if not torch.equal(first[name], second[name])}


@pytest.mark.parametrize("kind", ["masked", "contrastive"])
def test_pretrain_tower_changes_the_vision_tower_alone(
    kind: Literal["masked", "contrastive"], tokenizer: Tokenizer, scenes: Pack, tmp_path: Path
) -> None:
    model = model_for(tokenizer)
    before = copy.deepcopy(model)
    pretrain_tower(model, kind, scenes, PLAN, tmp_path)
    assert changed_parts(before, model) == {"vision"}
    [row] = rows_of(tmp_path / f"{kind}.csv")
    assert row["loss"] == row["tower"]


def test_pretrain_text_changes_the_text_layers_alone(tokenizer: Tokenizer, scenes: Pack, tmp_path: Path) -> None:
    model = model_for(tokenizer)
    before = copy.deepcopy(model)
    pretrain_text(model, mask_of(tokenizer), scenes, PLAN, tmp_path)
    assert changed_parts(before, model) == {"embedding", "lm_head", "encoder", "decoder"}  # lm_head is the embedding
    assert all(parameter.requires_grad for parameter in model.parameters())
    [row] = rows_of(tmp_path / "denoising.csv")
    assert row["loss"] == row["text"]


def test_pretraining_with_the_same_seed_is_repeatable(tokenizer: Tokenizer, scenes: Pack, tmp_path: Path) -> None:
    losses = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        pretrain_text(model_for(tokenizer), mask_of(tokenizer), scenes, replace(PLAN, seed=seed), tmp_path / name)
        losses.append(rows_of(tmp_path / name / "denoising.csv")[0]["loss"])
    assert losses[0] == losses[1] != losses[2]
