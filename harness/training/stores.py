"""A task's training samples as ids in flat files, written once and then mapped into memory.

A sample is a question with its answers: one, or the several that people gave, of which each epoch takes another.  The
samples of an image are dealt out in turn into units of at most `questions`: neighbours in the file, which are often of
one object, come apart.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from tqdm import tqdm

from harness.core import Boxes, Mask, Objects, Polygons, Question, Sample, Size, Text, Value
from harness.errors import DataError, ResourceError
from harness.florence2.prompts import prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.tokenizer import BOS, EOS, Tokenizer
from harness.geometry import masks
from harness.geometry.outlines import outline, simplify
from harness.training.lessons import Ids

FORM = 2  # of the files, and of how answers are written: raise it with either
OUTLINE_POINTS = 16  # the most in a ring that is taught
ARRAYS = ("units", "samples", "bounds", "prompts", "answers")


@dataclass(frozen=True, slots=True)
class Store:
    """Mapped files.  `first_sample` (units + 1), `first_answer` (samples + 1), `bounds` (answers + 1, 2)."""

    references: Sequence[str]
    first_sample: NDArray[np.int64]
    first_answer: NDArray[np.int64]
    bounds: NDArray[np.int64]
    prompts: Ids
    answers: Ids
    left_out: int
    folder: Path

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        """Another process maps the files itself."""
        return Store.load, (self.folder,)

    @classmethod
    def load(cls, folder: Path) -> Store:
        """Maps the files that `write_store` wrote."""
        said = json.loads((folder / "store.json").read_text())
        units, samples, bounds, prompts, answers = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
        return cls(said["references"], units, samples, bounds, prompts, answers, said["left_out"], folder)

    @property
    def units(self) -> int:
        return len(self.references)

    @property
    def samples(self) -> int:
        return len(self.first_answer) - 1

    def unit(self, unit: int, epoch: int) -> tuple[str, list[tuple[Ids, Ids]]]:
        """The image and its (prompt, answer) ids; of several answers that of this epoch."""
        found = []
        for sample in range(int(self.first_sample[unit]), int(self.first_sample[unit + 1])):
            low, high = int(self.first_answer[sample]), int(self.first_answer[sample + 1])
            chosen = low + (epoch + sample) % (high - low)
            (prompt, answer), (prompt_end, answer_end) = self.bounds[chosen], self.bounds[chosen + 1]
            found.append((self.prompts[prompt:prompt_end], self.answers[answer:answer_end]))
        return self.references[unit], found


def open_store(folder: Path) -> Store | None:
    """A store that was written whole; None where there is none, or a damaged one."""
    try:
        store = Store.load(folder)
        whole = (
            len(store.references) + 1 == len(store.first_sample)
            and store.first_sample[-1] + 1 == len(store.first_answer)
            and store.first_answer[-1] + 1 == len(store.bounds)
            and store.bounds[-1].tolist() == [len(store.prompts), len(store.answers)]
            and all(isinstance(reference, str) for reference in store.references)
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError):
        return None  # it is written anew
    return store if whole and store.references else None


def write_store(
    folder: Path,
    samples: Iterable[Sample[Any]],
    tokenizer: Tokenizer,
    root: Path,
    *,
    questions: int,
    limits: tuple[int, int],
    name: str,
) -> Store:
    """Tokenises the samples into `folder`; those longer than `limits` (of prompt and answer) are left out.

    DataError where not one of them can be taught, ResourceError where it cannot be written.
    """
    by_image: dict[str, list[list[tuple[list[int], list[int]]]]] = {}
    left_out = 0
    for sample in tqdm(samples, f"tokenising {name}", disable=None):
        found = examples_of(sample, tokenizer, root)
        taught = [pair for pair in found if len(pair[0]) <= limits[0] and len(pair[1]) <= limits[1]]
        if taught:
            by_image.setdefault(sample.question.image_name, []).append(taught)
        else:
            left_out += 1
    units = []
    for image, here in by_image.items():
        count = -(-len(here) // questions)
        units += [(image, here[place::count]) for place in range(count)]
    if not units:
        raise DataError(
            f"{name}: its training split has no sample that can be taught ({left_out} without an answer, or too long)"
        )
    flat = [answers for _, here in units for answers in here]
    pairs = [pair for answers in flat for pair in answers]
    dtype = np.int32 if tokenizer.size > np.iinfo(np.int16).max else np.int16
    arrays = (
        np.cumsum([0, *(len(here) for _, here in units)]),
        np.cumsum([0, *map(len, flat)]),
        np.cumsum([[0, 0], *([len(prompt), len(answer)] for prompt, answer in pairs)], axis=0),
        np.fromiter((i for prompt, _ in pairs for i in prompt), dtype),
        np.fromiter((i for _, answer in pairs for i in answer), dtype),
    )
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        for array, file in zip(arrays, ARRAYS, strict=True):
            np.save(partial / f"{file}.npy", array)
        said = {"references": [image for image, _ in units], "left_out": left_out}
        (partial / "store.json").write_text(json.dumps(said))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:  # numpy's, of a full disk, says neither where nor why
        shutil.rmtree(partial, ignore_errors=True)
        raise ResourceError(f"{folder} cannot be written: {error}; is the disk full?") from error
    return Store.load(folder)


def examples_of(sample: Sample[Any], tokenizer: Tokenizer, root: Path) -> list[tuple[list[int], list[int]]]:
    """Every (prompt, answer) in ids that a sample teaches; none where its answer is not published.

    DataError for a sample that takes several prompts, or whose region cannot be written.
    """
    question = sample.question
    if sample.target is None:
        return []
    size = question.size
    if size is None and (question.region is not None or not isinstance(sample.target, Text)):
        with Image.open(root / question.image_name) as picture:
            size = Size(*picture.size)
    try:
        prompts = prompts_of(question, size=size)
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error
    found = []
    for value in values_of(question, sample.target, size or Size(1, 1)):
        text = write_answer(question, value, size or Size(1, 1))
        [prompt, *others] = prompts
        if others:
            raise DataError(f"sample {sample.id} is asked in {1 + len(others)} prompts; one can be taught")
        answer = tokenizer.backend.encode(text, add_special_tokens=False).ids
        found.append((tokenizer.encode(prompt), [BOS, *answer, EOS]))
    return found


def values_of(question: Question, target: Value, size: Size) -> list[Value]:
    """A target as values that can be written: captions each by itself, a question's most frequent answer.

    Objects are written from left to right without crowds, masks as the outlines of their pieces in few points, and
    polygons in few points too.
    """
    if isinstance(target, Text):
        if question.kind == "vqa":
            return [Text((most_said(target.texts),))]
        return [Text((text,)) for text in target.texts]
    if isinstance(target, Objects):
        alone = [i for i, crowd in enumerate(target.crowd) if not crowd]
        boxes = target.boxes
        alone.sort(key=lambda i: boxes[i])
        named = alone if question.kind != "propose" else []  # region proposals have no labels
        names = tuple(question.phrases[target.categories[i]].text for i in named)
        return [Boxes(tuple(boxes[i] for i in alone), names)] if alone else []
    if isinstance(target, Mask):
        target = Polygons(outline(masks.pixels(target)))
    if isinstance(target, Polygons):
        rings = tuple(simplify(ring, OUTLINE_POINTS) for ring in target.rings)
        kept = tuple(ring for ring in rings if len(ring) >= 3)
        return [Polygons(kept)] if kept else []
    return [target]


def most_said(answers: Sequence[str]) -> str:
    """What most people answered; of several, the first."""
    return Counter(answers).most_common(1)[0][0]
