"""Packs of synthetic training scenes: pixels at the network's size, and all prompts and answers as ids.

The batch of a step is a function of (seed, step) alone, so an interrupted run resumes with the same batches.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from harness.core import Box, Kind, Sample, Size, Value
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import FORMS, prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.tokenizer import BOS, EOS, Tokenizer
from harness.progress import over
from harness.training.lessons import Batch, Ids
from harness.training.loop import Batches
from harness.training.parallel import Ranks
from harness.training.recipe import Drawing, Plan, Recipe

# A scene as pixels, regions, and the (prompt, answer) ids of each kind
Encoded = tuple[NDArray[np.uint8], list[list[float]], dict[Kind, list[tuple[list[int], list[int]]]]]
KINDS: tuple[Kind, ...] = tuple(FORMS)
MIN_SCENES_FOR_WORKERS = 500


class TrainingScene(Protocol):
    """An image (height, width, 3) uint8, its samples, and the things in it.

    A thing is a box in pixels, with its class in each vocabulary (category, colour).
    """

    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def samples(self) -> Sequence[Sample[Value]]: ...
    @property
    def things(self) -> Sequence[tuple[Box, tuple[int, ...]]]: ...


# Seed to scene.  A module-level function, so that worker processes can import it.
SceneSource = Callable[[int], TrainingScene]


@dataclass(frozen=True, slots=True)
class Examples:
    """The prompt and answer ids of one kind, concatenated.  Scene s has the examples `first[s] : first[s + 1]`."""

    first: NDArray[np.int64]  # (scenes + 1,)
    bounds: NDArray[np.int64]  # (examples + 1, 2): the start of each prompt and of each answer
    prompts: NDArray[np.int16]
    answers: NDArray[np.int16]

    def head(self, scenes: int) -> Examples:
        """The examples of the first `scenes` scenes."""
        return Examples(self.first[: scenes + 1], self.bounds, self.prompts, self.answers)


@dataclass(frozen=True, slots=True)
class Pack:
    """All the training data of a run."""

    images: Tensor  # (scenes, side, side, 3) uint8
    regions: NDArray[np.float32]  # (scenes, most, 4 + vocabularies): see `vision.region_loss`
    examples: Mapping[Kind, Examples]

    def examples_of(self, kind: Kind, scenes: NDArray[np.int64], draw: np.random.Generator) -> list[tuple[Ids, Ids]]:
        """The (prompt, answer) ids of a random example of a kind, for each of `scenes`."""
        packed = self.examples[kind]
        low, high = packed.first[scenes], packed.first[scenes + 1]
        chosen = low + (draw.random(len(scenes)) * (high - low)).astype(np.int64)
        bounds = zip(packed.bounds[chosen], packed.bounds[chosen + 1], strict=True)
        return [(packed.prompts[p:p_end], packed.answers[a:a_end]) for (p, a), (p_end, a_end) in bounds]

    def head(self, scenes: int) -> Pack:
        """The pack of the first `scenes` scenes."""
        if scenes >= len(self.images):
            return self
        return Pack(self.images[:scenes], self.regions[:scenes], {k: e.head(scenes) for k, e in self.examples.items()})

    def has_all(self, kinds: Sequence[Kind]) -> NDArray[np.bool_]:
        """Whether each scene has at least one example of every kind in `kinds` (scenes,)."""
        has_kind = [np.diff(self.examples[kind].first) > 0 for kind in kinds]
        has_all: NDArray[np.bool_] = np.logical_and.reduce(has_kind)
        return has_all


def scene_batches(recipe: Recipe, data: Drawing, pack: Pack) -> Batches:
    """Batches of scenes with one question per slot, limited to this process's share of each step.

    The batches of a step are a function of (seed, step) alone.
    """
    plan = recipe.plan
    things = (pack.regions[..., 4] >= 0).sum(1)
    ranks = Ranks.current()

    def steps(start: int) -> Iterator[list[Batch]]:
        for step in range(start, plan.steps):
            draw = np.random.default_rng((plan.seed, 2, step))
            progress = step / plan.steps
            kinds = [slot[int(draw.integers(len(slot)))] for slot in data.slots]
            usable = pack.has_all(kinds)
            if progress < data.few_until:
                small = usable & (things <= data.few)
                usable = small if small.any() else usable
            scenes = draw.choice(np.flatnonzero(usable), plan.batch)
            examples = [pack.examples_of(kind, scenes, draw) for kind in kinds]
            parts = []
            for places in ranks.parts(plan.batch, plan.accumulate):
                chosen = scenes[places]
                flat = [(slot, place) for slot in range(len(kinds)) for place in range(len(places))]
                parts.append(
                    Batch(
                        pack.images[torch.from_numpy(chosen)],
                        torch.tensor([place for _, place in flat]),
                        [kinds[slot] for slot, _ in flat],
                        [examples[slot][places[place]][0] for slot, place in flat],
                        [examples[slot][places[place]][1] for slot, place in flat],
                        torch.from_numpy(pack.regions[chosen]) if data.regions else None,
                        sigma_at(recipe.sigma, progress),
                        names=[f"scene {scene}" for scene in chosen],
                        step=step,
                    )
                )
            yield parts

    return steps


def region_batches(plan: Plan, pack: Pack) -> Batches:
    """Batches of scenes with their regions and without questions, for region classification."""
    ranks = Ranks.current()

    def steps(start: int) -> Iterator[list[Batch]]:
        for step in range(start, plan.steps):
            draw = np.random.default_rng((plan.seed, 1, step))
            chosen = draw.integers(0, len(pack.images), plan.batch)
            yield [
                Batch(
                    pack.images[torch.from_numpy(chosen[places])],
                    torch.empty(0, dtype=torch.long),
                    (),
                    (),
                    (),
                    torch.from_numpy(pack.regions[chosen[places]]),
                    names=[f"scene {scene}" for scene in chosen[places]],
                )
                for places in ranks.parts(plan.batch, plan.accumulate)
            ]

    return steps


def sigma_at(sigma: tuple[float, float], progress: float) -> float:
    """The width of a location token's target, in bins, after the share `progress` of the steps.

    The width changes geometrically from the first value of `sigma` to the last; a 0 in either value gives 0.
    """
    first, last = sigma
    return first * (last / first) ** progress if first > 0 and last > 0 else 0.0


def pack(
    source: SceneSource,
    seeds: range,
    tokenizer: Tokenizer,
    preprocess: Preprocess,
    *,
    answer_limit: int,
    workers: int,
    forms: Mapping[Kind, str] | None = None,
) -> Pack:
    """The pack of the scenes of `seeds`, without answers of more than `answer_limit` tokens.

    `forms` names the form of a kind's prompt where that is not the default form.
    """
    encode = _Encoder(source, tokenizer, preprocess, answer_limit, forms or {})
    images = torch.empty(len(seeds), preprocess.height, preprocess.width, 3, dtype=torch.uint8)
    regions: list[list[list[float]]] = []
    rows: dict[Kind, list[list[tuple[list[int], list[int]]]]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        done: Iterator[Encoded] = map(encode, seeds)
        if workers > 1 and len(seeds) > MIN_SCENES_FOR_WORKERS:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)))
            done = pool.imap(encode, seeds, chunksize=64)
        for place, (pixels, scene_regions, examples) in enumerate(
            over(done, "rendering scenes", unit="scenes", total=len(seeds))
        ):
            images[place] = torch.from_numpy(pixels)
            regions.append(scene_regions)
            for kind in KINDS:
                rows[kind].append(examples.get(kind, []))
    return Pack(images, _stack(regions), {kind: _concatenate(rows[kind]) for kind in KINDS})


def cached_pack(path: Path, make: Callable[[], Pack]) -> Pack:
    """The pack in the file `path`; where there is no file, `make()` gives the pack, and the file is written.

    A file may be older than a kind; that kind then has no examples.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        partial = path.with_suffix(f".{os.getpid()}.partial")  # several processes may write the same pack
        fields = {f"{kind}.{name}": getattr(made.examples[kind], name) for kind in KINDS for name in Examples.__slots__}
        with partial.open("wb") as stream:
            np.savez(stream, images=made.images.numpy(), regions=made.regions, **fields)
        partial.replace(path)
        return made
    with np.load(path) as arrays:
        images = torch.from_numpy(arrays["images"])
        examples = {
            kind: Examples(*(arrays[f"{kind}.{name}"] for name in Examples.__slots__))
            if f"{kind}.first" in arrays
            else _concatenate([()] * len(images))
            for kind in KINDS
        }
        return Pack(images, arrays["regions"], examples)


def digest(*parts: object) -> str:
    """Twelve hexadecimal digits that identify `parts` by their `repr`."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class _Encoder:
    """Seed to pixels, regions and ids.  A class, because worker processes receive it as a pickle."""

    def __init__(
        self,
        source: SceneSource,
        tokenizer: Tokenizer,
        preprocess: Preprocess,
        answer_limit: int,
        forms: Mapping[Kind, str],
    ) -> None:
        self.source = source
        self.vocabulary = tokenizer.backend.to_str()
        self.preprocess = preprocess
        self.answer_limit = answer_limit
        self.forms = forms
        self.tokenizer: Tokenizer | None = None

    def __call__(self, seed: int) -> Encoded:
        if self.tokenizer is None:
            from tokenizers import Tokenizer as Backend

            self.tokenizer = Tokenizer(Backend.from_str(self.vocabulary))
        scene = self.source(seed)
        size = Size(scene.image.shape[1], scene.image.shape[0])
        pixels = self.preprocess.resize(Image.fromarray(scene.image)).numpy()
        sides = (size.width, size.height, size.width, size.height)
        regions = [
            [*(x / side for x, side in zip(box, sides, strict=True)), *map(float, classes)]
            for box, classes in scene.things
        ]
        examples: dict[Kind, list[tuple[list[int], list[int]]]] = {}
        for sample in scene.samples:
            if sample.target is None:
                continue
            [text] = prompts_of(sample.question, self.forms.get(sample.question.kind, ""), size)
            prompt = self.tokenizer.encode(text)
            text = write_answer(sample.question, sample.target, size)
            answer = [BOS, *self.tokenizer.backend.encode(text, add_special_tokens=False).ids, EOS]
            if len(answer) <= self.answer_limit:
                examples.setdefault(sample.question.kind, []).append((prompt, answer))
        return pixels, regions, examples

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "tokenizer": None}


def _stack(regions: Sequence[Sequence[Sequence[float]]]) -> NDArray[np.float32]:
    most = max(map(len, regions))
    width = len(next(rows[0] for rows in regions if rows))
    stacked = np.full((len(regions), most, width), -1, np.float32)
    for place, rows in enumerate(regions):
        stacked[place, : len(rows)] = rows
    return stacked


def _concatenate(scenes: Sequence[Sequence[tuple[list[int], list[int]]]]) -> Examples:
    flat = [example for scene in scenes for example in scene]
    first = np.cumsum([0, *map(len, scenes)])
    bounds = np.cumsum([[0, 0], *([len(prompt), len(answer)] for prompt, answer in flat)], axis=0)
    prompts = np.fromiter((i for prompt, _ in flat for i in prompt), np.int16)
    answers = np.fromiter((i for _, answer in flat for i in answer), np.int16)
    return Examples(first, bounds, prompts, answers)
