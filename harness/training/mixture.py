"""Tasks' training splits, mixed by weight and read as they are needed.

What is asked and answered is tokenised once and lies in flat files (`Store`) that processes map into memory and share;
pixels are read from the data root by worker processes.  A unit is an image with at most so many of its questions.

Every task has an endless order of its units: one permutation after another, each of all units (an epoch).  Step by step
the mixture draws which tasks its images are of, and takes the next units of each.  All of it follows from (seed, step),
so a run goes on where it was stopped, and every process works out the same draws and reads its own share: no unit is
left out or read twice in an epoch, however many processes and workers there are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from harness import images
from harness.errors import HarnessError
from harness.florence2.preprocess import Preprocess
from harness.training.data import softened
from harness.training.lessons import Batch, Ids
from harness.training.loop import Batches
from harness.training.parallel import Ranks
from harness.training.recipe import Recipe
from harness.training.stores import Store

Place = tuple[int, int, int]  # task, unit, epoch
PREFETCH = 2


@dataclass(frozen=True, slots=True)
class Mixture:
    """Stores by task, and the share of images that each is drawn for."""

    stores: Mapping[str, Store]
    weights: Mapping[str, float]
    seed: int

    def places(self, start: int, steps: int, batch: int) -> Iterator[list[Place]]:
        """The units of each step from `start` on, in the order of the batch's places."""
        names = list(self.stores)
        shares = np.array([self.weights[name] for name in names], np.float64)
        shares /= shares.sum()
        taken = np.zeros(len(names), np.int64)
        for step in range(steps):
            tasks = np.random.default_rng((self.seed, 3, step)).choice(len(names), batch, p=shares)
            if step < start:
                taken += np.bincount(tasks, minlength=len(names))
                continue
            found = []
            for task in tasks.tolist():
                units = self.stores[names[task]].units
                epoch, place = divmod(int(taken[task]), units)
                found.append((task, int(_order(self.seed, task, epoch, units)[place]), epoch))
                taken[task] += 1
            yield found


@functools.lru_cache(maxsize=64)
def _order(seed: int, task: int, epoch: int, units: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, task, epoch)).permutation(units)


@dataclass(frozen=True, slots=True)
class Unit:
    """An image's pixels (side, side, 3) uint8, and its prompts and answers."""

    pixels: Tensor
    name: str
    task: str
    examples: Sequence[tuple[Ids, Ids]]


class _Reader(Dataset[Unit | HarnessError]):
    """A place of the mixture to pixels and ids, or to what is wrong with its image: raised in a worker it is lost."""

    def __init__(self, mixture: Mixture, root: Path, preprocess: Preprocess) -> None:
        self.mixture, self.root, self.preprocess = mixture, root, preprocess
        self.names = list(mixture.stores)

    def __getitem__(self, place: Place) -> Unit | HarnessError:
        task, unit, epoch = place
        name = self.names[task]
        reference, examples = self.mixture.stores[name].unit(unit, epoch)
        try:
            pixels = self.preprocess.resize(images.open_rgb(self.root, reference))
        except HarnessError as error:
            return error
        return Unit(pixels, reference, name, examples)


def mixed(recipe: Recipe, mixture: Mixture, root: Path, preprocess: Preprocess, *, workers: int = 0) -> Batches:
    """Steps of units drawn from the mixture, in parts of this process's share, read ahead by `workers` processes.

    DataError for an image that is missing or broken, with its path.
    """
    plan, ranks = recipe.plan, Ranks.current()
    parts = ranks.parts(plan.batch, plan.accumulate)

    def steps(start: int) -> Iterator[list[Batch]]:
        places = ([step[i] for i in mine] for step in mixture.places(start, plan.steps, plan.batch) for mine in parts)
        loader: Iterable[list[Unit | HarnessError]] = DataLoader(
            _Reader(mixture, root, preprocess),
            batch_sampler=_Sampler(places),
            num_workers=workers,
            collate_fn=_listed,
            prefetch_factor=PREFETCH * len(parts) if workers else None,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_alone,
        )
        read = iter(loader)
        for step in range(start, plan.steps):
            sigma = softened(recipe.sigma, step / plan.steps)
            yield [batch_of(_sound(next(read)), sigma) for _ in parts]

    return steps


def batch_of(units: Sequence[Unit], sigma: float = 0.0) -> Batch:
    """Units side by side; each unit's questions are of its task."""
    flat = [(place, unit.task, *example) for place, unit in enumerate(units) for example in unit.examples]
    return Batch(
        torch.stack([unit.pixels for unit in units]),
        torch.tensor([place for place, *_ in flat]),
        [task for _, task, _, _ in flat],
        [prompt for *_, prompt, _ in flat],
        [answer for *_, answer in flat],
        sigma=sigma,
        names=[unit.name for unit in units],
    )


class _Sampler:
    """Places as DataLoader wants them; made once, read once."""

    def __init__(self, places: Iterable[list[Place]]) -> None:
        self.places = places

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.places)


def _listed(units: list[Unit | HarnessError]) -> list[Unit | HarnessError]:
    return units


def _sound(units: list[Unit | HarnessError]) -> list[Unit]:
    """The units, where all could be read; raises the first complaint otherwise."""
    for unit in units:
        if isinstance(unit, HarnessError):
            raise unit
    return [unit for unit in units if isinstance(unit, Unit)]


def _alone(_: int) -> None:
    torch.set_num_threads(1)
