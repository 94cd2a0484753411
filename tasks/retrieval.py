"""Image-text retrieval on Karpathy's splits of Flickr30k and COCO, in both directions.

A model embeds every image and every caption of a split, each by a question of its own.  A caption is ranked for an
image, and an image for a caption, by the similarity of their embeddings (`harness.metrics.retrieval`, which states the
rule of ties).  R@K is the share of queries with a right item among the first K; image-to-text is right if any of the
image's captions is.  The mean recall is the mean of the six.

The gallery is always all images or all captions of the run.  Intervals resample images as queries, each with its
captions, and leave the ranks as they are: a resampled gallery would hold an image twice.  With `--limit`, the gallery
has the drawn images only, so that recall is higher; no published figure stands beside such a run.

All captions of an image count: COCO's test split has 25,010, of which some papers use the first five of each image.
This is not the R@1 of phrase grounding (task `flickr30k`), whose splits are not Karpathy's either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from harness.core import (
    Answer,
    Corpus,
    Embedding,
    FileNeed,
    Metric,
    Question,
    Row,
    Sample,
    Score,
    Source,
    Task,
    Text,
)
from harness.data import embeddings, karpathy
from harness.errors import DataError
from harness.metrics.reduce import clusters_of, ratio
from harness.metrics.retrieval import MeanOf, ranks

FIRST = (1, 5, 10)  # K of R@K
DIRECTIONS = {"image-to-text": "image queries", "text-to-image": "text queries"}  # each with the count of its queries
POLICY = "ties count against the model; cosines of float16 vectors; the gallery is all images or captions of the run"


def _load(source: Source, folder: str, images: str) -> Iterator[Sample[Text]]:
    """A sample for each image, then one for each caption; the target of both is the image's captions.

    `source.annotations` is a file of Karpathy's, or a folder with one.  `images` is the folder of the images, and
    `folder` that of the annotations, relative to the root.
    """
    captioned = karpathy.read(karpathy.file_of(source, folder), source.split, source.origin(karpathy.ORIGIN))
    paths = [f"{folder}/{images or image.filepath}/{image.filename}" for image in captioned]
    targets = [Text(tuple(sentence.raw for sentence in image.sentences)) for image in captioned]
    for image, key, target in zip(captioned, paths, targets, strict=True):
        yield Sample(f"image/{image.id}", Question(key, None, "embed"), target, key)
    for image, key, target in zip(captioned, paths, targets, strict=True):
        for sentence in image.sentences:
            yield Sample(f"caption/{sentence.sentid}", Question("", None, "embed", text=sentence.raw), target, key)


def score(sample: Sample[Text], answer: Answer) -> Score:
    """A score without values, since `marks` ranks all embeddings together."""
    return Score({}, readable=isinstance(answer.value, Embedding))


def marks(rows: Sequence[Row[Text]]) -> list[dict[str, float]]:
    """For each query: whether it is right at 1, 5 and 10, its rank from 0, and both by direction.

    DataError where the embeddings differ in their number of dimensions.
    """
    images = clusters_of(rows)
    values = [row.answer.value if isinstance(row.answer.value, Embedding) else None for row in rows]
    of_images = [place for place, row in enumerate(rows) if row.sample.question.image]
    of_texts = [place for place, row in enumerate(rows) if not row.sample.question.image]
    scores: list[dict[str, float]] = [{} for _ in rows]
    for direction, asked, gallery in (("image-to-text", of_images, of_texts), ("text-to-image", of_texts, of_images)):
        try:
            found = ranks(
                [values[place] for place in asked],
                [values[place] for place in gallery],
                [images[place] for place in asked],
                [images[place] for place in gallery],
            )
        except ValueError as error:
            raise DataError(f"the answers cannot be compared: {error}; a model has one size of embedding") from error
        for place, rank in zip(asked, found.tolist(), strict=True):
            scores[place] = values_of(direction, rank, len(gallery))
    return scores


def values_of(direction: str, rank: int, gallery: int) -> dict[str, float]:
    """The scores of a query by key; the values of the other direction are 0, so that they add nothing to its sums.

    A rank of `gallery`, its size, is that of a query which finds nothing.
    """
    right = {first: float(rank < min(first, gallery)) for first in FIRST}
    values = {"right at 1": right[1], "right at 5": right[5], "right at 10": right[10], "rank": float(rank)}
    for each, queries in DIRECTIONS.items():
        values[queries] = float(each == direction)
        values |= {f"{each} right at {first}": right[first] * (each == direction) for first in FIRST}
    return values


_RECALLS: Mapping[str, Metric] = {
    f"{direction} R@{first}": ratio(f"{direction} right at {first}", queries)
    for direction, queries in DIRECTIONS.items()
    for first in FIRST
}
METRICS: Mapping[str, Metric] = {**_RECALLS, "mean recall": MeanOf(tuple(_RECALLS.values()))}


def _task(
    folder: str,
    title: str,
    load: Callable[[Source], Iterator[Sample[Text]]],
    need: FileNeed,
    seen: str,
    counts: Mapping[str, Mapping[str, int]],
) -> Task[Text]:
    return Task(
        name=f"{folder}_retrieval",
        version=1,
        about=f"{title}: find the captions of an image, and the image of a caption (Karpathy's splits)",
        kind="embed",
        splits=("test", "val"),
        load=load,
        score=score,
        corpus=Corpus(marks, counted=tuple(DIRECTIONS.values()), policy=POLICY),
        metrics=METRICS,
        headline="mean recall",
        predictions=embeddings.NPZ,
        files=(FileNeed(f"{folder}/dataset_{folder}.json", karpathy.ORIGIN), need),
        seen_in_training=seen,
        published=counts,
    )


TASKS = (
    _task(
        "flickr30k",
        "Flickr30k retrieval",
        partial(_load, folder="flickr30k", images="flickr30k-images"),
        FileNeed("flickr30k/flickr30k-images", "https://shannon.cs.illinois.edu/DenotationGraph (on request)"),
        "Karpathy's splits are not those of Flickr30k Entities: some of his test images are in its training split, on "
        "which grounding models were trained.",
        {"test": {"images": 1000, "captions": 5000}, "val": {"images": 1014, "captions": 5070}},
    ),
    _task(
        "coco",
        "COCO retrieval",
        partial(_load, folder="coco", images=""),
        FileNeed("coco/val2014", "COCO's 2014 validation images, https://cocodataset.org (val2014.zip)"),
        "The images are in COCO val2014, most of which is in train2017: detectors were trained on these "
        "images, without their captions.",
        {"test": {"images": 5000, "captions": 25010}, "val": {"images": 5000, "captions": 25010}},
    ),
)
