"""Pre-training of the language side without pictures: a text from what is left of it.

BART's text infilling (arXiv:1910.13461, sections 2.2 and 5.1): spans of Poisson length 3, 30 % of the tokens in all,
are each replaced by one mask token; a span of length 0 is a mask put between two tokens.  The encoder reads what is
left, the decoder writes the original.  Sentence permutation is left out: answers here are mostly one sentence.
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

SHARE, SPAN = 0.3, 3.0


class Denoising(nn.Module):
    """Embedding, encoder and decoder of a Florence-2, as a loss; its vision tower and fusion have no gradient."""

    def __init__(self, model: Florence2, mask_id: int) -> None:
        super().__init__()
        self.model = model
        self.mask_id = mask_id

    def forward(self, rows: Sequence[Ids], draw: np.random.Generator) -> Tensor:
        """The loss of texts, ids with `<s>` and `</s>`; what is masked depends on `draw` alone."""
        return self.restore(corrupt(rows, self.mask_id, draw), rows)

    def restore(self, left: Sequence[Ids], rows: Sequence[Ids]) -> Tensor:
        """Mean cross-entropy of the tokens of `rows`, each written after reading its place in `left`; in nats."""
        device = self.model.embedding.weight.device
        read, answers = pad(left).to(device), pad(rows).to(device)  # (B, P), (B, T)
        told = answers != PAD
        fed = torch.cat([torch.full_like(answers[:, :1], EOS), answers[:, :-1]], dim=1)  # as BART's decoder starts
        no_image = self.model.embedding.weight.new_empty(len(rows), 0, self.model.config.text.width)
        hidden = self.model.write(fed, self.model.read(no_image, read, read != PAD))
        return F.cross_entropy(self.model.lm_head(hidden[told]).float(), answers[told])


def corrupt(rows: Sequence[Ids], mask_id: int, draw: np.random.Generator) -> list[NDArray[np.int64]]:
    """The rows with spans replaced by `mask_id`; a first `<s>` and a last `</s>` are never in one."""
    return [_corrupted(np.asarray(row, np.int64), mask_id, draw) for row in rows]


def _corrupted(row: NDArray[np.int64], mask_id: int, draw: np.random.Generator) -> NDArray[np.int64]:
    first = int(len(row) > 0 and row[0] == BOS)
    last = len(row) - int(len(row) > first and row[-1] == EOS)
    # Rounded at random, so that it is the share on average: rounding up would mask 40 % of five tokens.
    hidden = int(SHARE * (last - first) + draw.random())
    lengths: list[int] = []
    while sum(lengths) < hidden:
        lengths.append(min(int(draw.poisson(SPAN)), hidden - sum(lengths)))
    # Each span lies in one of the gaps before, between and behind the tokens that stay.
    stay = last - first - hidden
    gaps = np.sort(draw.integers(stay + 1, size=len(lengths)))
    out, place, kept = [row[:first]], first, 0
    for gap, length in zip(gaps, lengths, strict=True):
        out += [row[place : place + gap - kept], np.array([mask_id])]
        place, kept = place + int(gap) - kept + length, int(gap)
    return np.concatenate([*out, row[place:]])


def mask_of(tokenizer: Tokenizer) -> int:
    """`<mask>`, as BART's tokenizer has it; in tokenizers without one `<unk>`, which byte-level BPE never writes."""
    number = tokenizer.backend.token_to_id("<mask>")
    return UNK if number is None else int(number)
