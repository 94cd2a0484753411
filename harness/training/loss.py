"""One token cross-entropy for every task, as in the paper (arXiv:2311.06242v1, section 3), softened between bins.

A location token's target is spread over its neighbouring bins as a Gaussian of `sigma` bins: a box that is one
bin off is nearly right, and the loss says so.  With sigma 0 it is the plain cross-entropy.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from harness.florence2.locations import BINS


def token_loss(logits: Tensor, targets: Tensor, first_bin: int, sigma: float) -> Tensor:
    """Loss of each token: logits (M, V) and ids (M,) to (M,), in nats."""
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
    near = bins[located][:, None] + offsets  # (bins, 2 * reach + 1)
    weight = torch.exp(-0.5 * (offsets / sigma) ** 2) * ((near >= 0) & (near < BINS))
    weight = weight / weight.sum(1, keepdim=True)
    soft = -(log_probs[located].gather(1, near.clamp(0, BINS - 1) + first_bin) * weight).sum(1)
    return plain.masked_scatter(located, soft)
