"""Training scenes, packed once: pixels at the network's size and every prompt and answer as ids.

A step's batch is a function of (seed, step) alone, so a run that was killed goes on with exactly the batches it would
have had.
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
from tqdm import tqdm

from harness.core import Box, Kind, Sample, Size, Value
from harness.florence2.preprocess import Preprocess
from harness.florence2.prompts import FORMS, prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.tokenizer import BOS, EOS, Tokenizer
from harness.training.lessons import Batch, Ids
from harness.training.loop import Batches
from harness.training.parallel import Ranks
from harness.training.recipe import Drawing, Plan, Recipe

Encoded = tuple[NDArray[np.uint8], list[list[float]], dict[Kind, list[tuple[list[int], list[int]]]]]  # a scene
KINDS: tuple[Kind, ...] = tuple(FORMS)
WORTH_PROCESSES = 500  # scenes


class TrainingScene(Protocol):
    """An image (height, width, 3) uint8, what is asked of it, and the things in it.

    A thing is its box in pixels and its classes, one a vocabulary (category, colour).
    """

    @property
    def image(self) -> NDArray[np.uint8]: ...
    @property
    def samples(self) -> Sequence[Sample[Value]]: ...
    @property
    def things(self) -> Sequence[tuple[Box, tuple[int, ...]]]: ...


SceneSource = Callable[[int], TrainingScene]  # seed to scene; importable, so that workers can have it


@dataclass(frozen=True, slots=True)
class Examples:
    """Prompt and answer ids of one kind, end to end: those of scene s are `first[s] : first[s + 1]`."""

    first: NDArray[np.int64]  # (scenes + 1,)
    bounds: NDArray[np.int64]  # (examples + 1, 2): where each prompt and each answer starts
    prompts: NDArray[np.int16]
    answers: NDArray[np.int16]

    def head(self, scenes: int) -> Examples:
        """Those of the first scenes."""
        return Examples(self.first[: scenes + 1], self.bounds, self.prompts, self.answers)


@dataclass(frozen=True, slots=True)
class Pack:
    """Everything a run is trained on.  Regions are (scenes, most, 4 + classes); an absent one has class -1."""

    images: Tensor  # (scenes, side, side, 3) uint8
    regions: NDArray[np.float32]
    examples: Mapping[Kind, Examples]

    def examples_of(self, kind: Kind, scenes: NDArray[np.int64], draw: np.random.Generator) -> list[tuple[Ids, Ids]]:
        """Prompt and answer of one example of a kind for each scene."""
        packed = self.examples[kind]
        low, high = packed.first[scenes], packed.first[scenes + 1]
        chosen = low + (draw.random(len(scenes)) * (high - low)).astype(np.int64)
        bounds = zip(packed.bounds[chosen], packed.bounds[chosen + 1], strict=True)
        return [(packed.prompts[p:p_end], packed.answers[a:a_end]) for (p, a), (p_end, a_end) in bounds]

    def head(self, scenes: int) -> Pack:
        """The first scenes alone."""
        if scenes >= len(self.images):
            return self
        return Pack(self.images[:scenes], self.regions[:scenes], {k: e.head(scenes) for k, e in self.examples.items()})

    def having(self, kinds: Sequence[Kind]) -> NDArray[np.bool_]:
        """Whether each scene has an example of every one of these kinds."""
        has = [np.diff(self.examples[kind].first) > 0 for kind in kinds]
        every: NDArray[np.bool_] = np.logical_and.reduce(has)
        return every


def drawn(recipe: Recipe, data: Drawing, pack: Pack) -> Batches:
    """Steps of scenes with a question a slot, in parts of this process's share; a function of (seed, step) alone."""
    plan = recipe.plan
    things = (pack.regions[..., 4] >= 0).sum(1)
    ranks = Ranks.current()

    def steps(start: int) -> Iterator[list[Batch]]:
        for step in range(start, plan.steps):
            draw = np.random.default_rng((plan.seed, 2, step))
            progress = step / plan.steps
            kinds = [slot[int(draw.integers(len(slot)))] for slot in data.slots]
            able = pack.having(kinds)
            if progress < data.few_until:
                small = able & (things <= data.few)
                able = small if small.any() else able
            scenes = draw.choice(np.flatnonzero(able), plan.batch)
            examples = [pack.examples_of(kind, scenes, draw) for kind in kinds]
            parts = []
            for mine in ranks.parts(plan.batch, plan.accumulate):
                of = scenes[mine]
                flat = [(slot, place) for slot in range(len(kinds)) for place in range(len(mine))]
                parts.append(
                    Batch(
                        pack.images[torch.from_numpy(of)],
                        torch.tensor([place for _, place in flat]),
                        [kinds[slot] for slot, _ in flat],
                        [examples[slot][mine[place]][0] for slot, place in flat],
                        [examples[slot][mine[place]][1] for slot, place in flat],
                        torch.from_numpy(pack.regions[of]) if data.regions else None,
                        softened(recipe.sigma, progress),
                        names=[f"scene {scene}" for scene in of],
                        step=step,
                    )
                )
            yield parts

    return steps


def drawn_regions(plan: Plan, pack: Pack) -> Batches:
    """Steps of scenes with their regions alone."""
    ranks = Ranks.current()

    def steps(start: int) -> Iterator[list[Batch]]:
        for step in range(start, plan.steps):
            draw = np.random.default_rng((plan.seed, 1, step))
            chosen = draw.integers(0, len(pack.images), plan.batch)
            yield [
                Batch(
                    pack.images[torch.from_numpy(chosen[mine])],
                    torch.empty(0, dtype=torch.long),
                    (),
                    (),
                    (),
                    torch.from_numpy(pack.regions[chosen[mine]]),
                    names=[f"scene {scene}" for scene in chosen[mine]],
                )
                for mine in ranks.parts(plan.batch, plan.accumulate)
            ]

    return steps


def softened(sigma: tuple[float, float], progress: float) -> float:
    """How many bins a location's target is spread over, at this share of the steps."""
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
    """Draws and encodes the scenes of `seeds`; answers longer than `answer_limit` tokens are left out.

    `forms` are prompts other than each kind's first.
    """
    encode = _Encoder(source, tokenizer, preprocess, answer_limit, forms or {})
    images = torch.empty(len(seeds), preprocess.height, preprocess.width, 3, dtype=torch.uint8)
    regions: list[list[list[float]]] = []
    rows: dict[Kind, list[list[tuple[list[int], list[int]]]]] = {kind: [] for kind in KINDS}
    with ExitStack() as stack:
        done: Iterator[Encoded] = map(encode, seeds)
        if workers > 1 and len(seeds) > WORTH_PROCESSES:
            pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)))
            done = pool.imap(encode, seeds, chunksize=64)
        for place, (pixels, here, examples) in enumerate(tqdm(done, "drawing scenes", len(seeds), disable=None)):
            images[place] = torch.from_numpy(pixels)
            regions.append(here)
            for kind in KINDS:
                rows[kind].append(examples.get(kind, []))
    return Pack(images, _stack(regions), {kind: _concatenate(rows[kind]) for kind in KINDS})


def cached_pack(path: Path, make: Callable[[], Pack]) -> Pack:
    """`make()`'s result, kept at `path` for the next start.

    A kind that a kept pack lacks, as it was made before that kind existed, has no examples.
    """
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        partial = path.with_suffix(f".{os.getpid()}.partial")  # several processes may draw the same
        fields = {f"{kind}.{name}": getattr(made.examples[kind], name) for kind in KINDS for name in Examples.__slots__}
        with partial.open("wb") as stream:
            np.savez(stream, images=made.images.numpy(), regions=made.regions, **fields)
        partial.replace(path)
        return made
    with np.load(path) as kept:
        images = torch.from_numpy(kept["images"])
        examples = {
            kind: Examples(*(kept[f"{kind}.{name}"] for name in Examples.__slots__))
            if f"{kind}.first" in kept
            else _concatenate([()] * len(images))
            for kind in KINDS
        }
        return Pack(images, kept["regions"], examples)


def digest(*parts: object) -> str:
    """A short name for what a pack was made from."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class _Encoder:
    """One seed to pixels, regions and ids; a class so that worker processes can be sent it."""

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
        across = (size.width, size.height, size.width, size.height)
        regions = [
            [*(x / side for x, side in zip(box, across, strict=True)), *map(float, classes)]
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
    width = len(next(here[0] for here in regions if here))
    out = np.full((len(regions), most, width), -1, np.float32)
    for place, here in enumerate(regions):
        out[place, : len(here)] = here
    return out


def _concatenate(scenes: Sequence[Sequence[tuple[list[int], list[int]]]]) -> Examples:
    flat = [example for scene in scenes for example in scene]
    first = np.cumsum([0, *map(len, scenes)])
    bounds = np.cumsum([[0, 0], *([len(prompt), len(answer)] for prompt, answer in flat)], axis=0)
    prompts = np.fromiter((i for prompt, _ in flat for i in prompt), np.int16)
    answers = np.fromiter((i for _, answer in flat for i in answer), np.int16)
    return Examples(first, bounds, prompts, answers)
