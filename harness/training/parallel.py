"""Processes that train together: PyTorch's DistributedDataParallel, as `torchrun` starts them.

Every process works out the whole step's batch and takes its own share of it, so nothing is drawn twice or left out, and
the sum of their gradients is that of one process with the whole batch.
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
    """This process's place among all: `rank` of `world`."""

    rank: int = 0
    world: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """Those of the process group, one alone where there is none."""
        return cls(dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else cls()

    def parts(self, batch: int, accumulate: int) -> list[list[int]]:
        """Which places of a step's `batch` this process works through, one list a part."""
        shares = self.world * accumulate
        if batch % shares:
            raise UsageError(
                f"a batch of {batch} does not divide into {accumulate} parts for each of {self.world} processes"
            )
        return [list(range(part * self.world + self.rank, batch, shares)) for part in range(accumulate)]


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """The device of this process; joins the others where `torchrun` started it."""
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
    """Waits for the other processes."""
    if dist.is_initialized():
        dist.barrier()


def wrapped(module: nn.Module) -> nn.Module:
    """The module whose backward pass averages gradients over the processes; itself where there is one."""
    if not dist.is_initialized():
        return module
    return DistributedDataParallel(module)


def give_totals(parts: list[Batch]) -> None:
    """Tells every part what the whole step has, in all processes: prompts and tokens of each kind, and images."""
    images = Ranks.current().world * sum(len(part.pixels) for part in parts)
    prompts: dict[str, float] = {}
    tokens: dict[str, float] = {}
    for part in parts:
        for total, here in zip((prompts, tokens), part.counts(), strict=True):
            for kind, count in here.items():
                total[kind] = total.get(kind, 0) + count
    if dist.is_initialized():
        everybody: list[Counts] = [({}, {})] * dist.get_world_size()
        dist.all_gather_object(everybody, (prompts, tokens))
        prompts, tokens = (_summed([theirs[place] for theirs in everybody]) for place in (0, 1))
    for part in parts:
        part.totals, part.share = (prompts, tokens), len(part.pixels) / images


def _summed(counts: list[dict[str, float]]) -> dict[str, float]:
    return {
        kind: sum(here.get(kind, 0) for here in counts) for kind in sorted({kind for here in counts for kind in here})
    }


def gathered(losses: Mapping[str, float]) -> dict[str, float]:
    """Each kind's loss, summed over the processes."""
    if not dist.is_initialized():
        return dict(losses)
    everybody: list[dict[str, float]] = [{}] * dist.get_world_size()
    dist.all_gather_object(everybody, dict(losses))
    return _summed(everybody)
