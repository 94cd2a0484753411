"""Pre-training of the vision tower: what lies under each cell of its last map, and where that ends.

Region classification: a cell whose centre lies in a region's box (the smallest, where several do) is taught the
region's classes and the four distances to the box's sides, every other cell that there is nothing.  The paper
begins from a contrastively pre-trained tower (UniCL); this is the small stand-in that nano can afford.  The heads are
thrown away in the end; a recipe may keep them, and their loss, through what follows (`Recipe.regions`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.davit import DaViT


class RegionHeads(nn.Module):
    """The tower with one linear head a vocabulary and one for the box."""

    def __init__(self, tower: DaViT, dim: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.split = [classes[0] + 1, *classes[1:], 4]  # the first vocabulary has one more, for nothing
        self.head = nn.Linear(dim, sum(self.split))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, height, width) to the logits of each vocabulary (B, H, W, classes) and sides (B, H, W, 4)."""
        return self.told(self.tower(pixels))

    def told(self, features: Tensor) -> tuple[Tensor, ...]:
        """The same of the tower's last map (B, H, W, C)."""
        out: tuple[Tensor, ...] = self.head(self.norm(features)).split(self.split, dim=-1)
        return out


def region_loss(outputs: tuple[Tensor, ...], regions: Tensor) -> tuple[Tensor, float]:
    """The loss, and the share of covered cells whose classes are all right.

    `regions` (B, most, 4 + vocabularies): a box as shares of the image's sides, then a class a vocabulary; class -1
    marks a place that holds no region.
    """
    *logits, sides = outputs
    batch, height, width, _ = sides.shape
    x = (torch.arange(width, device=sides.device) + 0.5) / width
    y = (torch.arange(height, device=sides.device) + 0.5) / height
    boxes = regions[:, None, None, :, :4]  # (B, 1, 1, most, 4)
    inside = (x[None, :, None] > boxes[..., 0]) & (x[None, :, None] < boxes[..., 2])
    inside = inside & (y[:, None, None] > boxes[..., 1]) & (y[:, None, None] < boxes[..., 3])
    inside = inside & (regions[:, None, None, :, 4] >= 0)  # (B, H, W, most)
    area = (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])
    chosen = torch.where(inside, area, 9.0).argmin(-1)  # (B, H, W)
    covered = inside.any(-1)
    mine = regions.gather(1, chosen.flatten(1)[..., None].expand(-1, -1, regions.shape[-1]))
    mine = mine.view(batch, height, width, -1)

    nothing = logits[0].shape[-1] - 1
    category = torch.where(covered, mine[..., 4].long(), nothing)
    loss = F.cross_entropy(logits[0].flatten(0, 2), category.flatten())
    if not covered.any():
        return loss, 1.0
    right = logits[0].argmax(-1)[covered] == category[covered]
    for place, extra in enumerate(logits[1:]):
        wanted = mine[covered][:, 5 + place].long()
        loss = loss + F.cross_entropy(extra[covered], wanted)
        right &= extra[covered].argmax(-1) == wanted
    distances = torch.stack(
        [x[None, :] - mine[..., 0], y[:, None] - mine[..., 1], mine[..., 2] - x[None, :], mine[..., 3] - y[:, None]],
        dim=-1,
    )
    loss = loss + 5.0 * F.l1_loss(sides[covered], distances[covered])
    return loss, float(right.float().mean())
