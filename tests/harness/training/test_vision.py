"""Region classification: the targets and the loss against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from harness.florence2.davit import DaViT
from harness.training.vision import RegionHeads, region_loss
from tests.harness.training.tiny import SMALL

EMPTY = (0.0, 0.0, 0.0, 0.0, -1.0, -1.0)
# Two images, up to three regions each: box (left, top, right, bottom), category, colour.
REGIONS = [
    [(0.0, 0.0, 0.9, 0.9, 0.0, 1.0), (0.1, 0.1, 0.45, 0.45, 2.0, 0.0), EMPTY],  # the second lies within the first
    [(0.5, 0.25, 1.0, 0.75, 1.0, 1.0), EMPTY, EMPTY],
]
SIDE = 4  # cells


def outputs() -> tuple[Tensor, Tensor, Tensor]:
    """Logits of 3 categories and "no region", logits of 2 colours, and distances, for 2 images of 4 x 4 cells."""
    generator = torch.Generator().manual_seed(0)
    category, colour, sides = (torch.randn(2, SIDE, SIDE, width, generator=generator) for width in (4, 2, 4))
    return category, colour, sides


def smallest_region(image: int, x: float, y: float) -> tuple[float, ...] | None:
    """The region around a point with the smallest box, by a plain loop."""
    around = [
        region
        for region in REGIONS[image]
        if region[4] >= 0 and region[0] < x < region[2] and region[1] < y < region[3]
    ]
    return min(around, key=lambda region: (region[2] - region[0]) * (region[3] - region[1]), default=None)


def cross_entropy(logits: Tensor, target: int) -> float:
    values = logits.tolist()
    return math.log(sum(math.exp(value) for value in values)) - values[target]


def test_region_loss_equals_plain_loop() -> None:
    category, colour, sides = outputs()
    category_losses, colour_losses, distance_errors, correct = [], [], [], []
    for image in range(2):
        for row in range(SIDE):
            for column in range(SIDE):
                x, y = (column + 0.5) / SIDE, (row + 0.5) / SIDE
                region = smallest_region(image, x, y)
                cell = category[image, row, column]
                category_losses.append(cross_entropy(cell, 3 if region is None else int(region[4])))
                if region is None:
                    continue
                left, top, right, bottom = region[:4]
                colour_losses.append(cross_entropy(colour[image, row, column], int(region[5])))
                distances = (x - left, y - top, right - x, bottom - y)
                distance_errors += [
                    abs(a - b) for a, b in zip(sides[image, row, column].tolist(), distances, strict=True)
                ]
                classes = int(cell.argmax()), int(colour[image, row, column].argmax())
                correct.append(classes == (region[4], region[5]))
    expected = (
        sum(category_losses) / len(category_losses)
        + sum(colour_losses) / len(colour_losses)
        + 5 * sum(distance_errors) / len(distance_errors)
    )
    # Centres are at 1/8, 3/8, 5/8 and 7/8: the first image is covered, the second has 2 x 2 cells in its box.
    assert len(correct) == 4 * 4 + 2 * 2
    loss, share = region_loss((category, colour, sides), torch.tensor(REGIONS))
    # Means of at most 80 terms of size 1: 80 eps = 1e-5 at worst, with errors of both signs.
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert share == pytest.approx(sum(correct) / len(correct))


def test_region_loss_without_regions_is_cross_entropy_of_no_region() -> None:
    category, colour, sides = outputs()
    loss, share = region_loss((category, colour, sides), torch.tensor([[EMPTY], [EMPTY]]))
    cells = [cross_entropy(cell, 3) for cell in category.flatten(0, 2)]
    assert float(loss) == pytest.approx(sum(cells) / len(cells), rel=1e-5)
    assert share == 1.0


@torch.no_grad()
def test_region_heads_split_outputs_by_vocabulary() -> None:
    heads = RegionHeads(DaViT(SMALL.vision), SMALL.vision.dims[-1], (3, 2))
    category, colour, sides = heads(torch.zeros(2, 3, 64, 64))
    assert category.shape == (2, 4, 4, 4)  # 64 pixels are 4 cells of 16; three categories and "no region"
    assert colour.shape == (2, 4, 4, 2)
    assert sides.shape == (2, 4, 4, 4)
