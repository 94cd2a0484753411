"""COCO and Flickr30k captions (Karpathy's splits), nocaps and TextCaps: a model describes an image in a sentence.

Captions are scored as in COCO's caption evaluation (pycocoevalcap).  The Penn Treebank tokeniser splits them into
words. CIDEr-D uses the document frequencies of all references of the split; BLEU is that of the corpus; ROUGE-L is a
mean. Every image of the split counts, and an unparsable answer is an empty caption.  CIDEr is multiplied by 100, as in
papers. CIDEr is undefined for a single image and is left out.

METEOR is a variant of these tasks and needs Java, since the official program counts the matches.  SPICE is another
variant and needs Stanford's models as well.  Neither changes the other metrics.

nocaps reports its domains.  CIDEr is computed once over all 4,500 images and averaged within each domain, as in the
published tables.  The interval of one run resamples images with the document frequencies of the full set.  The
difference of two runs uses those of each resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from harness.core import Corpus, FileNeed, Kind, Metric, PredictionFormat, Question, Sample, Source, Task, Text
from harness.data import captions as files
from harness.data import karpathy
from harness.errors import DataError
from harness.metrics.caption_scores import CIDER, METRICS, VARIANTS, marks, score

COCO_ORIGIN = "https://cocodataset.org (annotations_trainval2014.zip)"
KARPATHY_ORIGIN = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip"
BLIP_ORIGIN = "https://storage.googleapis.com/sfr-vision-language-research/datasets"
NOCAPS_ORIGIN = "https://nocaps.org"
TEXTCAPS_ORIGIN = "https://textvqa.org/textcaps"
FLICKR30K_ORIGIN = "https://shannon.cs.illinois.edu/DenotationGraph (on request)"
KIND: Kind = "caption"
COCO_TRAINING = {"train": "train2014", "restval": "val2014"}  # Karpathy's training split to COCO's folder of images


# ---------------------------------------------------------------------------- loading


def load_coco(source: Source) -> Iterator[Sample[Text]]:
    """One of Karpathy's splits of COCO 2014.

    The split is read from dataset_coco.json and COCO's captions, or from one file of the split in COCO's caption
    format, as BLIP publishes it.  BLIP's file of the training split has another format and is not read.
    `source.annotations` is such a file, or a folder with the files below ROOT/coco.
    """
    given, year = source.annotations, COCO_TRAINING.get(source.split, "val2014")
    folder = given if given is not None and given.is_dir() else source.root / "coco"
    single = given if given is not None and given.is_file() else folder / f"coco_karpathy_{source.split}_gt.json"
    split_list, captions = folder / "dataset_coco.json", folder / f"annotations/captions_{year}.json"
    complete = split_list.is_file() and (captions.is_file() or not single.is_file())
    if given is not single and (complete or source.split in COCO_TRAINING):
        ids = files.karpathy(split_list, source.split, source.origin(KARPATHY_ORIGIN))
        images = files.read(captions, source.origin(COCO_ORIGIN), ids, source.reading)
    else:
        images = files.read(single, source.origin(BLIP_ORIGIN), reading=source.reading)
    for image in images:
        if not image.file_name and not image.id.isdecimal():
            raise DataError(
                f"{source.annotations or folder}: image {image.id!r} has no file_name, and its id is no number"
            )
        name = image.file_name or f"COCO_{year}_{int(image.id):012d}.jpg"
        yield _sample(image, f"coco/{year}/{name}")


def load_flickr30k(source: Source) -> Iterator[Sample[Text]]:
    """One of Karpathy's splits of Flickr30k.  `source.annotations` is his file, or a folder with it."""
    path = karpathy.file_of(source, "flickr30k")
    for image in karpathy.read(path, source.split, source.origin(KARPATHY_ORIGIN)):
        references = tuple(sentence.raw for sentence in image.sentences)
        captioned = files.Captioned(image.id, image.filename, None, references)
        yield _sample(captioned, f"flickr30k/flickr30k-images/{image.filename}")


def load_nocaps(source: Source) -> Iterator[Sample[Text]]:
    """nocaps val, grouped by domain."""
    path = source.annotations or source.root / "nocaps/nocaps_val_4500_captions.json"
    for image in files.read(path, source.origin(NOCAPS_ORIGIN), reading=source.reading):
        yield _sample(image, f"nocaps/val/{image.file_name}", (image.domain,) if image.domain else ())


def load_textcaps(source: Source) -> Iterator[Sample[Text]]:
    """TextCaps.  Its images are TextVQA's; those of both splits are in the folder train_images."""
    path = source.annotations or source.root / f"textcaps/TextCaps_0.1_{source.split}.json"
    for image in files.read_textcaps(path, source.origin(TEXTCAPS_ORIGIN)):
        yield _sample(image, f"textvqa/train_images/{image.file_name}")


def _sample(image: files.Captioned, key: str, groups: tuple[str, ...] = ()) -> Sample[Text]:
    """A sample of an image with its references; `key` is the image's path below the root."""
    return Sample(image.id, Question(key, image.size, KIND), Text(image.references), key, groups)


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
        kind=KIND,
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
        "COCO captions: describe an image in a sentence (Karpathy's splits)",
        ("test", "val"),
        load_coco,
        files.NUMBERED,
        _COCO_FILES,
        "The images are in COCO val2014.  Florence-2's zero-shot checkpoints were not trained on COCO's captions.  The "
        "fine-tuned ones were trained on the captions of Karpathy's training split, and for detection on COCO "
        "train2017, which contains most images of val2014.  So they have seen most of these images without their "
        "captions.",
        {
            "test": {"images": 5000, "references": 25010},
            "val": {"images": 5000, "references": 25010},
            "train": {"images": 82783, "references": 414113},
            "restval": {"images": 30504, "references": 152634},
        },
        train_splits=tuple(COCO_TRAINING),
    ),
    _task(
        "flickr30k_caption",
        "Flickr30k captions: describe an image in a sentence (Karpathy's splits)",
        ("test", "val"),
        load_flickr30k,
        files.NUMBERED,
        (
            FileNeed("flickr30k/dataset_flickr30k.json", KARPATHY_ORIGIN),
            FileNeed("flickr30k/flickr30k-images", FLICKR30K_ORIGIN),
        ),
        "Florence-2's zero-shot checkpoints were not trained on Flickr30k.  The fine-tuned ones were trained on the "
        "training split of Flickr30k Entities, to ground the phrases of captions.  Karpathy's splits are others: some "
        "of his test images are in that training split.",
        {"test": {"images": 1000, "references": 5000}, "val": {"images": 1014, "references": 5070}},
    ),
    _task(
        "nocaps",
        "nocaps: describe an image, often of objects that COCO's captions do not name",
        ("val",),
        load_nocaps,
        files.NUMBERED,
        (
            FileNeed("nocaps/nocaps_val_4500_captions.json", NOCAPS_ORIGIN),
            FileNeed("nocaps/val", "Open Images validation images, https://nocaps.org/download"),
        ),
        "The images are in Open Images' validation set.  FLD-5B, Florence-2's training data, includes images of Open "
        "Images' training set.",
        {"val": {"images": 4500, "references": 45000}},
        {"CIDEr": CIDER},
    ),
    _task(
        "textcaps",
        "TextCaps: describe an image, including the text in it",
        ("val",),
        load_textcaps,
        files.NAMED,
        (
            FileNeed("textcaps/TextCaps_0.1_val.json", TEXTCAPS_ORIGIN, ("val",)),
            FileNeed("textcaps/TextCaps_0.1_train.json", TEXTCAPS_ORIGIN, ("train",)),
            FileNeed("textvqa/train_images", "https://textvqa.org/dataset (train_val_images.zip)"),
        ),
        "The images are in Open Images' training set, which is part of FLD-5B, Florence-2's training data; the "
        "captions are not.  The fine-tuned checkpoints were trained on TextCaps' training split.",
        {"val": {"images": 3166, "references": 15830}, "train": {"images": 21953, "references": 109765}},
        train_splits=("train",),
    ),
)
