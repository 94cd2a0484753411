"""In-place computation on a CPU, a strip of the map's rows at a time.

The intermediate results of a strip stay in the CPU's cache.  Those of a whole map of a large image are newly allocated
memory in every layer, which is slow to touch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

STRIP = 2048  # tokens of a strip, about


def prefers_strips(x: Tensor) -> bool:
    """Whether a map is computed in strips: without gradients on a CPU, and on the meta device, to count operations."""
    return x.device.type in ("cpu", "meta") and not torch.is_grad_enabled()


def spans(x: Tensor, multiple: int = 1) -> list[tuple[int, int]]:
    """First and last row (exclusive) of each strip of a map (B, H, W, C).

    Strips have about `STRIP` tokens, about equal heights, and heights that are multiples of `multiple` (but the last).
    """
    batch, height, width, _ = x.shape
    units = -(-height // multiple)
    count = 1 if x.is_meta else max(1, min(units, batch * height * width // STRIP))
    ends = [min(height, multiple * (units * number // count)) for number in range(count + 1)]
    return list(itertools.pairwise(ends))


def convolved(x: Tensor, conv: nn.Conv2d, multiple: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Each strip of a map (B, H, W, C), and the strip plus a depthwise 3 x 3 convolution of the map.

    The caller may overwrite a strip once it is yielded: the strip below is convolved before.
    """
    previous: tuple[Tensor, Tensor] | None = None
    for top, bottom in spans(x, multiple):
        strip, above = x[:, top:bottom], max(0, top - 1)
        # One more row on either side, if there is one.  Results of these rows lack neighbours, and are dropped.
        y = conv(x[:, above : bottom + 1].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = y[:, top - above :][:, : bottom - top].add_(strip)
        if previous is not None:
            yield previous
        previous = strip, y
    if previous is not None:
        yield previous
