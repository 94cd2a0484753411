"""Training in several processes, with PyTorch's DistributedDataParallel, as `torchrun` starts them.

Every process computes the batch of the whole step and works on its own share of it, so no image is repeated or left
out.  The sum of the gradients over all processes equals the gradient of one process with the whole batch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from harness.errors import UsageError
from harness.training.lessons import Batch, Counts


@dataclass(frozen=True, slots=True)
class Ranks:
    """The `rank` of this process, among `world` processes."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """The rank in the current process group; rank 0 of 1 without a process group."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def parts(self, batch: int, accumulate: int) -> list[list[int]]:
        """The places of a step's batch that this process works on: one list for each of `accumulate` parts.

        UsageError for a batch that does not divide evenly.
        """
        shares = self.world * accumulate
        if batch % shares:
            raise UsageError(
                f"a batch of {batch} does not divide into {accumulate} parts for each of {self.world} processes"
            )
        return [list(range(part * self.world + self.rank, batch, shares)) for part in range(accumulate)]


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Joins the process group if `torchrun` started this process; the device of this process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if device.startswith("cuda"):
        device = f"cuda:{local}"
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def barrier() -> None:
    """Waits until all processes of the group are here."""
    if dist.is_initialized():
        dist.barrier()


def distributed(module: nn.Module) -> nn.Module:
    """The module wrapped to average gradients over the processes; the module itself without a process group."""
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module)


def set_step_totals(parts: list[Batch]) -> None:
    """Sets the `totals` and the `share` of every part: counts of the whole step, over all processes."""
    images = Ranks.current().world * sum(len(part.pixels) for part in parts)
    prompts: dict[str, float] = {}
    tokens: dict[str, float] = {}
    for part in parts:
        for total, counts in zip((prompts, tokens), part.counts(), strict=True):
            for kind, count in counts.items():
                total[kind] = total.get(kind, 0) + count
    if dist.is_initialized():
        by_process: list[Counts] = [({}, {})] * dist.get_world_size()
        dist.all_gather_object(by_process, (prompts, tokens))
        prompts, tokens = (_summed([counts[place] for counts in by_process]) for place in (0, 1))
    for part in parts:
        part.totals, part.share = (prompts, tokens), len(part.pixels) / images


def _summed(values: list[dict[str, float]]) -> dict[str, float]:
    kinds = sorted({kind for by_kind in values for kind in by_kind})
    return {kind: sum(by_kind.get(kind, 0) for by_kind in values) for kind in kinds}


def summed_losses(losses: Mapping[str, float]) -> dict[str, float]:
    """The loss of each kind, summed over the processes."""
    if not dist.is_initialized():
        return dict(losses)
    by_process: list[dict[str, float]] = [{}] * dist.get_world_size()
    dist.all_gather_object(by_process, dict(losses))
    return _summed(by_process)
