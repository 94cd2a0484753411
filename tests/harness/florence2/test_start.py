"""Random initial weights."""

from __future__ import annotations

import torch

from harness.florence2.start import smooth_bins


def test_smooth_bins_are_alike_for_neighbours_and_unlike_far_apart() -> None:
    bins = torch.nn.functional.normalize(smooth_bins(64, torch.Generator().manual_seed(0)), dim=1)
    near = (bins[:-1] * bins[1:]).sum(1).mean()
    far = (bins[:500] * bins[500:]).sum(1).mean()
    assert near > 0.95
    assert far < 0.5
