"""The loss of a batch: against one prompt at a time, and against the same batch in parts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from harness.florence2.davit import DaViT
from harness.training.lessons import Batch, Lesson, RegionLesson, pad
from harness.training.vision import RegionHeads, region_loss
from tests.harness.training.tiny import FIRST_BIN, SMALL, lesson_and_batch

# The compared losses come from the same network through matrix products of other shapes.  A product over the widest
# axis (64) is off by at most 64 eps = 8e-6 of the sum of magnitudes, and errors of different tokens have both signs.
REL = 1e-5


def test_pad_rows_of_unequal_length_fills_with_pad() -> None:
    assert pad([np.array([5, 6, 7], np.int16), np.array([8], np.int16)]).tolist() == [[5, 6, 7], [8, 1, 1]]


def test_loss_of_batch_is_mean_of_each_kind_weighted_by_prompts() -> None:
    lesson, batch = lesson_and_batch()
    loss, by_kind = lesson(batch)
    tokens: dict[str, list[float]] = {}
    for place in range(len(batch.kinds)):  # one prompt at a time: no padding, no grouping
        pixels = lesson.preprocess.normalise(batch.pixels[batch.image[place : place + 1]])
        answer = torch.from_numpy(batch.answers[place].astype(np.int64))[None]
        fed = torch.cat([torch.full_like(answer[:, :1], 2), answer[:, :-1]], dim=1)
        prompt = torch.from_numpy(batch.prompts[place].astype(np.int64))[None]
        logits = lesson.model(pixels, prompt, None, fed)[0]
        tokens.setdefault(batch.kinds[place], []).extend(
            nn.functional.cross_entropy(logits, answer[0], reduction="none").tolist()
        )
    count = len(batch.kinds)
    expected = sum(
        batch.kinds.count(kind) / count * sum(losses) / len(losses)  # type: ignore[attr-defined]
        for kind, losses in tokens.items()
    )
    assert loss.item() == pytest.approx(expected, rel=REL)
    assert by_kind == pytest.approx({kind: sum(losses) / len(losses) for kind, losses in tokens.items()}, rel=REL)


def test_counts_of_batch_are_prompts_and_answer_tokens() -> None:
    _, batch = lesson_and_batch()
    # Answers have 3, 9, 4, 20, 2 and 7 tokens, of the kinds refer, caption, refer, segment, caption and refer.
    assert batch.counts() == ({"refer": 3, "caption": 2, "segment": 1}, {"refer": 14, "caption": 11, "segment": 20})


def test_losses_of_parts_with_step_totals_sum_to_loss_of_batch() -> None:
    lesson, batch = lesson_and_batch()
    whole, by_kind = lesson(batch)
    parts = []
    for images, prompts in (([0], [0, 1]), ([1, 2], [2, 3, 4, 5])):
        part = Batch(
            batch.pixels[images],
            batch.image[prompts] - images[0],
            [batch.kinds[i] for i in prompts],
            [batch.prompts[i] for i in prompts],
            [batch.answers[i] for i in prompts],
            totals=batch.counts(),
            share=len(images) / 3,
        )
        parts.append(lesson(part))
    assert sum(loss.item() for loss, _ in parts) == pytest.approx(whole.item(), rel=REL)
    sums = {kind: sum(losses.get(kind, 0.0) for _, losses in parts) for kind in by_kind}
    assert sums == pytest.approx(by_kind, rel=REL)


def test_region_loss_of_lesson_is_added_by_weight_and_share() -> None:
    plain, batch = lesson_and_batch()
    batch.regions = torch.tensor([[[0.1, 0.2, 0.9, 0.8, 1.0]]] * 3)
    batch.share = 0.25
    heads = RegionHeads(plain.model.vision, SMALL.vision.dims[-1], (3,))
    lesson = Lesson(plain.model, FIRST_BIN, heads=heads, regions=0.5)
    pixels = lesson.preprocess.normalise(batch.pixels)
    regions, _ = region_loss(heads(pixels), batch.regions)
    (tokens, _), (total, by_kind) = plain(batch), lesson(batch)
    assert total.item() == pytest.approx(tokens.item() + 0.5 * 0.25 * regions.item(), rel=REL)
    assert by_kind["regions"] == pytest.approx(0.25 * regions.item(), rel=REL)


def test_region_lesson_without_regions_raises() -> None:
    _, batch = lesson_and_batch()
    lesson = RegionLesson(RegionHeads(DaViT(SMALL.vision), SMALL.vision.dims[-1], (3,)), SMALL.image_size)
    with pytest.raises(ValueError, match="a batch without regions"):
        lesson(batch)
