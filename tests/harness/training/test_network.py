"""A network made ready: what is frozen stays, adapters are added in, activations made again change nothing."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.errors import CheckpointError, UsageError
from harness.florence2.model import Florence2
from harness.training import network
from harness.training.lessons import Lesson
from harness.training.loop import optimiser_of
from harness.training.recipe import Recipe
from tests.harness.training.test_loop import _lesson_and_batch
from tests.harness.training.tiny import TINY


def _moved(recipe: Recipe, steps: int = 2) -> tuple[Florence2, Florence2, Lesson]:
    """The network before, and after some steps."""
    lesson, batch = _lesson_and_batch()
    before = copy.deepcopy(lesson.model)
    network.prepare(lesson.model, recipe)
    optimiser = optimiser_of(lesson, replace(recipe.plan, rate=1e-2))
    for _ in range(steps):
        optimiser.zero_grad()
        lesson(batch)[0].backward()
        optimiser.step()
    return before, network.merged(lesson.model, recipe), lesson


def _changed(before: Florence2, after: Florence2) -> set[str]:
    one, other = before.state_dict(), after.state_dict()
    return {name for name in one if not torch.equal(one[name], other[name])}


def test_a_frozen_tower_or_stage_stays_as_it_was() -> None:
    changed = _changed(*_moved(replace(TINY, freeze=("vision",)))[:2])
    assert changed and not any(name.startswith("vision.") for name in changed)
    changed = _changed(*_moved(replace(TINY, freeze=("vision.stages.0", "vision.stages.1")))[:2])
    assert {name.split(".")[2] for name in changed if name.startswith("vision.")} == {"2", "3"}


def test_what_cannot_be_frozen_is_said() -> None:
    with pytest.raises(UsageError, match="freeze=tower: the network has no such part; it has vision, fusion"):
        network.prepare(Florence2(TINY.config), replace(TINY, freeze=("tower",)))  # type: ignore[arg-type]
    everything = ("vision", "fusion", "embedding", "encoder", "decoder")
    with pytest.raises(UsageError, match="everything is frozen"):
        network.prepare(Florence2(TINY.config), replace(TINY, freeze=everything))  # type: ignore[arg-type]


def test_activations_made_again_give_the_same_gradients() -> None:
    def gradients(recipe: Recipe) -> list[Tensor]:
        lesson, batch = _lesson_and_batch()
        network.prepare(lesson.model, recipe)
        lesson(batch)[0].backward()
        return [p.grad for p in lesson.parameters() if p.grad is not None]

    kept, again = gradients(TINY), gradients(replace(TINY, checkpointing=True))
    assert len(kept) == len(again) > 50
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))


def test_they_are_made_again_as_precisely_as_before() -> None:
    """In bfloat16, and so that this differs from float32."""

    def gradients(recipe: Recipe) -> list[Tensor]:
        lesson, batch = _lesson_and_batch()
        network.prepare(lesson.model, recipe)
        lesson(batch)[0].backward()
        return [p.grad for p in lesson.parameters() if p.grad is not None]

    halved = replace(TINY, plan=replace(TINY.plan, precision="bfloat16"))
    kept, again = gradients(halved), gradients(replace(halved, checkpointing=True))
    assert all(torch.equal(one, other) for one, other in zip(kept, again, strict=True))
    assert not all(torch.equal(one, other) for one, other in zip(kept, gradients(TINY), strict=True))


def test_a_network_with_an_output_layer_of_its_own_is_refused() -> None:
    assert TINY.config is not None
    untied = Florence2(TINY.config)
    untied.lm_head.weight = torch.nn.Parameter(torch.zeros_like(untied.lm_head.weight))
    with pytest.raises(CheckpointError, match="folder has an output layer apart from its embedding"):
        network.fresh(untied, TINY.config, Path("folder"))


def test_adapters_learn_alone_and_are_added_into_a_plain_network() -> None:
    pytest.importorskip("peft")
    recipe = replace(TINY, lora=4)
    before, after, lesson = _moved(recipe, steps=3)
    everything = list(lesson.parameters())
    trained = sum(p.numel() for p in everything if p.requires_grad)
    assert 0 < trained < 0.2 * sum(p.numel() for p in everything)
    changed = _changed(before, after)
    assert all(name.endswith(("qkv.weight", "query.weight", "out.weight", "memory.weight")) for name in changed)
    assert {name.split(".")[0] for name in changed} == {"vision", "encoder", "decoder"}
    _, batch = _lesson_and_batch()
    adapted = lesson(batch)[0]  # every adapter that was merged also takes part in the forward pass
    lesson.model = after
    torch.testing.assert_close(lesson(batch)[0], adapted, rtol=1e-5, atol=1e-5)


def test_every_adapter_gets_a_gradient() -> None:
    """Maps whose weights are read past their module would have adapters that nothing teaches."""
    pytest.importorskip("peft")
    lesson, batch = _lesson_and_batch()
    network.prepare(lesson.model, replace(TINY, lora=2))
    lesson(batch)[0].backward()
    adapters = {name: p for name, p in lesson.named_parameters() if p.requires_grad}
    assert len(adapters) > 20
    # B begins at 0, so at first only it has a gradient that is not 0.
    assert all(p.grad is not None and bool(p.grad.abs().max() > 0) for name, p in adapters.items() if "lora_B" in name)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.compile's own
def test_compiled_parts_keep_the_names_of_their_weights() -> None:
    lesson, _ = _lesson_and_batch()
    names = set(lesson.model.state_dict())
    network.prepare(lesson.model, replace(TINY, compile=True))
    assert set(lesson.model.state_dict()) == names
