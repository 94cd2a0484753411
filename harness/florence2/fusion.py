"""Image features to text width: positions, the mean token, projection, norm.

Shapes: B images, H x W cells of the last map, C its channels, E the text width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.errors import UsageError
from harness.florence2.config import Config


class Fusion(nn.Module):
    """(B, H, W, C) to (B, 1 + H*W, E): the map's mean first, then the map in reading order."""

    frame: Tensor

    def __init__(self, config: Config) -> None:
        super().__init__()
        dim, side = config.vision.dims[-1], config.vision.max_side
        self.rows = nn.Embedding(side, dim // 2)
        self.columns = nn.Embedding(side, dim - dim // 2)
        self.projection = nn.Linear(dim, config.text.width, bias=False)
        self.norm = nn.LayerNorm(config.text.width)
        # The first row of a sinusoidal table over video frames: sin 0, cos 0, ...  A single image is frame 0.
        # On the CPU whatever the default: no weights file has it, so that on `meta` it would be without values.
        self.register_buffer("frame", torch.arange(dim, device="cpu").remainder(2).float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) to (B, 1 + H*W, E); UsageError where the map is larger than the position tables."""
        height, width = x.shape[1:3]
        most = self.rows.num_embeddings
        if height > most or width > most:
            raise UsageError(f"the image gives a {width}x{height} map; this checkpoint has positions for {most}x{most}")
        columns = self.columns.weight[:width].expand(height, -1, -1)
        rows = self.rows.weight[:height, None].expand(-1, width, -1)
        x = x + torch.cat([columns, rows], dim=-1) + self.frame  # the column's half comes first
        x = x.flatten(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], dim=1)
        out: Tensor = self.norm(self.projection(x))
        return out
