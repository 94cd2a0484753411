"""Masked pre-training of the vision tower: predict hidden pixels from visible pixels, without labels.

Masked autoencoding (arXiv:2111.06377), in SimMIM's form for towers whose feature map shrinks (arXiv:2111.09886,
section 3).  Hidden squares get one learned colour, and the whole image is encoded.  One linear map from each cell of
the last feature map predicts the pixels under the cell.  The loss is the mean absolute difference at hidden pixels.

Deviation from SimMIM: the colour replaces pixels before the first convolution; SimMIM replaces tokens after it.
DaViT's first patches overlap, so a visible patch would otherwise contain hidden pixels.  The head is discarded
afterwards.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import VisionConfig
from harness.florence2.davit import DaViT


class MaskedAutoencoder(nn.Module):
    """The masked autoencoding loss of a vision tower with one linear head.

    Shapes: B images; H, W sides in pixels, multiples of `patch` and of R; h, w cells of the last feature map, each over
    R x R pixels.  `patch` is the side of a hidden square in pixels; `share` is the hidden share of the squares.
    """

    def __init__(self, tower: DaViT, config: VisionConfig, *, patch: int = 16, share: float = 0.6) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"the hidden share must be between 0 and 1, not {share}")
        self.tower = tower
        self.patch = patch
        self.share = share
        self.cell = math.prod(config.stride)  # R
        self.colour = nn.Parameter(torch.zeros(3))  # 0 is the mean of normalised pixels
        self.norm = nn.LayerNorm(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], 3 * self.cell**2)

    def forward(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Scalar loss of normalised pixels (B, 3, H, W).  The mask depends on the generator alone."""
        hidden = self.draw_mask(pixels, generator)
        return hidden_loss(self.predict(pixels, hidden), pixels, hidden)

    def draw_mask(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """A random mask (B, H, W), True at hidden pixels: the same number of squares in each image, at least one.

        ValueError for an image that does not divide into squares and cells.
        """
        batch, _, height, width = pixels.shape
        if height % self.patch or width % self.patch or height % self.cell or width % self.cell:
            raise ValueError(f"{width}x{height} pixels do not divide into squares of {self.patch} and of {self.cell}")
        rows, columns = height // self.patch, width // self.patch
        order = torch.rand(batch, rows * columns, generator=generator, device=generator.device).argsort(1)
        chosen = order[:, : max(1, round(self.share * rows * columns))]
        squares = torch.zeros_like(order, dtype=torch.bool).scatter(1, chosen, True).view(batch, rows, columns)
        hidden = squares.repeat_interleave(self.patch, 1).repeat_interleave(self.patch, 2)
        return hidden.to(pixels.device)

    def hide(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """The input of the tower (B, 3, H, W): `pixels` with the learned colour where `hidden` (B, H, W)."""
        return torch.where(hidden[:, None], self.colour[:, None, None].to(pixels.dtype), pixels)

    def predict(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """A prediction of all pixels (B, 3, H, W), in float32, from the visible pixels."""
        features = self.tower(self.hide(pixels, hidden))
        cells: Tensor = self.head(self.norm(features))  # (B, h, w, 3*R*R)
        return F.pixel_shuffle(cells.permute(0, 3, 1, 2).float(), self.cell)


def hidden_loss(predicted: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute difference of `predicted` and `pixels` (B, 3, H, W), over all channels where `hidden` (B, H, W)."""
    difference = (predicted - pixels.float()).abs() * hidden[:, None]
    return difference.sum() / (3 * hidden.sum())
