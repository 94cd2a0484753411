"""Token cross-entropy, with soft targets for location tokens.

The paper uses one token cross-entropy for every task (arXiv:2311.06242v1, section 3).  Ours: the target of a location
token is a Gaussian of `sigma` bins over the neighbouring bins, so a small error in a coordinate costs little.  With
`sigma` 0 the loss is the paper's.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.florence2.locations import BINS


def token_loss(logits: Tensor, targets: Tensor, first_bin: int, sigma: float) -> Tensor:
    """The loss of each token in nats (M,), from logits (M, V) and target ids (M,).

    `first_bin` is the id of the first location token; `sigma` is the width of a location token's target, in bins.
    """
    log_probs = logits.float().log_softmax(-1)
    plain = -log_probs.gather(1, targets[:, None])[:, 0]
    if sigma <= 0:
        return plain
    bins = targets - first_bin
    located = (bins >= 0) & (bins < BINS)
    if not located.any():
        return plain
    reach = math.ceil(2.5 * sigma)
    offsets = torch.arange(-reach, reach + 1, device=logits.device)
    near = bins[located][:, None] + offsets  # (located tokens, 2 * reach + 1)
    weight = torch.exp(-0.5 * (offsets / sigma) ** 2) * ((near >= 0) & (near < BINS))
    weight = weight / weight.sum(1, keepdim=True)
    soft = -(log_probs[located].gather(1, near.clamp(0, BINS - 1) + first_bin) * weight).sum(1)
    return plain.masked_scatter(located, soft)
