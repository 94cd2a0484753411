"""Denoising pre-training of the text layers: restore a corrupted text, without images.

The corruption is BART's text infilling (arXiv:1910.13461, sections 2.2 and 5.1).  Span lengths follow a Poisson
distribution of mean 3; the spans cover 30 % of the tokens.  One mask token replaces each span, and a span of length 0
inserts a mask.  The encoder reads the corrupted text, and the decoder writes the original text.

Deviation from BART: sentences are not permuted, because most answers here are a single sentence.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.florence2.model import Florence2
from harness.florence2.tokenizer import BOS, EOS, PAD, UNK, Tokenizer
from harness.training.lessons import Ids, pad

MASKED_SHARE, MEAN_SPAN = 0.3, 3.0


class Denoising(nn.Module):
    """The denoising loss of a Florence-2's embedding, encoder and decoder.

    The vision tower and the fusion layers receive no gradient.
    """

    def __init__(self, model: Florence2, mask_id: int) -> None:
        super().__init__()
        self.model = model
        self.mask_id = mask_id

    def forward(self, rows: Sequence[Ids], draw: np.random.Generator) -> Tensor:
        """Scalar loss of texts, given as ids with `<s>` and `</s>`.  The masks depend on `draw` alone."""
        return self.restore(corrupt(rows, self.mask_id, draw), rows)

    def restore(self, corrupted: Sequence[Ids], rows: Sequence[Ids]) -> Tensor:
        """Mean token cross-entropy of `rows` in nats; the decoder writes each row after the encoder reads `corrupted`.

        Both sequences have one entry per text.
        """
        device = self.model.embedding.weight.device
        prompts, answers = pad(corrupted).to(device), pad(rows).to(device)  # (B, P), (B, T)
        real = answers != PAD
        shifted = torch.cat([torch.full_like(answers[:, :1], EOS), answers[:, :-1]], dim=1)  # BART's decoder starts so
        no_image = self.model.embedding.weight.new_empty(len(rows), 0, self.model.config.text.width)
        hidden = self.model.decode(shifted, self.model.encode(no_image, prompts, prompts != PAD))
        return F.cross_entropy(self.model.lm_head(hidden[real]).float(), answers[real])


def corrupt(rows: Sequence[Ids], mask_id: int, draw: np.random.Generator) -> list[NDArray[np.int64]]:
    """The rows with `mask_id` in place of random spans.  A leading `<s>` and a trailing `</s>` are never masked."""
    return [_corrupted(np.asarray(row, np.int64), mask_id, draw) for row in rows]


def _corrupted(row: NDArray[np.int64], mask_id: int, draw: np.random.Generator) -> NDArray[np.int64]:
    first = int(len(row) > 0 and row[0] == BOS)
    last = len(row) - int(len(row) > first and row[-1] == EOS)
    # Random rounding keeps the masked share right on average; rounding up would mask 40 % of five tokens.
    hidden = int(MASKED_SHARE * (last - first) + draw.random())
    lengths: list[int] = []
    while sum(lengths) < hidden:
        lengths.append(min(int(draw.poisson(MEAN_SPAN)), hidden - sum(lengths)))
    # Each span lies in a gap: before, between or after the visible tokens.
    visible = last - first - hidden
    gaps = np.sort(draw.integers(visible + 1, size=len(lengths)))
    pieces, place, copied = [row[:first]], first, 0
    for gap, length in zip(gaps, lengths, strict=True):
        pieces += [row[place : place + gap - copied], np.array([mask_id])]
        place, copied = place + int(gap) - copied + length, int(gap)
    return np.concatenate([*pieces, row[place:]])


def mask_of(tokenizer: Tokenizer) -> int:
    """The id of `<mask>`, as in BART's tokenizer.

    A tokenizer without `<mask>` gives the id of `<unk>`, which byte-level BPE never produces.
    """
    number = tokenizer.backend.token_to_id("<mask>")
    return UNK if number is None else int(number)
