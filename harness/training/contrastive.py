"""Contrastive pre-training of the vision tower: match each image with its text.

The loss is UniCL's (arXiv:2204.03610, section 3), which also pre-trained the paper's vision tower.  Every image of the
batch is compared with every text.  All pairs that share a label are positives, in both directions.  With distinct
labels the loss is CLIP's (arXiv:2103.00020, figure 3).  The text encoder and both projections are discarded afterwards.

Negatives come from the same call only.  Gradient accumulation and several processes therefore reduce their number.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Encoder
from harness.florence2.davit import DaViT
from harness.florence2.tokenizer import PAD

MAX_LOG_SCALE = math.log(100.0)  # CLIP's bound on the scale of the logits


class TextTower(nn.Module):
    """One vector per text: embedding, BART's encoder, and the mean over the tokens that are not padding.

    `TextTower(model.embedding, model.encoder)` trains the text encoder of a Florence-2.
    """

    def __init__(self, embedding: nn.Embedding, encoder: Encoder) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """Ids (B, T) to (B, E).  PAD follows the last token of a row; every row has at least one token."""
        real = tokens != PAD
        encoded: Tensor = self.encoder(self.embedding(tokens), real[:, None, None])  # (B, T, E)
        return (encoded * real[..., None]).sum(1) / real.sum(1, keepdim=True)


class Contrastive(nn.Module):
    """The contrastive loss of a vision tower and a text encoder.

    `dim` is the width of the tower's last feature map.  `text` maps padded ids (B, T) to (B, width).  Both are
    projected to `dim_out`.  Logits are cosines times a learned scale of at most 100.
    """

    def __init__(self, tower: DaViT, dim: int, text: nn.Module, width: int, dim_out: int = 128) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.image_projection = nn.Linear(dim, dim_out, bias=False)
        self.text = text
        self.text_projection = nn.Linear(width, dim_out, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # logarithm of the scale, initialised as in CLIP

    def forward(self, pixels: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        """Scalar loss of normalised pixels (B, 3, height, width), ids (B, T) padded with PAD, and labels (B,)."""
        return pair_loss(self.compare(self.embed_images(pixels), self.embed_texts(tokens)), labels)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to unit vectors (B, dim_out)."""
        mean = self.tower(pixels).mean((1, 2))
        return F.normalize(self.image_projection(self.norm(mean)).float(), dim=-1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """Ids (B, T) to unit vectors (B, dim_out)."""
        return F.normalize(self.text_projection(self.text(tokens)).float(), dim=-1)

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Logits (images, texts) of unit vectors, in float32: near 100, bfloat16 has steps of 0.5."""
        with torch.no_grad():
            self.scale.clamp_(max=MAX_LOG_SCALE)  # outside the graph, or no gradient could lower it again
        with torch.autocast(images.device.type, enabled=False):
            return self.scale.exp() * images @ texts.T


def pair_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """UniCL's loss of logits (B, B), images by texts, and labels (B,): the mean of both directions."""
    same = (labels[:, None] == labels).float()
    targets = same / same.sum(1, keepdim=True)  # symmetric: a label has as many images as texts
    return 0.5 * (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets))


def labels_of(rows: Iterable[Iterable[Hashable]]) -> Tensor:
    """Labels (B,) of texts, given as strings or rows of ids.

    Equal texts have equal labels.  Labels count up from 0 in order of first appearance.
    """
    seen: dict[tuple[Hashable, ...], int] = {}
    keys = (tuple(row.tolist() if isinstance(row, Tensor) else row) for row in rows)
    return torch.tensor([seen.setdefault(key, len(seen)) for key in keys])
