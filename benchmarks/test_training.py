"""A training step versus a step of the same model through transformers' forward, in alternation in one process.

Both have the same weights, images, prompts and answers, of the lengths in florence2-nano's training.  A step is
forward, backward and AdamW.  With three questions per image, ours encodes an image once, and transformers three times;
with one question per image, nothing is saved.  In bfloat16 ours trains as recipes do on a CPU, and transformers under
torch's autocast.  Both run on a GPU where there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.interleaved import interleaved, quote, rounds
from harness.florence2.config import NANO
from harness.florence2.fast.choose import trainable
from harness.florence2.tokenizer import PAD
from harness.training.lessons import Batch, Lesson, pad
from harness.training.loop import optimiser_of
from harness.training.recipe import Plan
from tests.twins import Twins, twins

ROUNDS = rounds(5)
STEPS = 3
FIRST_BIN = 500
LENGTHS = ((40, 10), (8, 10), (16, 9))  # answer and prompt tokens of an outline, a referred box and a caption
PLAN = Plan(steps=1, batch=1, rate=1e-5)
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def nano() -> Twins:
    both = twins(NANO, seed=0, spread=0.15)
    both.reference.to(DEVICE)
    both.ours.to(DEVICE).requires_grad_(True)
    return both


def batch_of(images: int, questions: int) -> Batch:
    """Returns random images and ids; the questions of an image have different lengths."""
    draw = np.random.default_rng(images)
    lengths = LENGTHS[:questions]
    flat = [(place, *pair) for pair in lengths for place in range(images)]
    return Batch(
        torch.from_numpy(draw.integers(0, 256, (images, 128, 128, 3), np.uint8)),
        torch.tensor([place for place, _, _ in flat]),
        [f"answers of {answer}" for _, answer, _ in flat],
        [draw.integers(4, 480, prompt + int(draw.integers(4)), np.int16) for _, _, prompt in flat],
        [draw.integers(4, 480, answer + int(draw.integers(8)), np.int16) for _, answer, _ in flat],
    )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("questions", [3, 1])
def test_training_step_versus_transformers(benchmark: Any, nano: Twins, questions: int, precision: str) -> None:
    batch = batch_of(16, questions)
    lesson = Lesson(trainable(nano.ours.train(), precision), FIRST_BIN)
    steps = {"ours": _ours(lesson, batch, precision), "transformers": _theirs(nano, lesson, batch, precision)}
    first = {name: step() for name, step in steps.items()}
    if precision == "float32":  # losses differ: ours weights tokens by kind, transformers weights all alike
        assert first["ours"] == pytest.approx(first["transformers"], rel=0.05)
    times = interleaved({name: _several(step) for name, step in steps.items()}, ROUNDS)
    versions = {"threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": version("transformers")}
    each = f"{questions} question{'s' if questions > 1 else ''} each"
    name = f"training step, nano, {DEVICE}, 16 images, {each}, {precision}"
    quote(benchmark, name, times, ours="ours", theirs="transformers", **versions)
    benchmark.pedantic(steps["ours"], rounds=1)


def _several(step: Callable[[], float]) -> Callable[[], None]:
    def steps() -> None:
        for _ in range(STEPS):
            step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return steps


def _ours(lesson: Lesson, batch: Batch, precision: str) -> Callable[[], float]:
    optimiser = optimiser_of(lesson, PLAN)

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with _precision_context(precision):
            loss, _ = lesson(batch)
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step


def _precision_context(precision: str) -> AbstractContextManager[object]:
    """Returns autocast on a GPU; on a CPU the linear maps compute in the precision, as in recipes."""
    if precision == "float32" or DEVICE == "cpu":
        return nullcontext()
    return torch.autocast(DEVICE, torch.bfloat16)


def _theirs(nano: Twins, lesson: Lesson, batch: Batch, precision: str) -> Callable[[], float]:
    optimiser = torch.optim.AdamW(nano.reference.parameters(), lr=1e-5, fused=True)
    model = nano.reference.train()
    pixels = lesson.preprocess.normalise(batch.pixels)[batch.image]
    prompts, answers = pad(batch.prompts), pad(batch.answers)
    places = torch.full((len(prompts), NANO.vision.map_side(128) ** 2 + 1), model.config.image_token_id)
    inputs = {
        "input_ids": torch.cat([places, prompts], 1),
        "attention_mask": torch.cat([torch.ones_like(places), (prompts != PAD).long()], 1),
        "pixel_values": pixels,
        "labels": answers.masked_fill(answers == PAD, -100),
    }
    inputs = {name: tensor.to(DEVICE) for name, tensor in inputs.items()}

    def step() -> float:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = model(**inputs).loss
        loss.backward()
        optimiser.step()
        return float(loss.detach())

    return step
