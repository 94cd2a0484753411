"""Pre-training of the vision tower with texts: which picture and which text belong together.

UniCL (arXiv:2204.03610, section 3), with which the paper's own tower was pre-trained: every image is compared with
every text of the batch, and all pairs that share a label are right, in both directions.  With all labels different it
is CLIP's loss (arXiv:2103.00020, figure 3).  The text's side and both projections are thrown away in the end.
Pairs are those of one call: a batch worked through in parts, or by several processes, has fewer wrong ones.
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

COLDEST = math.log(100.0)  # CLIP's bound on the logits' scale


class TextTower(nn.Module):
    """Ids to one vector: embedding, BART's encoder, mean over real tokens.

    `TextTower(model.embedding, model.encoder)` teaches a Florence-2's own.
    """

    def __init__(self, embedding: nn.Embedding, encoder: Encoder) -> None:
        super().__init__()
        self.embedding = embedding
        self.encoder = encoder

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, T) ids, PAD behind the last, to (B, E).  No text is without tokens."""
        real = tokens != PAD
        encoded: Tensor = self.encoder(self.embedding(tokens), real[:, None, None])  # (B, T, E)
        return (encoded * real[..., None]).sum(1) / real.sum(1, keepdim=True)


class Contrastive(nn.Module):
    """The tower and a text's encoder, as a loss.

    `dim` is the width of the tower's last map; `text` takes padded ids (B, T) to (B, width); both are projected to
    `dim_out`, and compared by the cosine times a learned scale of at most 100.
    """

    def __init__(self, tower: DaViT, dim: int, text: nn.Module, width: int, dim_out: int = 128) -> None:
        super().__init__()
        self.tower = tower
        self.norm = nn.LayerNorm(dim)
        self.image_projection = nn.Linear(dim, dim_out, bias=False)
        self.text = text
        self.text_projection = nn.Linear(width, dim_out, bias=False)
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # its logarithm; begins where CLIP's does

    def forward(self, pixels: Tensor, tokens: Tensor, labels: Tensor) -> Tensor:
        """The loss of normalised pixels (B, 3, height, width), ids (B, T) padded with PAD, and labels (B,)."""
        return pair_loss(self.compare(self.embed_images(pixels), self.embed_texts(tokens)), labels)

    def embed_images(self, pixels: Tensor) -> Tensor:
        """(B, 3, height, width) to (B, dim_out), each of length 1."""
        mean = self.tower(pixels).mean((1, 2))
        return F.normalize(self.image_projection(self.norm(mean)).float(), dim=-1)

    def embed_texts(self, tokens: Tensor) -> Tensor:
        """(B, T) to (B, dim_out), each of length 1."""
        return F.normalize(self.text_projection(self.text(tokens)).float(), dim=-1)

    def compare(self, images: Tensor, texts: Tensor) -> Tensor:
        """Logits (images, texts) of vectors of length 1, in float32: bfloat16 has steps of 0.5 near 100."""
        with torch.no_grad():
            self.scale.clamp_(max=COLDEST)  # in place, so that its gradient can bring it back
        with torch.autocast(images.device.type, enabled=False):
            return self.scale.exp() * images @ texts.T


def pair_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """UniCL's loss of logits (B, B), images by texts, and labels (B,): the mean of its two directions."""
    same = (labels[:, None] == labels).float()
    wanted = same / same.sum(1, keepdim=True)  # symmetric: a label's images and texts are equally many
    return 0.5 * (F.cross_entropy(logits, wanted) + F.cross_entropy(logits.T, wanted))


def labels_of(rows: Iterable[Iterable[Hashable]]) -> Tensor:
    """Labels (B,) of texts, strings or rows of ids: equal texts have equal ones, counted in order of appearance."""
    seen: dict[tuple[Hashable, ...], int] = {}
    keys = (tuple(row.tolist() if isinstance(row, Tensor) else row) for row in rows)
    return torch.tensor([seen.setdefault(key, len(seen)) for key in keys])
