"""Stores: the training samples of a task as ids in flat files, written once and then mapped into memory.

A sample is a question with one answer or several reference answers.  Each epoch uses the next of the answers.

The samples of an image are dealt in turn into units of at most `questions` samples.  Neighbours in the annotation file,
which often describe the same object, therefore go to different units.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import images, progress
from harness.core import Box, Boxes, Mask, Objects, Phrase, Polygons, Question, Sample, Size, Text, Value
from harness.errors import DataError, ResourceError
from harness.florence2.prompts import prompts_of
from harness.florence2.reading import write_answer
from harness.florence2.tokenizer import BOS, EOS, Tokenizer
from harness.geometry import masks
from harness.geometry.outlines import outline, simplify
from harness.training.lessons import Ids

FORMAT_VERSION = 2  # raise it when the files change, or the text of an answer
OUTLINE_POINTS = 16  # the most points in a ring of an answer
ARRAYS = ("units", "samples", "bounds", "prompts", "answers")
Examples = list[tuple[list[int], list[int]]]  # (prompt, answer) ids, one pair for each reference answer


@dataclass(frozen=True, slots=True)
class Store:
    """The memory-mapped files of a store."""

    references: Sequence[str]  # the image of each unit
    first_sample: NDArray[np.int64]  # (units + 1,)
    first_answer: NDArray[np.int64]  # (samples + 1,)
    bounds: NDArray[np.int64]  # (answers + 1, 2): the start of each prompt and of each answer
    prompts: Ids
    answers: Ids
    left_out: int  # samples without a usable answer
    skipped: Mapping[str, str]  # images whose samples are left out because their size cannot be read, with the reason
    folder: Path

    def __reduce__(self) -> tuple[Callable[[Path], Store], tuple[Path]]:
        """Pickles the folder alone: the receiving process maps the files again."""
        return Store.load, (self.folder,)

    @classmethod
    def load(cls, folder: Path) -> Store:
        """Maps the files that `write_store` wrote."""
        description = json.loads((folder / "store.json").read_text())
        units, samples, bounds, prompts, answers = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ARRAYS)
        references, left_out, skipped = (description.get(key) for key in ("references", "left_out", "skipped"))
        return cls(references, units, samples, bounds, prompts, answers, left_out, skipped or {}, folder)

    @property
    def units(self) -> int:
        return len(self.references)

    @property
    def samples(self) -> int:
        return len(self.first_answer) - 1

    def unit(self, unit: int, epoch: int) -> tuple[str, list[tuple[Ids, Ids]]]:
        """The image of a unit, and the (prompt, answer) ids of each sample, with the answer of this epoch."""
        examples = []
        for sample in range(int(self.first_sample[unit]), int(self.first_sample[unit + 1])):
            low, high = int(self.first_answer[sample]), int(self.first_answer[sample + 1])
            chosen = low + (epoch + sample) % (high - low)
            (prompt, answer), (prompt_end, answer_end) = self.bounds[chosen], self.bounds[chosen + 1]
            examples.append((self.prompts[prompt:prompt_end], self.answers[answer:answer_end]))
        return self.references[unit], examples


def open_store(folder: Path) -> Store | None:
    """The store in `folder`; None for a missing or damaged store."""
    try:
        store = Store.load(folder)
        complete = (
            len(store.references) + 1 == len(store.first_sample)
            and store.first_sample[-1] + 1 == len(store.first_answer)
            and store.first_answer[-1] + 1 == len(store.bounds)
            and store.bounds[-1].tolist() == [len(store.prompts), len(store.answers)]
            and all(isinstance(text, str) for text in (*store.references, *store.skipped, *store.skipped.values()))
        )
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return None
    return store if complete and store.references else None


def write_store(
    folder: Path,
    samples: Iterable[Sample[Any]],
    tokenizer: Tokenizer,
    root: Path,
    *,
    questions: int,
    limits: tuple[int, int],
    name: str,
    skip: bool = False,
) -> Store:
    """Writes the samples as Florence-2 is asked and answers; see `write_examples`."""
    return write_examples(
        folder,
        samples,
        lambda sample: examples_of(sample, tokenizer, root),
        ids=tokenizer.size,
        questions=questions,
        limits=limits,
        name=name,
        skip=skip,
    )


def write_examples(
    folder: Path,
    samples: Iterable[Sample[Any]],
    examples: Callable[[Sample[Any]], Examples],
    *,
    ids: int,
    questions: int,
    limits: tuple[int, int],
    name: str,
    skip: bool = False,
) -> Store:
    """Writes the tokenised samples to `folder`; the new store.

    `examples` returns the examples of a sample, and `ids` is the number of ids that can be in them.

    `limits` are the most tokens in a prompt and in an answer; longer ones are left out.  `questions` is the most
    samples in a unit.  With `skip`, an image whose size has to be read and cannot be is left out and kept in `skipped`.

    DataError for such an image without `skip`, and if no sample is left; ResourceError if writing fails.
    """
    by_image: dict[str, list[Examples]] = {}
    left_out = 0
    skipped: dict[str, str] = {}
    for sample in progress.over(samples, f"tokenising {name}", unit="samples"):
        if sample.question.image_name in skipped:
            continue
        try:
            pairs = examples(sample)
        except images.BadImage as error:
            if not skip:
                raise
            skipped[sample.question.image_name] = str(error)
            continue
        short = [pair for pair in pairs if len(pair[0]) <= limits[0] and len(pair[1]) <= limits[1]]
        if short:
            by_image.setdefault(sample.question.image_name, []).append(short)
        else:
            left_out += 1
    units = []
    for image, rows in by_image.items():
        count = -(-len(rows) // questions)
        units += [(image, rows[place::count]) for place in range(count)]
    if not units and skipped:
        raise DataError(f"{name}: no training image can be read; the last: {list(skipped.values())[-1]}")
    if not units:
        raise DataError(
            f"{name}: the training split has no sample to train on ({left_out} without an answer, or too long)"
        )
    flat = [answers for _, rows in units for answers in rows]
    pairs = [pair for answers in flat for pair in answers]
    dtype = np.int32 if ids > np.iinfo(np.int16).max else np.int16
    arrays = (
        np.cumsum([0, *(len(rows) for _, rows in units)]),
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
        description = {"references": [image for image, _ in units], "left_out": left_out, "skipped": skipped}
        (partial / "store.json").write_text(json.dumps(description))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except OSError as error:  # for a full disk, numpy's message has neither the path nor the reason
        shutil.rmtree(partial, ignore_errors=True)
        raise ResourceError(f"{folder} cannot be written: {error}; is the disk full?") from error
    return Store.load(folder)


def with_finding(sample: Sample[Any]) -> Iterator[Sample[Any]]:
    """A sample of a detection task, and a `find` question for each category of its objects, crowd regions aside."""
    yield sample
    question, target = sample.question, sample.target
    if not isinstance(target, Objects):
        return
    boxes: dict[int, list[Box]] = {}
    for category, box, crowd in zip(target.categories, target.boxes, target.crowd, strict=True):
        if not crowd:
            boxes.setdefault(category, []).append(box)
    for category, of_category in boxes.items():
        name = question.phrases[category].text
        asked = Question(question.image, question.size, "find", phrases=(Phrase(name),))
        value = Boxes(tuple(sorted(of_category)), (name,) * len(of_category))
        yield Sample(f"{sample.id} {name}", asked, value, sample.cluster)


def examples_of(sample: Sample[Any], tokenizer: Tokenizer, root: Path) -> Examples:
    """The (prompt, answer) ids of a sample, one pair per reference answer; empty without a published answer.

    DataError for a sample that needs several prompts, and for a region outside the image.
    """
    question = sample.question
    if sample.target is None:
        return []
    size = question.size
    if size is None and (question.region is not None or not isinstance(sample.target, Text)):
        size = images.size_of(root, question.image_name)
    try:
        prompts = prompts_of(question, size=size)
    except DataError as error:
        raise DataError(f"sample {sample.id}: {error}") from error
    pairs = []
    for value in values_of(question, sample.target, size or Size(1, 1)):
        text = write_answer(question, value, size or Size(1, 1))
        if len(prompts) > 1:
            raise DataError(f"sample {sample.id} needs {len(prompts)} prompts; training takes samples with one prompt")
        [prompt] = prompts
        answer = tokenizer.backend.encode(text, add_special_tokens=False).ids
        pairs.append((tokenizer.encode(prompt), [BOS, *answer, EOS]))
    return pairs


def values_of(question: Question, target: Value, size: Size) -> list[Value]:
    """A target as the values that the model learns to write, one per reference answer.

    - Text: each caption, but only the most frequent answer to a visual question.
    - Objects: boxes from left to right, without crowd regions; empty if there are no others.
    - Masks and polygons: outlines of at most OUTLINE_POINTS points per ring; empty if no ring is left.
    """
    if isinstance(target, Text):
        if question.kind == "vqa":
            return [Text((most_frequent(target.texts),))]
        return [Text((text,)) for text in target.texts]
    if isinstance(target, Objects):
        single = [i for i, crowd in enumerate(target.crowd) if not crowd]
        boxes = target.boxes
        single.sort(key=lambda i: boxes[i])
        labelled = single if question.kind != "propose" else []  # region proposals have no labels
        names = tuple(question.phrases[target.categories[i]].text for i in labelled)
        return [Boxes(tuple(boxes[i] for i in single), names)] if single else []
    if isinstance(target, Mask):
        target = Polygons(outline(masks.pixels(target)))
    if isinstance(target, Polygons):
        simple = (simplify(ring, OUTLINE_POINTS) for ring in target.rings)
        rings = tuple(ring for ring in simple if len(ring) >= 3)
        return [Polygons(rings)] if rings else []
    return [target]


def most_frequent(answers: Sequence[str]) -> str:
    """The most frequent answer; among equally frequent answers, the one given first."""
    return Counter(answers).most_common(1)[0][0]
