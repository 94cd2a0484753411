"""What a step is taught: a `Batch` of images with their prompts and answers, and the module that makes it a loss.

One token cross-entropy for every task, as in the paper (section 3).  Each image is encoded once for all its prompts;
they are read and written in groups of like length, so that little of the work is on padding.  The loss is the mean
over the tokens of each kind of question, weighted by the kind's share of the prompts: long outlines do not drown short
answers.  Counts are those of the whole step, over all its parts and processes, so a batch worked through in parts, or
by several processes, has the loss and the gradients that it would have at once; but for region classification, whose
loss is each part's own mean over its covered cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
Counts = tuple[dict[str, float], dict[str, float]]
Loss = tuple[Tensor, Mapping[str, float]]  # what is differentiated, and the loss of each kind for the log


@dataclass(slots=True)
class Batch:
    """B images and N prompts about them.

    `pixels` (B, side, side, 3) uint8; `image` (N,) says which image a prompt is about; `regions` are as
    `vision.region_loss` takes them; `names` are the images', for complaints.  `totals` are the prompts and the answer
    tokens of each kind in the whole step, all parts and processes together, and `share` is this part's of the step's
    images; at first: all of it.  `step` is for lessons that draw something themselves.
    """

    pixels: Tensor
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
        """Prompts and answer tokens of each kind."""
        prompts: dict[str, float] = {}
        tokens: dict[str, float] = {}
        for kind, answer in zip(self.kinds, self.answers, strict=True):
            prompts[kind] = prompts.get(kind, 0) + 1
            tokens[kind] = tokens.get(kind, 0) + len(answer)
        return prompts, tokens


def pad(rows: Sequence[Ids]) -> Tensor:
    """Ids of unequal lengths to (N, longest), filled with PAD."""
    out = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)


class Lesson(nn.Module):
    """The network, perhaps with region heads on its tower, as a loss."""

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
        """The batch's part of its step's loss, and of each kind's mean over its tokens."""
        device = self.model.embedding.weight.device
        features = self.model.vision(self.preprocess.normalise(batch.pixels.to(device, non_blocking=True)))
        image = self.model.fusion(features)  # (B, I, E)
        names = sorted(set(batch.kinds))
        prompts, tokens = batch.counts() if batch.totals is None else batch.totals
        share = torch.tensor([prompts[kind] / sum(prompts.values()) for kind in names], device=device)
        mean = torch.tensor([1 / tokens[kind] for kind in names], device=device)
        sums = torch.zeros(len(names), device=device)  # float32, whatever autocast makes of the rest
        for group in self._groups(batch):
            which, losses = self._losses(batch, group, image, names)
            sums = sums.index_add(0, which, losses)
        total = (sums * share * mean).sum()
        seen = dict(zip(names, (sums.detach() * mean).tolist(), strict=True))
        if self.heads is not None and self.weight and batch.regions is not None:
            loss, _ = region_loss(self.heads.told(features), batch.regions.to(device))
            loss = batch.share * loss
            total = total + self.weight * loss
            seen["regions"] = float(loss.detach())
        return total, seen

    def _groups(self, batch: Batch) -> list[NDArray[np.int64]]:
        """Prompts by the length of their answers, about as many at once as there are images."""
        order = np.argsort([len(answer) for answer in batch.answers], kind="stable")
        return np.array_split(order, max(1, round(len(order) / len(batch.pixels))))

    def _losses(
        self, batch: Batch, group: NDArray[np.int64], image: Tensor, names: Sequence[str]
    ) -> tuple[Tensor, Tensor]:
        """Of each token of the group's answers: its kind's place in `names` (M,), and its loss (M,)."""
        prompts, answers = pad([batch.prompts[i] for i in group]), pad([batch.answers[i] for i in group])
        told = answers != PAD
        which = torch.tensor([names.index(batch.kinds[i]) for i in group])[:, None].expand_as(told)[told]
        fed = torch.cat([torch.full_like(answers[:, :1], EOS), answers[:, :-1]], dim=1)
        mine = batch.image[torch.from_numpy(group)]
        prompts, answers, told, which, fed, mine = (
            x.to(image.device, non_blocking=True) for x in (prompts, answers, told, which, fed, mine)
        )
        hidden = self.model.write(fed, self.model.read(image[mine], prompts, prompts != PAD))
        losses = token_loss(self.model.lm_head(hidden[told]), answers[told], self.first_bin, batch.sigma)
        return which, losses


class RegionLesson(nn.Module):
    """Region classification of the tower alone."""

    def __init__(self, heads: RegionHeads, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.preprocess = Preprocess(side, side)

    def forward(self, batch: Batch) -> Loss:
        """The loss, and the share of covered cells whose classes are right."""
        device = next(self.heads.parameters()).device
        if batch.regions is None:
            raise ValueError("a batch without regions")
        outputs = self.heads(self.preprocess.normalise(batch.pixels.to(device, non_blocking=True)))
        loss, right = region_loss(outputs, batch.regions.to(device))
        return batch.share * loss, {"regions": batch.share * float(loss.detach()), "right": batch.share * right}
