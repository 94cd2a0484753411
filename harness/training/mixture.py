"""A mixture of tasks' training splits, sampled by mixture weight and read on demand.

Prompts and answers are tokenised once, into flat files that processes map into memory and share (`Store`).  Worker
processes read pixels from the data root.  A unit is an image with a limited number of its questions.

Every task has an endless sequence of units: one random permutation of all its units per epoch.  Each step samples the
task of every image, and takes the next units of that task.

The sequence is a function of (seed, step), so an interrupted run resumes with the same units.  Every process computes
the same sequence and reads its own share.  Each unit therefore occurs once per epoch, for any number of processes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from harness import images
from harness.errors import DataError, HarnessError
from harness.training.data import sigma_at
from harness.training.lessons import Batch, Ids
from harness.training.loop import Batches
from harness.training.parallel import Ranks
from harness.training.recipe import Recipe
from harness.training.skipping import SkippedImages
from harness.training.stores import Store

Place = tuple[int, int, int]  # task, unit, epoch
PREFETCH = 2


class Resizing(Protocol):
    """What makes the pixels of an image for a model.  Worker processes receive it as a pickle."""

    def resize(self, image: Image.Image) -> Any:
        """The pixels: for Florence-2 (side, side, 3) uint8.  `images.BadImage` for an image that the model refuses."""
        ...


@dataclass(frozen=True, slots=True)
class Mixture:
    """The store and the mixture weight of each task; a weight is relative to the sum of the weights."""

    stores: Mapping[str, Store]
    weights: Mapping[str, float]
    seed: int

    def places(self, start: int, steps: int, batch: int) -> Iterator[list[Place]]:
        """The units of each step from `start` to `steps`, one list of `batch` places per step."""
        names = list(self.stores)
        shares = np.array([self.weights[name] for name in names], np.float64)
        shares /= shares.sum()
        taken = np.zeros(len(names), np.int64)
        for step in range(steps):
            tasks = np.random.default_rng((self.seed, 3, step)).choice(len(names), batch, p=shares)
            if step < start:
                taken += np.bincount(tasks, minlength=len(names))
                continue
            places = []
            for task in tasks.tolist():
                units = self.stores[names[task]].units
                epoch, place = divmod(int(taken[task]), units)
                places.append((task, int(_order(self.seed, task, epoch, units)[place]), epoch))
                taken[task] += 1
            yield places


@functools.lru_cache(maxsize=64)
def _order(seed: int, task: int, epoch: int, units: int) -> NDArray[np.int64]:
    return np.random.default_rng((seed, 4, task, epoch)).permutation(units)


@dataclass(frozen=True, slots=True)
class Unit:
    """An image with its (prompt, answer) ids: pixels as `Resizing` makes them, and its path under the data root.

    `skipped` are the bad images whose place it takes, each with the reason.
    """

    pixels: Any
    name: str
    task: str
    examples: Sequence[tuple[Ids, Ids]]
    skipped: Sequence[tuple[str, str]] = ()


class _UnitDataset(Dataset[Unit | HarnessError]):
    """Place to unit, or to the error of its image.  Errors are returned: an error raised in a worker loses its type.

    With `most_skipped`, the next unit of the task takes the place of a unit with a bad image.  So the units of a step
    depend on the data alone, for any number of workers, and every batch is full.
    """

    def __init__(self, mixture: Mixture, root: Path, preprocess: Resizing, most_skipped: int) -> None:
        self.mixture, self.root, self.preprocess, self.most_skipped = mixture, root, preprocess, most_skipped
        self.names = list(mixture.stores)

    def __getitem__(self, place: Place) -> Unit | HarnessError:
        task, unit, epoch = place
        name = self.names[task]
        store = self.mixture.stores[name]
        skipped: dict[str, str] = {}
        for further in range(store.units):
            reference, examples = store.unit((unit + further) % store.units, epoch)
            if reference in skipped:
                continue
            try:
                pixels = self.preprocess.resize(images.open_rgb(self.root, reference))
            except HarnessError as error:
                if not isinstance(error, images.BadImage) or len(skipped) >= self.most_skipped:
                    return error
                skipped[reference] = str(error)
                continue
            return Unit(pixels, reference, name, examples, tuple(skipped.items()))
        return DataError(f"{name}: no training image can be read; the last: {list(skipped.values())[-1]}")


def mixture_batches(
    recipe: Recipe,
    mixture: Mixture,
    root: Path,
    preprocess: Resizing,
    *,
    workers: int = 0,
    skipped: SkippedImages | None = None,
    joined: Callable[[list[Any]], Any] = torch.stack,
) -> Batches:
    """Batches of units sampled from the mixture, limited to this process's share of each step.

    `workers` processes read images ahead; with 0, this process reads them.  DataError, with the path, for a missing or
    damaged image; with `skipped`, such images are skipped and added to it, and it raises DataError for too many.

    `joined` makes the pixels of a batch from those of its images.
    """
    plan, ranks = recipe.plan, Ranks.current()
    parts = ranks.parts(plan.batch, plan.accumulate)

    def steps(start: int) -> Iterator[list[Batch]]:
        places = ([step[i] for i in part] for step in mixture.places(start, plan.steps, plan.batch) for part in parts)
        loader: Iterable[list[Unit | HarnessError]] = DataLoader(
            _UnitDataset(mixture, root, preprocess, 0 if skipped is None else skipped.most),
            batch_sampler=_PlaceSampler(places),
            num_workers=workers,
            collate_fn=_as_list,
            prefetch_factor=PREFETCH * len(parts) if workers else None,
            multiprocessing_context="spawn" if workers else None,
            worker_init_fn=_use_one_thread,
        )
        read = iter(loader)
        for step in range(start, plan.steps):
            sigma = sigma_at(recipe.sigma, step / plan.steps)
            yield [batch_of(_checked(next(read), skipped), sigma, step, joined) for _ in parts]

    return steps


def batch_of(
    units: Sequence[Unit], sigma: float = 0.0, step: int = 0, joined: Callable[[list[Any]], Any] = torch.stack
) -> Batch:
    """A batch of units.  The kind of each question is the name of the unit's task."""
    flat = [(place, unit.task, *example) for place, unit in enumerate(units) for example in unit.examples]
    return Batch(
        joined([unit.pixels for unit in units]),
        torch.tensor([place for place, *_ in flat]),
        [task for _, task, _, _ in flat],
        [prompt for *_, prompt, _ in flat],
        [answer for *_, answer in flat],
        sigma=sigma,
        names=[unit.name for unit in units],
        step=step,
    )


class _PlaceSampler:
    """The places of each part, in DataLoader's interface.  Only one pass is possible."""

    def __init__(self, places: Iterable[list[Place]]) -> None:
        self.places = places

    def __iter__(self) -> Iterator[list[Place]]:
        return iter(self.places)


def _as_list(units: list[Unit | HarnessError]) -> list[Unit | HarnessError]:
    return units


def _checked(units: list[Unit | HarnessError], skipped: SkippedImages | None = None) -> list[Unit]:
    """The units; raises the first error among them, and adds their skipped images to `skipped`."""
    for unit in units:
        if isinstance(unit, HarnessError):
            raise unit
        if skipped is not None:
            for image, reason in unit.skipped:
                skipped.add(image, reason)
    return [unit for unit in units if isinstance(unit, Unit)]


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)
