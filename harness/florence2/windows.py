"""A map by rows to a map window after window, and back."""

from __future__ import annotations

from torch import Tensor


def to_windows(x: Tensor, side: int) -> Tensor:
    """(B, H, W, C) to (B*K, L, C): K windows of L = side * side tokens.  H and W are multiples of the side."""
    batch, height, width, dim = x.shape
    x = x.view(batch, height // side, side, width // side, side, dim)
    return x.transpose(2, 3).reshape(-1, side * side, dim)


def from_windows(x: Tensor, side: int, height: int, width: int) -> Tensor:
    """(B*K, L, C) to (B, H, W, C): undoes `to_windows`."""
    dim = x.shape[-1]
    x = x.view(-1, height // side, width // side, side, side, dim)
    return x.transpose(2, 3).reshape(-1, height, width, dim)
