"""Initial weights of a network that is trained from scratch.

All weights have fan-in scales: a small normal initialisation trains too slowly at nano's size.
Location embeddings are a smooth function of the bin, so neighbouring bins start with similar embeddings.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from harness.florence2.locations import BINS
from harness.florence2.model import Florence2


def initialise(model: Florence2, first_bin: int, generator: torch.Generator) -> None:
    """Fills every parameter in place; location tokens are the ids from `first_bin` on."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5, generator=generator)
        elif isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
    with torch.no_grad():
        bins = smooth_bins(model.config.text.width, generator)
        model.embedding.weight[first_bin : first_bin + BINS] = bins


def smooth_bins(width: int, generator: torch.Generator) -> Tensor:
    """(1000, width): embeddings of the bins, with the standard deviation of other embeddings, width ** -0.5.

    Sines and cosines of 1/2 to 32 periods over the bins, mapped to the width by a random matrix.
    """
    centre = (torch.arange(BINS) + 0.5) / BINS
    periods = 0.5 * 2.0 ** torch.arange(0, 6.5, 0.5)
    angle = 2 * math.pi * centre[:, None] * periods
    waves = torch.cat([angle.sin(), angle.cos()], dim=1) * periods.repeat(2) ** -0.25  # (1000, 26)
    waves = waves - waves.mean(0)
    mixed: Tensor = waves @ torch.randn(waves.shape[1], width, generator=generator)
    return mixed.mul(width**-0.5 / float(mixed.std()))
