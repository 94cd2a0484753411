"""Training scenes, packed once: pixels at the network's size and every prompt and answer as ids.

A batch is a pure function of (seed, step), so a run that was killed goes on with exactly the batches it would
have had.  Each image of a batch is encoded once for all its prompts.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
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
from harness.florence2.prompts import FORMS, prompts_of, write_answer
from harness.florence2.tokenizer import BOS, EOS, PAD, Tokenizer

KINDS: tuple[Kind, ...] = tuple(FORMS)


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


@dataclass(frozen=True, slots=True)
class Pack:
    """Everything a run is trained on.  Regions are (scenes, most, 4 + classes); an absent one has class -1."""

    images: Tensor  # (scenes, side, side, 3) uint8
    regions: NDArray[np.float32]
    examples: Mapping[Kind, Examples]

    def batch(self, kind: Kind, scenes: NDArray[np.int64], draw: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """One example of a kind for each scene: prompts (B, P), which are real (B, P), answers (B, T), padded."""
        packed = self.examples[kind]
        low, high = packed.first[scenes], packed.first[scenes + 1]
        chosen = low + (draw.random(len(scenes)) * (high - low)).astype(np.int64)
        prompts = [packed.prompts[packed.bounds[i, 0] : packed.bounds[i + 1, 0]] for i in chosen]
        answers = [packed.answers[packed.bounds[i, 1] : packed.bounds[i + 1, 1]] for i in chosen]
        ids = pad(prompts)
        return ids, ids != PAD, pad(answers)

    def having(self, kind: Kind) -> NDArray[np.int64]:
        """The scenes with at least one example of a kind."""
        first = self.examples[kind].first
        return np.flatnonzero(first[1:] > first[:-1])


def pad(rows: Sequence[NDArray[np.int16]]) -> Tensor:
    """Ids of unequal lengths to (B, longest), filled with PAD."""
    out = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for place, row in enumerate(rows):
        out[place, : len(row)] = row
    return torch.from_numpy(out)


def pack(
    source: SceneSource, seeds: range, tokenizer: Tokenizer, preprocess: Preprocess, *, answer_limit: int, workers: int
) -> Pack:
    """Draws and encodes the scenes of `seeds`; answers longer than `answer_limit` tokens are left out."""
    encode = _Encoder(source, tokenizer, preprocess, answer_limit)
    images = torch.empty(len(seeds), preprocess.height, preprocess.width, 3, dtype=torch.uint8)
    regions: list[list[list[float]]] = []
    rows: dict[Kind, list[list[tuple[list[int], list[int]]]]] = {kind: [] for kind in KINDS}
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        done = pool.imap(encode, seeds, chunksize=64)
        for place, (pixels, here, examples) in enumerate(tqdm(done, "drawing scenes", len(seeds), disable=None)):
            images[place] = torch.from_numpy(pixels)
            regions.append(here)
            for kind in KINDS:
                rows[kind].append(examples.get(kind, []))
    return Pack(images, _stack(regions), {kind: _concatenate(rows[kind]) for kind in KINDS})


def cached_pack(path: Path, make: Callable[[], Pack]) -> Pack:
    """`make()`'s result, kept at `path` for the next start."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = make()
        partial = path.with_suffix(".partial")
        fields = {f"{kind}.{name}": getattr(made.examples[kind], name) for kind in KINDS for name in Examples.__slots__}
        with partial.open("wb") as stream:
            np.savez(stream, images=made.images.numpy(), regions=made.regions, **fields)
        partial.replace(path)
        return made
    with np.load(path) as kept:
        examples = {kind: Examples(*(kept[f"{kind}.{name}"] for name in Examples.__slots__)) for kind in KINDS}
        return Pack(torch.from_numpy(kept["images"]), kept["regions"], examples)


def digest(*parts: object) -> str:
    """A short name for what a pack was made from."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]


class _Encoder:
    """One seed to pixels, regions and ids; a class so that worker processes can be sent it."""

    def __init__(self, source: SceneSource, tokenizer: Tokenizer, preprocess: Preprocess, answer_limit: int) -> None:
        self.source = source
        self.vocabulary = tokenizer.backend.to_str()
        self.preprocess = preprocess
        self.answer_limit = answer_limit
        self.tokenizer: Tokenizer | None = None

    def __call__(
        self, seed: int
    ) -> tuple[NDArray[np.uint8], list[list[float]], dict[Kind, list[tuple[list[int], list[int]]]]]:
        if self.tokenizer is None:
            torch.set_num_threads(1)
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
            [text] = prompts_of(sample.question)
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
