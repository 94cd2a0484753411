"""Pre-training of the vision tower without labels: what is under the mask, from what is around it.

Masked autoencoding (arXiv:2111.06377) as SimMIM does it for towers that halve their map on the way (arXiv:2111.09886,
section 3): hidden squares are painted with one learned colour, the whole picture is encoded, one linear map from each
cell of the last map predicts the pixels beneath it, and the loss is the mean absolute difference at hidden pixels.
Ours: the colour is painted before the first convolution (theirs is a token after it), because DaViT's first patches
overlap, and would read hidden pixels from a visible square's edge.  The head is thrown away in the end.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.config import VisionConfig
from harness.florence2.davit import DaViT


class MaskedAutoencoder(nn.Module):
    """The tower with one linear head, as a loss.

    Shapes: B images; H, W sides in pixels, multiples of both a square's side and a cell's; h, w cells of the last map,
    each over R x R pixels.
    """

    def __init__(self, tower: DaViT, config: VisionConfig, *, patch: int = 16, share: float = 0.6) -> None:
        super().__init__()
        if not 0 < share < 1:
            raise ValueError(f"the share that is hidden must lie between 0 and 1, not {share}")
        self.tower = tower
        self.patch = patch
        self.share = share
        self.cell = math.prod(config.stride)  # R
        self.colour = nn.Parameter(torch.zeros(3))  # of normalised pixels: at first, their mean
        self.norm = nn.LayerNorm(config.dims[-1])
        self.head = nn.Linear(config.dims[-1], 3 * self.cell**2)

    def forward(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """The loss of normalised pixels (B, 3, H, W); what is hidden depends on the generator alone."""
        hidden = self.draw(pixels, generator)
        return hidden_loss(self.predict(pixels, hidden), pixels, hidden)

    def draw(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        """Which pixels are hidden, (B, H, W): the same number of squares in each image, at least one."""
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
        """What the tower sees: (B, 3, H, W) with the learned colour where `hidden` (B, H, W)."""
        return torch.where(hidden[:, None], self.colour[:, None, None].to(pixels.dtype), pixels)

    def predict(self, pixels: Tensor, hidden: Tensor) -> Tensor:
        """All pixels (B, 3, H, W) in float32, from those that are not hidden."""
        features = self.tower(self.hide(pixels, hidden))
        told: Tensor = self.head(self.norm(features))  # (B, h, w, 3*R*R)
        return F.pixel_shuffle(told.permute(0, 3, 1, 2).float(), self.cell)

    @torch.no_grad()
    def reconstruct(self, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """For pictures: what the tower saw, and the same with the hidden pixels predicted; both (B, 3, H, W)."""
        hidden = self.draw(pixels, generator)
        predicted = self.predict(pixels, hidden)
        return self.hide(pixels, hidden), torch.where(hidden[:, None], predicted, pixels)


def hidden_loss(predicted: Tensor, pixels: Tensor, hidden: Tensor) -> Tensor:
    """Mean absolute difference of (B, 3, H, W) and (B, 3, H, W) over the three channels of the hidden (B, H, W)."""
    difference = (predicted - pixels.float()).abs() * hidden[:, None]
    return difference.sum() / (3 * hidden.sum())
