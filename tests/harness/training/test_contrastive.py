"""Contrastive pre-training: the loss against CLIP's and a double loop, padding, and training that matches pairs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Encoder
from harness.florence2.config import NANO, TextConfig, VisionConfig
from harness.florence2.davit import DaViT
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from harness.florence2.tokenizer import PAD
from harness.training.contrastive import Contrastive, TextTower, labels_of, pair_loss

VISION: VisionConfig = replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2))
TEXT = TextConfig(width=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, positions=32, vocab=40)


def small() -> Contrastive:
    torch.manual_seed(0)
    text = TextTower(nn.Embedding(TEXT.vocab, TEXT.width), Encoder(TEXT))
    return Contrastive(DaViT(VISION), VISION.dims[-1], text, TEXT.width, dim_out=24)


def images(batch: int) -> Tensor:
    return torch.randn(batch, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def texts(batch: int) -> Tensor:
    """Ids of unequal lengths; each text has a word that no other text has."""
    tokens = torch.full((batch, 8), PAD)
    for place in range(batch):
        words = [0, *range(4 + place, 4 + place + 1 + place % 5), 2]
        tokens[place, : len(words)] = torch.tensor(words)
    return tokens


def double_loop(logits: Tensor, labels: list[int]) -> float:
    """The mean of UniCL's equations 2 and 3: for each query, the mean over its positives of -log softmax."""
    z = logits.double().tolist()
    size = len(labels)
    total = 0.0
    for rows in (z, [list(column) for column in zip(*z, strict=True)]):
        for i in range(size):
            denominator = sum(math.exp(value) for value in rows[i])
            positives = [k for k in range(size) if labels[k] == labels[i]]
            terms = [-math.log(math.exp(rows[i][k]) / denominator) for k in positives]
            total += sum(terms) / len(terms) / size / 2
    return total


@torch.no_grad()
def test_loss_with_distinct_labels_equals_clip() -> None:
    module, pixels, tokens = small(), images(5), texts(5)
    image = module.image_projection(module.norm(module.tower(pixels).flatten(1, 2).mean(1)))
    text = module.text_projection(module.text(tokens))
    cosines = F.cosine_similarity(image[:, None], text[None], dim=-1)
    logits = cosines / 0.07  # CLIP's initial temperature
    diagonal = torch.arange(5)
    expected = (F.cross_entropy(logits, diagonal) + F.cross_entropy(logits.T, diagonal)) / 2
    torch.testing.assert_close(module(pixels, tokens, torch.tensor([7, 3, 9, 0, 2])), expected)


@pytest.mark.parametrize("labels", [[0, 1, 0, 2, 1, 0], [4, 4, 4, 4, 4, 4], [5, 4, 3, 2, 1, 0]])
@torch.no_grad()
def test_loss_with_shared_labels_equals_double_loop(labels: list[int]) -> None:
    # A float32 log-softmax of logits up to 15 in size is off by some 40 eps = 5e-6, of a loss above 1.
    logits = 5 * torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    assert float(pair_loss(logits, torch.tensor(labels))) == pytest.approx(double_loop(logits, labels), rel=1e-5)
    module, pixels, tokens = small(), images(6), texts(6)
    logits = module.compare(module.embed_images(pixels), module.embed_texts(tokens))
    assert float(module(pixels, tokens, torch.tensor(labels))) == pytest.approx(double_loop(logits, labels), rel=1e-5)


@torch.no_grad()
def test_embedding_of_padded_text_equals_unpadded() -> None:
    module, tokens = small(), texts(5)
    together = module.embed_texts(tokens)
    for place, row in enumerate(tokens):
        alone = module.embed_texts(row[row != PAD][None])
        torch.testing.assert_close(together[place], alone[0])
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(5))


@torch.no_grad()
def test_text_vector_is_the_mean_of_its_tokens() -> None:
    module, tokens = small(), texts(3)
    row = tokens[1][tokens[1] != PAD][None]
    expected = module.text.encoder(module.text.embedding(row), None)[0].mean(0)
    torch.testing.assert_close(module.text(tokens)[1], expected)


def test_scale_above_its_bound_is_clamped_and_has_a_gradient() -> None:
    module = small()
    with torch.no_grad():
        module.scale.fill_(9.0)
    first, second = module.embed_images(images(4)), module.embed_texts(texts(4))
    logits = module.compare(first, second)
    # exp(log 100) is off by log(100) eps, and cosines of 24 products by 24 eps: logits of at most 100 by 30 * 100 eps.
    torch.testing.assert_close(logits, 100 * first @ second.T, rtol=0, atol=3000 * torch.finfo(torch.float32).eps)
    pair_loss(logits, torch.arange(4)).backward()
    assert float(module.scale.grad) != 0
    assert float(module.scale.detach()) == pytest.approx(math.log(100))


def test_labels_of_equal_texts_are_equal() -> None:
    assert labels_of(["a cat", "a dog", "a cat", ""]).tolist() == [0, 1, 0, 2]
    assert labels_of([[0, 5, 2], [0, 6, 2], [0, 5, 2], [0, 5]]).tolist() == [0, 1, 0, 2]
    assert labels_of([np.array([5, 6], np.int16), [5, 6], np.array([6, 5])]).tolist() == [0, 0, 1]
    assert labels_of(torch.tensor([[5, 6], [6, 5], [5, 6]])).tolist() == [0, 1, 0]


def test_training_matches_each_image_with_its_text() -> None:
    model = Florence2(replace(NANO, vision=VISION, text=replace(TEXT, vocab=1100)))
    initialise(model, 50, torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    module = Contrastive(model.vision, 16, TextTower(model.embedding, model.encoder), TEXT.width)
    tokens = texts(8)
    colours = torch.tensor([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
    pixels = colours[:, :, None, None] + 0.3 * images(8)
    labels = labels_of(tokens)
    assert labels.tolist() == list(range(8))
    optimiser = torch.optim.Adam(module.parameters(), lr=2e-3)
    losses = []
    for _ in range(40):
        loss = module(pixels, tokens, labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())
    assert losses[-1] < 0.3 * losses[0]
    with torch.no_grad():
        cosines = module.embed_images(pixels) @ module.embed_texts(tokens).T
    assert cosines.argmax(0).tolist() == cosines.argmax(1).tolist() == list(range(8))
