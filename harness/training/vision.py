"""Pre-training of the vision tower by region classification.

Each cell of the last feature map predicts the region that contains its centre; among several regions, the one with the
smallest box.  The targets are the region's classes and the four distances to the sides of its box.  A cell outside all
regions has the target "no region".

Deviation from the paper: its tower was pre-trained contrastively (UniCL).  Region classification is a cheaper
replacement for florence2-nano.  The heads are discarded afterwards, unless the recipe keeps their loss during the
training that follows (`Drawing.regions`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.davit import DaViT


class RegionHeads(nn.Module):
    """The vision tower with one linear head per vocabulary, and one for the box.

    `dim` is the width of the tower's last feature map; `classes` is the number of classes in each vocabulary.
    """

    def __init__(self, tower: DaViT, dim: int, classes: tuple[int, ...]) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.split = [classes[0] + 1, *classes[1:], 4]  # the first vocabulary has one more class: no region
        self.head = nn.Linear(dim, sum(self.split))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Pixels (B, 3, height, width) to the logits of each vocabulary (B, H, W, classes), and sides (B, H, W, 4)."""
        return self.predict(self.tower(pixels))

    def predict(self, features: Tensor) -> tuple[Tensor, ...]:
        """The outputs of `forward`, from the tower's last feature map (B, H, W, C)."""
        outputs: tuple[Tensor, ...] = self.head(self.norm(features)).split(self.split, dim=-1)
        return outputs


def region_loss(outputs: tuple[Tensor, ...], regions: Tensor) -> tuple[Tensor, float]:
    """The loss, and the share of covered cells with all classes right (1 if no cell is covered).

    The loss is the cross-entropy of each vocabulary, in nats, plus 5 times the mean absolute error of the distances.
    `outputs` are those of `RegionHeads`.  `regions` is (B, most, 4 + vocabularies): a box as shares of the image's
    sides, then a class in each vocabulary.  The class -1 marks an empty place.
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
    targets = regions.gather(1, chosen.flatten(1)[..., None].expand(-1, -1, regions.shape[-1]))
    targets = targets.view(batch, height, width, -1)

    no_region = logits[0].shape[-1] - 1
    category = torch.where(covered, targets[..., 4].long(), no_region)
    loss = F.cross_entropy(logits[0].flatten(0, 2), category.flatten())
    if not covered.any():
        return loss, 1.0
    correct = logits[0].argmax(-1)[covered] == category[covered]
    for place, extra in enumerate(logits[1:]):
        classes = targets[covered][:, 5 + place].long()
        loss = loss + F.cross_entropy(extra[covered], classes)
        correct &= extra[covered].argmax(-1) == classes
    left, top, right, bottom = targets[..., :4].unbind(-1)
    distances = torch.stack([x - left, y[:, None] - top, right - x, bottom - y[:, None]], dim=-1)
    loss = loss + 5.0 * F.l1_loss(sides[covered], distances[covered])
    return loss, float(correct.float().mean())
