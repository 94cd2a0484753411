"""The words: Question, Sample, Answer, Score, Estimate, Task, Model, RunSpec, Run.

Coordinates are pixels of the original image, x to the right, y down, floats; a box is (left, top, right,
bottom) with right and bottom exclusive edges, as in `x + width`.  Nothing here touches a file, a device or
the network, and nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

# ---------------------------------------------------------------------------- what is asked and answered

Kind = Literal[
    "caption",  # in a sentence
    "detailed_caption",
    "more_detailed_caption",
    "detect",  # whatever is there
    "find",  # the things of each of some categories: the question's phrases
    "ground",  # the boxes of each phrase of a text
    "refer",  # the one box of an expression
    "segment",  # the one outline of an expression
    "vqa",
    "ocr",  # the text, as text
    "ocr_regions",  # the text, each piece with its quadrilateral
    "name",  # the category of a region
    "describe",  # a region, in words
    "outline",  # the object of a region
    "read",  # the text of a region
    "regions",  # whatever is there, each described
    "propose",  # where anything is, unnamed
]
"""What a question carries besides its image, and the value of its answer, for each kind:

    caption                 nothing                            Text, a sentence
    detailed_caption        nothing                            Text, a few sentences
    more_detailed_caption   nothing                            Text, a paragraph
    detect                  phrases: all categories there are  Boxes, labelled (a target: or Objects)
    find                    phrases: the categories to find    Boxes, labelled (a target: or Objects)
    ground                  text, and phrases: spans of it     Grounded, the boxes of each phrase
    refer                   text: an expression                Boxes, of which the first counts
    segment                 text: an expression                Polygons of one object (a target: or a Mask)
    vqa                     text: a question                   Text
    ocr                     nothing                            Text
    ocr_regions             nothing                            Quads, labelled with their text
    name                    region                             Text, a category
    describe                region                             Text, a description
    outline                 region                             Polygons of one object (a target: or a Mask)
    read                    region                             Text
    regions                 nothing                            Boxes, labelled with descriptions
    propose                 nothing                            Boxes, without labels
"""
Ticket = int
Box = tuple[float, float, float, float]  # left, top, right, bottom
Xywh = tuple[float, float, float, float]  # COCO's: left, top, width, height
Point = tuple[float, float]
Ring = tuple[Point, ...]  # a closed outline; the last point joins the first
Quad = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True, eq=False)
class GivenImage:
    """An image that a caller hands over, in place of a name under a data root; `load` gives it as 8-bit RGB."""

    name: str  # for messages
    load: Callable[[], Any]


ImageRef = str | GivenImage  # a key relative to the data root, or an image itself; resolved by images.py


class Size(NamedTuple):
    """Of an image, in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Text:
    """One or more strings: an answer, or the references it is held against."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Labelled boxes in the order the model wrote them.

    `region_scores` are exp of the mean log-probability of a box's four location tokens, `label_scores` the
    same over its label's tokens; both are None where the model gives no probabilities (or this is a target).
    `xywh` are the same boxes as a result file of COCO's has them, to the last bit, where they come from one.
    """

    boxes: tuple[Box, ...]
    labels: tuple[str, ...] = ()
    region_scores: tuple[float, ...] | None = None
    label_scores: tuple[float, ...] | None = None
    xywh: tuple[Xywh, ...] | None = None


@dataclass(frozen=True, slots=True)
class Objects:
    """The annotated objects of an image, as detection is marked by them: a target, never an answer.

    `xywh` are as the annotations have them, since an IoU at a threshold would not survive adding.  `categories` are
    places in the question's phrases, and `ids` the annotation file's id of every phrase; `areas` are those of the
    segmentations, in pixels; a crowd stands for many objects and is never a miss.
    """

    xywh: tuple[Xywh, ...]
    categories: tuple[int, ...]
    areas: tuple[float, ...]
    crowd: tuple[bool, ...]
    ids: tuple[int, ...]

    @property
    def boxes(self) -> tuple[Box, ...]:
        """For drawing, and for answering with."""
        return tuple((x, y, x + width, y + height) for x, y, width, height in self.xywh)


@dataclass(frozen=True, slots=True)
class Grounded:
    """The boxes of each phrase of a question, in the order of its phrases; a phrase's best box first.

    `types` are what each phrase of a target is about: ("people",), ("bodyparts", "people").
    """

    boxes: tuple[tuple[Box, ...], ...]
    types: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Quads:
    """Labelled quadrilaterals, as OCR with regions writes them."""

    quads: tuple[Quad, ...]
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Polygons:
    """The outlines of one object, a ring for each of its parts."""

    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """One object as COCO's compressed run-length code: column-major counts over `size`."""

    size: Size
    counts: bytes


Value = Text | Boxes | Objects | Grounded | Quads | Polygons | Mask
V = TypeVar("V", bound=Value)
V_co = TypeVar("V_co", bound=Value, covariant=True)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A span of `Question.text` to ground (characters, end exclusive), or a category name to find.

    `said` is how else a category may be put to a model, in more words.
    """

    text: str
    start: int = 0
    end: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """All that a model may see of a sample.  The target is not here, so it cannot leak.

    `region` is what a kind about a region is about, in pixels of the original image; other kinds ignore it.  It is
    passed by keyword.
    """

    image: ImageRef
    size: Size | None
    kind: Kind
    region: Box | None = field(default=None, kw_only=True)
    text: str = ""
    phrases: tuple[Phrase, ...] = ()

    def __repr__(self) -> str:
        """The fields; without a region where there is none, so that digests of older questions stay what they were."""
        names = ("image", "size", "kind", "region", "text", "phrases")
        told = [f"{name}={getattr(self, name)!r}" for name in names if name != "region" or self.region is not None]
        return f"Question({', '.join(told)})"

    @property
    def image_name(self) -> str:
        """The image's key under the data root, or what a given image is called."""
        return self.image if isinstance(self.image, str) else self.image.name


@dataclass(frozen=True, slots=True)
class Sample(Generic[V_co]):
    """A question with its target.

    `cluster` names what is sampled (the image), for intervals; `groups` what it is also reported under (a domain, a
    type of question, one data set of several).
    """

    id: str
    question: Question
    target: V_co | None
    cluster: str
    groups: tuple[str, ...] = ()


class Trail(NamedTuple):
    """What an answer was made of, stage by stage, each as a short digest: alike where two runs had the same."""

    prompt: str  # the texts that the question was put in
    pixels: str  # of the image as the network is given it, before normalisation
    tokens_in: str
    tokens_out: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model wrote, and what could be read in it (`value` None: unreadable).

    `seconds` is how long it was under way, beside others, `batch` of them at most; 0 where the model does not time
    itself.
    `trail` is None where the model does not say what it was given.
    """

    raw: tuple[str, ...]
    value: Value | None
    tokens: int = 0
    truncated: bool = False
    seconds: float = 0.0
    batch: int = 1
    trail: Trail | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a question could not be asked: one bad image is this, not the end of the stream."""

    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """Numbers for one sample, under the same keys for every sample of a task."""

    values: Mapping[str, float]
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Row(Generic[V_co]):
    """What metrics reduce and reports show."""

    sample: Sample[V_co]
    answer: Answer
    score: Score


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number, its 95 % interval (None: too few clusters to say), and how many samples it rests on."""

    value: float | None
    low: float | None
    high: float | None
    n: int


# ---------------------------------------------------------------------------- metrics and tasks

Weights = NDArray[np.float64]  # one weight per cluster, in order of first appearance; all ones: the number itself
Statistic = Callable[[Weights], float]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A Statistic that no weighting changes: a number that is quoted without an interval."""

    value: float

    def __call__(self, weights: Weights) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Biased:
    """A Statistic, in percent, that resamples push one way.

    AP goes up, as an image drawn twice is found twice; CIDEr down, as its words are common then.
    """

    statistic: Statistic

    def __call__(self, weights: Weights) -> float:
        return self.statistic(weights)


class Metric(Protocol):
    """Prepared once over the rows, then evaluated under any weighting of their clusters."""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic: ...


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task reads: a data root, a split, and an annotation file given instead of the official one."""

    root: Path
    split: str
    annotations: Path | None = None


@dataclass(frozen=True, slots=True)
class PredictionFormat:
    """Reads and writes a benchmark's official result file.

    `read(path, samples)` gives sample id to Answer and raises DataError on what does not fit;
    `write(path, rows)` writes a file that `read` and the official evaluator take; a `folder` of files where it is one.
    """

    description: str
    read: Callable[[Path, Sequence[Sample[Any]]], dict[str, Answer]]
    write: Callable[[Path, Sequence[Row[Any]]], None]
    folder: bool = False


EMBEDDED = "the embedded benchmark"  # the origin of a file that no published data set has


@dataclass(frozen=True, slots=True)
class FileNeed:
    """One file or folder a task needs under the data root, where it comes from, and for which splits (all: ()).

    `instead` is a file that does as well.  A folder holds images, unless it is one of `annotations`.
    """

    path: str
    origin: str
    splits: tuple[str, ...] = ()
    instead: str = ""
    annotations: bool = False


@dataclass(frozen=True, slots=True)
class Corpus(Generic[V]):
    """Scores that depend on all samples together, such as CIDEr's.

    `scores` gives the scores of every row, in the order of the rows.  A run's record has the sum of each `counted`
    score, and `policy`, which states the rules of scoring that are a choice.
    """

    scores: Callable[[Sequence[Row[V]]], Sequence[Mapping[str, float]]]
    counted: tuple[str, ...] = ()
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How a task's intervals are computed: the number of resamples of its images.

    `stratified` resamples the images of each data set (a sample's first group) separately.
    """

    resamples: int = 1000
    stratified: bool = False


@dataclass(frozen=True, slots=True)
class Variant(Generic[V]):
    """Another way to score a task: `apply` gives the task that is scored this way.

    `compare` computes `metrics` from the scores that two runs keep, without applying the variant.  Each is NaN where a
    row lacks its scores.
    """

    apply: Callable[[Task[V]], Task[V]]
    metrics: Mapping[str, Metric] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[V]):
    """A data set and the one right way to score it: a value, not a subclass.

    Raise `version` whenever any number could change.  `score` scores one sample; `corpus` adds the scores that depend
    on all samples together.  `metrics` are reported over all samples, `by_group` for each group of samples.
    `variants` are other ways to score, by name.  `published` holds the published counts of each split, for
    `data check`.
    """

    name: str
    version: int
    about: str
    splits: tuple[str, ...]
    train_splits: tuple[str, ...] = ()
    load: Callable[[Source], Iterator[Sample[V]]]
    score: Callable[[Sample[V], Answer], Score]
    metrics: Mapping[str, Metric]
    headline: str
    predictions: PredictionFormat
    files: tuple[FileNeed, ...] = ()
    seen_in_training: str = ""  # which of its images a published model has seen, for reports
    corpus: Corpus[V] | None = None
    by_group: Mapping[str, Metric] = field(default_factory=dict)
    intervals: Intervals = Intervals()
    variants: Mapping[str, Variant[V]] = field(default_factory=dict)
    marking: tuple[str, ...] = ()  # the variants that this task is scored by
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


# ---------------------------------------------------------------------------- models


class Model(Protocol):
    """Anything that answers questions, as a stream: in any order, by ticket."""

    @property
    def fingerprint(self) -> str:
        """Weights, precision, decoding settings, prompts, preprocessing, and a digest of the code that answers."""
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What else a number could be disputed by, and is not identity: device, driver, batch size."""
        ...

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]: ...


# ---------------------------------------------------------------------------- runs


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """What was asked.  Its digest is the run's id; batch size and device are provenance, not identity."""

    data: str
    data_hash: str
    task: str
    version: int
    split: str
    model: str
    fingerprint: str
    protocol: str = "zero_shot"
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What came out: metrics, counts, timings, and the provenance needed to dispute it."""

    schema: int
    id: str
    spec: RunSpec
    status: Literal["running", "complete", "partial", "incomplete"]
    headline: str
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    timings: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def finished(self) -> bool:
        """Whether every question that was asked has an answer."""
        return self.status in ("complete", "partial")
