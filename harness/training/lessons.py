"""A training batch, and the modules that compute its loss.

All tasks share one token cross-entropy, as in the paper (arXiv:2311.06242v1, section 3).  Each image is encoded once
for all its prompts.  Prompts are processed in groups of similar answer length, which saves padding.

The loss is the mean over the tokens of each kind of question, weighted by the kind's share of the prompts.  Long
outlines therefore do not outweigh short answers.

Counts cover the whole step: all its parts and all processes.  Gradient accumulation and several processes therefore
give the same loss and the same gradients as one large batch.  Region classification is the exception: its loss is the
mean over the covered cells of each part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.florence2.model import Florence2
from harness.florence2.preprocess import Preprocess
from harness.florence2.tokenizer import EOS, PAD
from harness.training.loss import token_loss
from harness.training.vision import RegionHeads, region_loss

Ids = NDArray[np.integer]
Counts = tuple[dict[str, float], dict[str, float]]  # prompts and answer tokens of each kind
Loss = tuple[Tensor, Mapping[str, float]]  # the differentiable loss, and the loss of each kind for the log


@dataclass(slots=True)
class Batch:
    """B images and N prompts about them.

    - `pixels` (B, side, side, 3) uint8, or for models of transformers a list of B images as their processors make them.
    - `names` are the names of the images, for error messages.
    - `image` (N,): the index of each prompt's image.
    - `regions`: see `vision.region_loss`.
    - `sigma`: the width of a location token's target, in bins; see `loss.token_loss`.
    - `totals`: prompts and answer tokens of each kind in the whole step; None means that this batch is the whole step.
    - `share`: this batch's share of the step's images.
    - `step`: the number of the step, for modules that draw random numbers.
    """

    pixels: Any
    image: Tensor
    kinds: Sequence[str]
    prompts: Sequence[Ids]
    answers: Sequence[Ids]
    regions: Tensor | None = None
    sigma: float = 0.0
    totals: Counts | None = None
    share: float = 1.0
    names: Sequence[str] = ()
    step: int = 0

    def counts(self) -> Counts:
        """The number of prompts and of answer tokens of each kind in this batch."""
        prompts: dict[str, float] = {}
        tokens: dict[str, float] = {}
        for kind, answer in zip(self.kinds, self.answers, strict=True):
            prompts[kind] = prompts.get(kind, 0) + 1
            tokens[kind] = tokens.get(kind, 0) + len(answer)
        return prompts, tokens


def pad(rows: Sequence[Ids]) -> Tensor:
    """Rows of ids to (N, longest), filled with PAD at the end."""
    padded = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for place, row in enumerate(rows):
        padded[place, : len(row)] = row
    return torch.from_numpy(padded)


def kind_weights(batch: Batch, device: torch.device) -> tuple[list[str], Tensor, Tensor]:
    """The K kinds of a batch, the share of each among the step's prompts (K,), and 1 / its answer tokens (K,)."""
    names = sorted(set(batch.kinds))
    prompts, tokens = batch.counts() if batch.totals is None else batch.totals
    share = torch.tensor([prompts[kind] / sum(prompts.values()) for kind in names], device=device)
    mean = torch.tensor([1 / tokens[kind] for kind in names], device=device)
    return names, share, mean


class Lesson(nn.Module):
    """The loss of a network on a batch, with region classification if `heads` are given and `regions` is not 0.

    `first_bin` is the id of the first location token.  `regions` is the weight of the region classification loss.
    """

    def __init__(
        self, model: Florence2, first_bin: int, *, heads: RegionHeads | None = None, regions: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.heads = heads
        self.weight = regions
        self.first_bin = first_bin
        side = model.config.image_size
        self.preprocess = Preprocess(side, side)

    def forward(self, batch: Batch) -> Loss:
        """This batch's contribution to the loss of its step, and to the mean token loss of each kind, in nats."""
        device = self.model.embedding.weight.device
        features = self.model.vision(self.preprocess.normalise(batch.pixels.to(device, non_blocking=True)))
        image = self.model.fusion(features)  # (B, I, E)
        names, share, mean = kind_weights(batch, device)
        sums = torch.zeros(len(names), device=device)  # always float32, also under autocast
        for group in self._groups(batch):
            which, losses = self._losses(batch, group, image, names)
            sums = sums.index_add(0, which, losses)
        total = (sums * share * mean).sum()
        by_kind = dict(zip(names, (sums.detach() * mean).tolist(), strict=True))
        if self.heads is not None and self.weight and batch.regions is not None:
            loss, _ = region_loss(self.heads.predict(features), batch.regions.to(device))
            loss = batch.share * loss
            total = total + self.weight * loss
            by_kind["regions"] = float(loss.detach())
        return total, by_kind

    def _groups(self, batch: Batch) -> list[NDArray[np.int64]]:
        """Indices of the prompts, sorted by answer length, in groups of about as many prompts as there are images."""
        order = np.argsort([len(answer) for answer in batch.answers], kind="stable")
        return np.array_split(order, max(1, round(len(order) / len(batch.pixels))))

    def _losses(
        self, batch: Batch, group: NDArray[np.int64], image: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """For the M answer tokens of a group: the index of each token's kind in `names` (M,), and its loss (M,)."""
        prompts, answers = pad([batch.prompts[i] for i in group]), pad([batch.answers[i] for i in group])
        real = answers != PAD
        which = torch.tensor([names.index(batch.kinds[i]) for i in group])[:, None].expand_as(real)[real]
        shifted = torch.cat([torch.full_like(answers[:, :1], EOS), answers[:, :-1]], dim=1)
        rows = batch.image[torch.from_numpy(group)]
        prompts, answers, real, which, shifted, rows = (
            x.to(image.device, non_blocking=True) for x in (prompts, answers, real, which, shifted, rows)
        )
        hidden = self.model.decode(shifted, self.model.encode(image[rows], prompts, prompts != PAD))
        losses = token_loss(self.model.lm_head(hidden[real]), answers[real], self.first_bin, batch.sigma)
        return which, losses


class RegionLesson(nn.Module):
    """The region classification loss of the vision tower alone."""

    def __init__(self, heads: RegionHeads, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.preprocess = Preprocess(side, side)

    def forward(self, batch: Batch) -> Loss:
        """The loss, and the share of covered cells with all classes right; ValueError for a batch without regions."""
        device = next(self.heads.parameters()).device
        if batch.regions is None:
            raise ValueError("a batch without regions")
        outputs = self.heads(self.preprocess.normalise(batch.pixels.to(device, non_blocking=True)))
        loss, right = region_loss(outputs, batch.regions.to(device))
        return batch.share * loss, {"regions": batch.share * float(loss.detach()), "right": batch.share * right}
