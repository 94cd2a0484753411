"""Denoising: kept and masked tokens, the loss against teacher forcing by hand, and training that lowers the loss."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import AddedToken

from harness.florence2.config import NANO, TextConfig
from harness.florence2.model import Florence2
from harness.florence2.start import initialise
from harness.florence2.tokenizer import BOS, EOS, UNK
from harness.training.denoising import Denoising, corrupt, mask_of
from harness.training.vocabulary import learn

SMALL = replace(
    NANO,
    image_size=64,
    text=TextConfig(width=32, heads=2, encoder_layers=1, decoder_layers=1, ffn=32, positions=64, vocab=1400),
    vision=replace(NANO.vision, dims=(8, 8, 16, 16), heads=(1, 1, 2, 2), groups=(1, 1, 2, 2)),
)
MASK = UNK


def small() -> Denoising:
    model = Florence2(SMALL)
    initialise(model, 400, torch.Generator().manual_seed(0))
    return Denoising(model, MASK)


def text(length: int, first: int = 10) -> NDArray[np.int16]:
    """`<s>`, then `length` consecutive ids from `first`, then `</s>`."""
    return np.array([BOS, *range(first, first + length), EOS], np.int16)


def drawing(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("length", [0, 1, 2, 5, 30, 200])
def test_corrupt_keeps_visible_tokens_in_order_between_the_ends(length: int) -> None:
    draw = drawing(length)
    for _ in range(50):
        row = text(length)
        [corrupted] = corrupt([row], MASK, draw)
        kept = corrupted[corrupted != MASK].tolist()
        assert (corrupted[0], corrupted[-1]) == (BOS, EOS)
        assert kept == sorted(set(kept[1:-1]) | {BOS, EOS}, key=row.tolist().index)
        hidden = len(row) - len(kept)
        assert int(0.3 * length) <= hidden <= int(0.3 * length) + 1
        assert bool((corrupted == MASK).any()) == (hidden > 0)
        # Wherever consecutive ids are missing between two visible tokens, a mask is between the tokens.
        places = np.flatnonzero(corrupted != MASK)
        numbers = [10 - 1, *kept[1:-1], 10 + length]
        for place, (low, high) in enumerate(pairwise(numbers)):
            assert high - low == 1 or places[place + 1] - places[place] > 1


def test_corrupt_text_without_end_tokens_may_mask_its_ends() -> None:
    # Three of ten tokens are in one to three spans, and each span is in one of eight gaps.  The first token is
    # therefore masked in 1/8 to 1 - (7/8)^3 of the rows.
    rows = corrupt([np.arange(10, 20)] * 4000, MASK, drawing())
    for end in (10, 19):
        assert (
            4000 / 8 - 60 < sum(end not in row for row in rows) < 4000 * (1 - (7 / 8) ** 3) + 60
        )  # 3 standard errors of 20
    assert [len(row) for row in corrupt([np.array([], np.int64)], MASK, drawing())] == [0]


@pytest.mark.parametrize("length", [3, 7, 40])
def test_corrupt_masks_thirty_percent_in_spans_of_three(length: int) -> None:
    rows = corrupt([text(length)] * 2000, MASK, drawing())
    hidden = sum(length + 2 - int((row != MASK).sum()) for row in rows)
    assert hidden / (2000 * length) == pytest.approx(0.3, abs=0.01)
    masks = sum(int((row == MASK).sum()) for row in rows)
    if length == 40:  # 12 tokens per row: spans of mean 3, and the last span is cut
        assert 2.3 < hidden / masks < 3.0


def test_corrupt_depends_on_the_generator_alone() -> None:
    rows = [text(20), text(7), text(31)]
    copies = [row.copy() for row in rows]
    first = corrupt(rows, MASK, drawing(3))
    np.random.random()  # the global generator has no influence
    again = corrupt(rows, MASK, drawing(3))
    other = corrupt(rows, MASK, drawing(4))
    assert [row.tolist() for row in first] == [row.tolist() for row in again]
    assert [row.tolist() for row in first] != [row.tolist() for row in other]
    assert all(np.array_equal(row, before) for row, before in zip(rows, copies, strict=True))


@torch.no_grad()
def test_restore_of_uncorrupted_texts_equals_teacher_forcing_by_hand() -> None:
    module, rows = small(), [text(6), text(3, 30), text(9, 50)]
    model = module.model
    losses = []
    for row in rows:  # one text at a time: no padding
        ids = torch.from_numpy(row.astype(np.int64))[None]
        memory = model.decoder.project_memory(model.encoder(model.embedding(ids), None), None)
        fed = torch.cat([torch.tensor([[EOS]]), ids[:, :-1]], 1)
        logits = model.decoder(model.embedding(fed), memory) @ model.embedding.weight.T
        losses += [F.cross_entropy(logits[0, t], ids[0, t]) for t in range(ids.shape[1])]
    torch.testing.assert_close(module.restore(rows, rows), torch.stack(losses).mean())


@torch.no_grad()
def test_loss_is_that_of_the_corrupted_texts() -> None:
    module, rows = small(), [text(20), text(7, 40)]
    expected = module.restore(corrupt(rows, MASK, drawing(5)), rows)
    torch.testing.assert_close(module(rows, drawing(5)), expected)
    assert float(module.restore(rows, rows)) != float(expected)


def test_mask_of_tokenizer_is_its_mask_token_or_unknown_token() -> None:
    learned = learn(["a cat sits on a mat"] * 3, 1400)
    assert mask_of(learned) == UNK
    assert UNK not in learned.encode("a cat <unlike> é 猫")
    learned.backend.add_special_tokens([AddedToken("<mask>", lstrip=True, normalized=False)])
    assert mask_of(learned) == learned.backend.token_to_id("<mask>") != UNK


def test_training_lowers_the_loss_of_the_text_layers_alone() -> None:
    module, draw = small(), drawing()
    rows = [text(8 + 2 * place, 10 + 30 * place) for place in range(6)]
    optimiser = torch.optim.Adam(module.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        loss = module(rows, draw)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]
    trained = {name.split(".")[0] for name, p in module.model.named_parameters() if p.grad is not None}
    assert trained == {"embedding", "encoder", "decoder"}
