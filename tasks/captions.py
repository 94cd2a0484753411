"""COCO (Karpathy's splits), nocaps and TextCaps: an image in, a sentence out.

Marked as COCO's caption evaluation marks (pycocoevalcap): captions through the Penn Treebank tokeniser, CIDEr-D with
the document frequencies of all references of the split, corpus BLEU, ROUGE-L.  Every image of the split counts; an
answer that cannot be read is an empty caption.  Papers' CIDEr is this, times 100.  With one image it is not defined:
no number is given.

METEOR, which its own program counts, is a variant of these tasks and needs Java; SPICE is another and needs Stanford's
models as well.  Neither changes the other numbers.

nocaps reports its domains: CIDEr is computed once over all 4,500 images and averaged within a domain, which is how the
published rows add up.  A run's intervals are by image, with the document frequencies of the full set; the difference of
two runs is told with those of each resample.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import (
    Answer,
    Biased,
    Corpus,
    FileNeed,
    Fixed,
    Kind,
    Metric,
    PredictionFormat,
    Question,
    Row,
    Sample,
    Score,
    Source,
    Statistic,
    Task,
    Text,
    Variant,
    Weights,
)
from harness.data import captions as files
from harness.errors import ResourceError
from harness.metrics import captions
from harness.metrics.reduce import PERCENT, PairedMetric, clusters_of, mean, mean_where_defined

COCO_ORIGIN = "https://cocodataset.org (annotations_trainval2014.zip)"
KARPATHY_ORIGIN = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
BLIP_ORIGIN = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
NOCAPS_ORIGIN = "https://nocaps.org"
TEXTCAPS_ORIGIN = "https://textvqa.org/textcaps"
KIND: Kind = "caption"
COCO_TRAINING = {"train": "train2014", "restval": "val2014"}  # where Karpathy's training images were published
log = logging.getLogger(__name__)


# ---------------------------------------------------------------------------- loading


def load_coco(source: Source) -> Iterator[Sample[Text]]:
    """Karpathy's split of COCO 2014: from dataset_coco.json, or the split's own COCO-style file (BLIP's form).

    BLIP's file of the training split is of another form, and is not read.  `source.annotations` is a file in COCO's
    caption format that holds the split, or a folder with the files below ROOT.
    """
    given, year = source.annotations, COCO_TRAINING.get(source.split, "val2014")
    folder = given if given is not None and given.is_dir() else source.root / "coco"
    alone = given if given is not None and given.is_file() else folder / f"coco_karpathy_{source.split}_gt.json"
    listed, captioned = folder / "dataset_coco.json", folder / f"annotations/captions_{year}.json"
    there = listed.is_file() and (captioned.is_file() or not alone.is_file())
    if given is not alone and (there or source.split in COCO_TRAINING):
        among = files.karpathy(listed, source.split, KARPATHY_ORIGIN)
        found = files.read(captioned, COCO_ORIGIN, among)
    else:
        found = files.read(alone, BLIP_ORIGIN)
    for image in found:
        name = image.file_name or f"COCO_{year}_{int(image.id):012d}.jpg"
        yield _sample(image, f"coco/{year}/{name}")


def load_nocaps(source: Source) -> Iterator[Sample[Text]]:
    """nocaps val, grouped by domain."""
    path = source.annotations or source.root / "nocaps/nocaps_val_4500_captions.json"
    for image in files.read(path, NOCAPS_ORIGIN):
        yield _sample(image, f"nocaps/val/{image.file_name}", (image.domain,) if image.domain else ())


def load_textcaps(source: Source) -> Iterator[Sample[Text]]:
    """TextCaps; its images are TextVQA's, under train_images for either split."""
    path = source.annotations or source.root / f"textcaps/TextCaps_0.1_{source.split}.json"
    for image in files.read_textcaps(path, TEXTCAPS_ORIGIN):
        yield _sample(image, f"textvqa/train_images/{image.file_name}")


def _sample(image: files.Captioned, where: str, groups: tuple[str, ...] = ()) -> Sample[Text]:
    return Sample(image.id, Question(where, image.size, KIND), Text(image.references), where, groups)


# ---------------------------------------------------------------------------- marking


def score(sample: Sample[Text], answer: Answer) -> Score:
    """Nothing by itself: see `marks`."""
    return Score({}, readable=isinstance(answer.value, Text))


def said(row: Row[Text]) -> str:
    """The caption that is marked."""
    return row.answer.value.texts[0] if isinstance(row.answer.value, Text) else ""


def wanted(row: Row[Text]) -> tuple[str, ...]:
    """An image's reference captions."""
    if row.sample.target is None:
        raise ValueError(f"sample {row.sample.id} has no reference captions")
    return row.sample.target.texts


def marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """`cider` (NaN where there is one image only), `rouge_l`, and what BLEU is summed from, for each caption."""
    return _numbers(captions.mark([said(row) for row in rows], [wanted(row) for row in rows]))


def official_marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """The same from pycocoevalcap's own pipeline, which needs Java.  ResourceError where there is none."""
    from harness.metrics import official_captions

    return _numbers(official_captions.mark([said(row) for row in rows], [wanted(row) for row in rows]))


def with_meteor(task: Task[Text], *, needed: bool = True) -> Task[Text]:
    """With METEOR as well; its program begins to load at once.

    ResourceError where there is no Java, or the program stops; where it is not `needed`, that is a warning.
    """
    from harness.metrics import meteor

    program = meteor.kept()
    try:
        program.start()
    except ResourceError as error:
        if needed:
            raise
        log.warning("no METEOR: %s", error)
        return task

    def marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        try:
            counts = program.counts([said(row) for row in rows], [wanted(row) for row in rows])
        except ResourceError as error:
            if needed:
                raise
            log.warning("no METEOR: %s", error)
            return [{} for _ in rows]
        each = meteor.score(counts).tolist()
        parts = [dict(zip(METEOR_COUNTS, row, strict=True)) for row in counts.tolist()]
        return [{"meteor": one, **more} for one, more in zip(each, parts, strict=True)]

    return _also(task, marks, METEOR)


def with_spice(task: Task[Text]) -> Task[Text]:
    """With SPICE as well.  ResourceError where there is no Java, or its models are not where pycocoevalcap has them."""
    from harness.metrics import official_captions

    official_captions.require_spice()

    def marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        found = official_captions.spice([said(row) for row in rows], [wanted(row) for row in rows])
        return [{"spice": one} for one in found.tolist()]

    return _also(task, marks, SPICE)


def _also(
    task: Task[Text],
    marks: Callable[[Sequence[Row[Text]]], Sequence[Mapping[str, float]]],
    metrics: Mapping[str, Metric],
) -> Task[Text]:
    before = task.corpus

    def both(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
        first = before.scores(rows) if before is not None else [{} for _ in rows]
        return [{**one, **other} for one, other in zip(first, marks(rows), strict=True)]

    return replace(task, corpus=Corpus(both), metrics={**task.metrics, **metrics})


def _numbers(found: captions.CaptionScores) -> list[dict[str, float]]:
    numbers = []
    for place in range(len(found.cider)):
        bleu = {f"correct {n + 1}": float(found.correct[place, n]) for n in range(4)}
        bleu |= {f"guessed {n + 1}": float(found.guessed[place, n]) for n in range(4)}
        lengths = {"length": float(found.length[place]), "reference length": float(found.reference_length[place])}
        first = {"cider": float(found.cider[place]), "rouge_l": float(found.rouge_l[place])}
        numbers.append({**first, **bleu, **lengths})
    return numbers


@dataclass(frozen=True, slots=True)
class Bleu:
    """Corpus BLEU up to n-grams of a length, from sums."""

    length: int

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        sums = _sums(rows, BLEU_COUNTS)

        def statistic(weights: Weights) -> float:
            total = sums @ weights
            found = captions.corpus_bleu(total[:4], total[4:8], float(total[8]), float(total[9]))
            return PERCENT * found[self.length - 1]

        return statistic


@dataclass(frozen=True, slots=True)
class Meteor:
    """METEOR of the corpus, from sums; none where it was not counted."""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        from harness.metrics import meteor

        if METEOR_COUNTS[0] not in rows[0].score.values:
            return Fixed(math.nan)
        sums = _sums(rows, METEOR_COUNTS)
        return lambda weights: PERCENT * float(meteor.score(sums @ weights))


@dataclass(frozen=True, slots=True)
class Cider:
    """CIDEr with the document frequencies of each weighting: those of the set in which the images stand so often.

    An image that is drawn twice makes its own words common, so resamples are lower than the number; over all of a
    split's images, since a part of them has other frequencies.
    """

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        found = captions.copies([said(row) for row in rows], [wanted(row) for row in rows])
        clusters = np.array(clusters_of(rows))
        return Biased(lambda weights: PERCENT * found.cider(weights[clusters]))


BLEU_COUNTS = (*(f"{what} {n}" for what in ("correct", "guessed") for n in range(1, 5)), "length", "reference length")
METEOR_COUNTS = tuple(f"meteor {place}" for place in range(23))


def _sums(rows: Sequence[Row[Any]], keys: Sequence[str]) -> NDArray[np.float64]:
    """(keys, clusters): the sum of each of these scores over each cluster."""
    table = np.array([[row.score.values[key] for key in keys] for row in rows])
    clusters = clusters_of(rows)
    return np.stack([np.bincount(clusters, column) for column in table.T])


CIDER = mean_where_defined("cider")  # with the document frequencies of the whole split
METEOR: Mapping[str, Metric] = {"METEOR": Meteor()}
SPICE: Mapping[str, Metric] = {"SPICE": mean_where_defined("spice")}
METRICS: Mapping[str, Metric] = {
    "CIDEr": PairedMetric(CIDER, Cider()),
    **{f"BLEU-{n}": Bleu(n) for n in range(1, 5)},
    "ROUGE-L": mean("rouge_l"),
}
VARIANTS: Mapping[str, Variant[Text]] = {
    "official": Variant(lambda task: replace(task, corpus=Corpus(official_marks))),
    "meteor": Variant(with_meteor, METEOR),
    "meteor if it runs": Variant(partial(with_meteor, needed=False)),
    "spice": Variant(with_spice, SPICE),
}


# ---------------------------------------------------------------------------- tasks

_COCO_FILES = (
    FileNeed("coco/dataset_coco.json", KARPATHY_ORIGIN, ("test",), instead="coco/coco_karpathy_test_gt.json"),
    FileNeed("coco/dataset_coco.json", KARPATHY_ORIGIN, ("val",), instead="coco/coco_karpathy_val_gt.json"),
    FileNeed("coco/dataset_coco.json", KARPATHY_ORIGIN, ("train", "restval")),
    FileNeed("coco/annotations/captions_val2014.json", COCO_ORIGIN, ("test",), "coco/coco_karpathy_test_gt.json"),
    FileNeed("coco/annotations/captions_val2014.json", COCO_ORIGIN, ("val",), "coco/coco_karpathy_val_gt.json"),
    FileNeed("coco/annotations/captions_val2014.json", COCO_ORIGIN, ("restval",)),
    FileNeed("coco/annotations/captions_train2014.json", COCO_ORIGIN, ("train",)),
    FileNeed(
        "coco/val2014",
        "COCO's 2014 validation images, https://cocodataset.org (val2014.zip)",
        ("test", "val", "restval"),
    ),
    FileNeed("coco/train2014", "COCO's 2014 training images, https://cocodataset.org (train2014.zip)", ("train",)),
)


def _task(
    name: str,
    about: str,
    splits: tuple[str, ...],
    load: Callable[[Source], Iterator[Sample[Text]]],
    predictions: PredictionFormat,
    files_: tuple[FileNeed, ...],
    seen: str,
    published: Mapping[str, Mapping[str, int]],
    by_group: Mapping[str, Metric] | None = None,
    *,
    train_splits: tuple[str, ...] = (),
) -> Task[Text]:
    return Task(
        name=name,
        version=1,
        about=about,
        splits=splits,
        train_splits=train_splits,
        load=load,
        score=score,
        corpus=Corpus(marks),
        metrics=METRICS,
        headline="CIDEr",
        predictions=predictions,
        files=files_,
        seen_in_training=seen,
        by_group=by_group or {},
        variants=VARIANTS,
        published=published,
    )


TASKS: tuple[Task[Any], ...] = (
    _task(
        "coco_caption",
        "COCO captions: a sentence about an image (Karpathy's splits)",
        ("test", "val"),
        load_coco,
        files.NUMBERED,
        _COCO_FILES,
        "The images are in COCO val2014.  The zero-shot checkpoints of Florence-2 were trained on none of COCO's "
        "captions; the fine-tuned ones on those of Karpathy's training split, and for detection on COCO train2017, "
        "which holds most images of val2014: they have seen most of these images, though not their captions.",
        {
            "test": {"images": 5000, "references": 25010},
            "val": {"images": 5000, "references": 25010},
            "train": {"images": 82783, "references": 414113},
            "restval": {"images": 30504, "references": 152634},
        },
        train_splits=tuple(COCO_TRAINING),
    ),
    _task(
        "nocaps",
        "nocaps: a sentence about an image of things that COCO's captions do not name",
        ("val",),
        load_nocaps,
        files.NUMBERED,
        (
            FileNeed("nocaps/nocaps_val_4500_captions.json", NOCAPS_ORIGIN),
            FileNeed("nocaps/val", "Open Images validation images, https://nocaps.org/download"),
        ),
        "The images are Open Images validation images.  FLD-5B's images include Open Images' training set.",
        {"val": {"images": 4500, "references": 45000}},
        {"CIDEr": CIDER},
    ),
    _task(
        "textcaps",
        "TextCaps: a sentence about an image and what is written in it",
        ("val",),
        load_textcaps,
        files.NAMED,
        (
            FileNeed("textcaps/TextCaps_0.1_val.json", TEXTCAPS_ORIGIN, ("val",)),
            FileNeed("textcaps/TextCaps_0.1_train.json", TEXTCAPS_ORIGIN, ("train",)),
            FileNeed("textvqa/train_images", "https://textvqa.org/dataset (train_val_images.zip)"),
        ),
        "The images are Open Images training images, as are many of FLD-5B's; the captions are not in it.  The "
        "fine-tuned checkpoints were tuned on TextCaps' training split.",
        {"val": {"images": 3166, "references": 15830}, "train": {"images": 21953, "references": 109765}},
        train_splits=("train",),
    ),
)
