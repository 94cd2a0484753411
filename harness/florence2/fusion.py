"""Image features to image tokens: position embeddings, the mean token, projection, norm.

Shapes: B images, H x W cells of the last map, C its channels, E the text width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.florence2.config import Config


class Fusion(nn.Module):
    """Image tokens (B, 1 + H*W, E) of a map (B, H, W, C): the map's mean, then its cells in row-major order."""

    frame: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim, side = config.vision.dims[-1], config.vision.max_side
        self.rows = nn.Embedding(side, dim // 2)
        self.columns = nn.Embedding(side, dim - dim // 2)
        self.projection = nn.Linear(dim, config.text.width, bias=False)
        self.norm = nn.LayerNorm(config.text.width)
        # Row 0 of a sinusoidal table over video frames: sin 0, cos 0, ...  A single image is frame 0.
        # No checkpoint stores it.  So it is built on the CPU, even if the default device is `meta`.
        self.register_buffer("frame", torch.arange(dim, device="cpu").remainder(2).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, 1 + H*W, E); UsageError if the map is larger than the position tables."""
        height, width = x.shape[1:3]
        side = self.rows.num_embeddings
        if height > side or width > side:
            raise UsageError(
                f"the image has a {width}x{height} feature map; this checkpoint has positions for {side}x{side}"
            )
        columns = self.columns.weight[:width].expand(height, -1, -1)
        rows = self.rows.weight[:height, None].expand(-1, width, -1)
        x = x + torch.cat([columns, rows], dim=-1) + self.frame  # the column embedding is the first half
        x = x.flatten(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1)
        out: Tensor = self.norm(self.projection(x))
        return out
