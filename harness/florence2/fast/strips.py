"""A map on a CPU, changed in place, a strip of rows at a time: what is made of a strip stays in the CPU's cache.

What an attention or an MLP makes of a whole map of a large image is fresh memory each time, which is slow to touch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor, nn

STRIP = 2048  # tokens


def wanted(x: Tensor) -> bool:
    """Whether a map is better changed in strips; on the meta device too, where the work is counted."""
    return x.device.type in ("cpu", "meta") and not torch.is_grad_enabled()


def spans(x: Tensor, multiple: int = 1) -> list[tuple[int, int]]:
    """Rows of a map (B, H, W, C), from and to: about as many each, a multiple of so many, and about `STRIP` tokens."""
    batch, height, width, _ = x.shape
    units = -(-height // multiple)
    count = 1 if x.is_meta else max(1, min(units, batch * height * width // STRIP))
    ends = [min(height, multiple * (units * number // count)) for number in range(count + 1)]
    return list(itertools.pairwise(ends))


def convolved(x: Tensor, conv: nn.Conv2d, multiple: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Each strip of a map (B, H, W, C), and it with a depthwise 3 x 3 convolution of the map added.

    A strip may be overwritten once it is given: the one below was convolved already.
    """
    before: tuple[Tensor, Tensor] | None = None
    for top, bottom in spans(x, multiple):
        strip, above = x[:, top:bottom], max(0, top - 1)
        # A row more on either side, where there is one; of these, what comes out is wrong, and left out.
        y = conv(x[:, above : bottom + 1].permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        y = y[:, top - above :][:, : bottom - top].add_(strip)
        if before is not None:
            yield before
        before = strip, y
    if before is not None:
        yield before
