"""A network prepared for training: frozen parts, adapters, activation checkpointing and compilation."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.errors import CheckpointError, UsageError
from harness.florence2.model import Florence2
from harness.training import network
from harness.training.lessons import Lesson
from harness.training.optimiser import optimiser_of
from harness.training.recipe import Recipe
from tests.harness.training.tiny import SMALL, TINY, lesson_and_batch


@pytest.fixture
def deterministic() -> Iterator[None]:
    """Equal gradients every time: otherwise, several threads add gradients of gathered rows in any order."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def _trained(recipe: Recipe, steps: int = 2) -> tuple[Florence2, Florence2, Lesson]:
    """The network before training, the plain network after some steps, and the trained lesson."""
    lesson, batch = lesson_and_batch()
    before = copy.deepcopy(lesson.model)
    network.prepare(lesson.model, recipe)
    optimiser = optimiser_of(lesson, replace(recipe.plan, rate=1e-2))
    for _ in range(steps):
        optimiser.zero_grad()
        lesson(batch)[0].backward()
        optimiser.step()
    return before, network.merged(lesson.model, recipe), lesson


def _changed(before: Florence2, after: Florence2) -> set[str]:
    first, second = before.state_dict(), after.state_dict()
    return {name for name in first if not torch.equal(first[name], second[name])}


def test_frozen_tower_or_stage_is_unchanged() -> None:
    changed = _changed(*_trained(replace(TINY, freeze=("vision",)))[:2])
    assert changed and not any(name.startswith("vision.") for name in changed)
    changed = _changed(*_trained(replace(TINY, freeze=("vision.stages.0", "vision.stages.1")))[:2])
    assert {name.split(".")[2] for name in changed if name.startswith("vision.")} == {"2", "3"}


def test_prepare_without_a_part_to_freeze_or_to_train_raises() -> None:
    with pytest.raises(UsageError, match="freeze=tower: the network has no such part; it has vision, fusion"):
        network.prepare(Florence2(SMALL), replace(TINY, freeze=("tower",)))
    everything = ("vision", "fusion", "embedding", "encoder", "decoder")
    with pytest.raises(UsageError, match="everything is frozen"):
        network.prepare(Florence2(SMALL), replace(TINY, freeze=everything))


def _gradients(recipe: Recipe) -> list[Tensor]:
    lesson, batch = lesson_and_batch()
    network.prepare(lesson.model, recipe)
    lesson(batch)[0].backward()
    return [p.grad for p in lesson.parameters() if p.grad is not None]


def _all_equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_activation_checkpointing_gives_equal_gradients(deterministic: None) -> None:
    stored, recomputed = _gradients(TINY), _gradients(replace(TINY, checkpointing=True))
    assert len(stored) == len(recomputed) > 50
    assert _all_equal(stored, recomputed)


def test_activation_checkpointing_in_bfloat16_gives_equal_gradients(deterministic: None) -> None:
    halved = replace(TINY, plan=replace(TINY.plan, precision="bfloat16"))
    stored, recomputed = _gradients(halved), _gradients(replace(halved, checkpointing=True))
    assert _all_equal(stored, recomputed)
    assert not _all_equal(stored, _gradients(TINY))  # the precision makes a difference


def test_trainable_copy_of_untied_network_raises() -> None:
    untied = Florence2(SMALL)
    untied.lm_head.weight = torch.nn.Parameter(torch.zeros_like(untied.lm_head.weight))
    with pytest.raises(CheckpointError, match="folder has an output layer that is not tied to its embedding"):
        network.trainable_copy(untied, SMALL, Path("folder"))


def test_trainable_copy_of_frozen_network_is_trainable() -> None:
    frozen = Florence2(SMALL).requires_grad_(False)
    copied = network.trainable_copy(frozen, SMALL, Path("folder"))
    assert all(p.requires_grad for p in copied.parameters())
    assert not _changed(frozen, copied)


def test_adapters_are_trained_alone_and_merged_into_a_plain_network() -> None:
    pytest.importorskip("peft")
    recipe = replace(TINY, lora=4)
    before, after, lesson = _trained(recipe, steps=3)
    parameters = list(lesson.parameters())
    trained = sum(p.numel() for p in parameters if p.requires_grad)
    assert 0 < trained < 0.2 * sum(p.numel() for p in parameters)
    changed = _changed(before, after)
    assert all(name.endswith(("qkv.weight", "query.weight", "out.weight", "memory.weight")) for name in changed)
    assert {name.split(".")[0] for name in changed} == {"vision", "encoder", "decoder"}
    _, batch = lesson_and_batch()
    adapted = lesson(batch)[0]  # every merged adapter also takes part in the forward pass
    lesson.model = after
    # x W + (x A) B against x (W + A B): products over at most 64 terms, so less than 64 eps = 8e-6 of their magnitudes.
    torch.testing.assert_close(lesson(batch)[0], adapted, rtol=1e-5, atol=1e-5)


def test_every_adapter_receives_a_gradient() -> None:
    """An adapter receives none if other code reads the weight of its map."""
    pytest.importorskip("peft")
    lesson, batch = lesson_and_batch()
    network.prepare(lesson.model, replace(TINY, lora=2))
    lesson(batch)[0].backward()
    adapters = {name: p for name, p in lesson.named_parameters() if p.requires_grad}
    assert len(adapters) > 20
    # B is 0 at first, so the gradient of A is 0, and only that of B is not.
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for name, p in adapters.items() if "lora_B" in name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_parts_keep_the_names_of_their_weights() -> None:
    lesson, _ = lesson_and_batch()
    names = set(lesson.model.state_dict())
    network.prepare(lesson.model, replace(TINY, compile=True))
    assert set(lesson.model.state_dict()) == names
