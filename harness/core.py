"""The types that all rooms share: questions, values, answers, scores, tasks, models and runs.

Coordinates are floats in pixels of the original image: x to the right, y down.  A box is (left, top, right, bottom);
right and bottom are exclusive edges, so `right = x + width`.

`Kind` lists what each kind of question carries and what its answer is.  The module opens no file, device or network
connection, and imports neither torch nor NumPy: a command such as `ls` needs the types alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# ---------------------------------------------------------------------------- questions

Kind = Literal[
    "caption",
    "detailed_caption",
    "more_detailed_caption",
    "detect",
    "find",
    "ground",
    "refer",
    "segment",
    "vqa",
    "ocr",
    "ocr_regions",
    "name",
    "describe",
    "outline",
    "read",
    "regions",
    "propose",
    "embed",
    "match",
]
"""The kind of a question.

The table lists the fields of `Question` that a kind uses besides `image` and `size`, the type of `Answer.value`, and
the type of `Sample.target`.  Boxes, points and outlines are in pixels of the original image.

    kind                   fields of Question         value of Answer                    target of Sample
    caption                none                       Text: one sentence                 Text: all reference captions
    detailed_caption       none                       Text: a few sentences              Text
    more_detailed_caption  none                       Text: a paragraph                  Text
    detect                 phrases: all categories    Boxes with category names          Objects, or Boxes with names
    find                   phrases: some categories   Boxes with category names          Objects, or Boxes with names
    ground                 text; phrases: its spans   Grounded: boxes of each phrase     Grounded, with phrase types
    refer                  text: an expression        Boxes: the first is scored         Boxes: one box
    segment                text: an expression        Polygons or Mask of one object     Polygons or Mask
    vqa                    text: a question           Text: one answer                   Text: ten people's answers
    ocr                    none                       Text: the text in the image        Text
    ocr_regions            none                       Quads with the text in each        Quads with the text in each
    name                   region                     Text: the region's category        Text
    describe               region                     Text: a description of the region  Text
    outline                region                     Polygons or Mask of one object     Polygons or Mask
    read                   region                     Text: the text in the region       Text
    regions                none                       Boxes with a description each      Boxes with a description each
    propose                none                       Boxes without labels               Boxes, or Objects
    embed                  image, or text             Embedding of the one that is given Text: captions of the image
    match                  text                       Match: how well they fit           Text: captions of the image

Rules that hold for every kind:

- `Answer.value` is None if the model's output does not have the form of its kind.
- An empty value is a valid answer: no boxes, no rings, or the empty string.
- gRefCOCO's expressions refer to any number of objects: all boxes of `refer` are scored, and a target may be empty.
- An answer has one text; a target may have several, each an accepted reference.
- `detect` and `find` differ in the default prompt.  For `find`, the prompt names the categories.  For `detect`, the
  model names categories by itself; scoring compares its labels with `phrases`.
- For `ground`, `Grounded.boxes` has one entry for each phrase, in the order of `Question.phrases`.
- `Objects` and `Grounded.types` occur in targets only.
- An `embed` question is about an image or about a text, never about both: that of an image has no text, and that of a
  text has the image "".  No other kind has questions without an image.
"""
Ticket = int  # identifies one question in the stream of `Model.answer`
Box = tuple[float, float, float, float]  # left, top, right, bottom
Xywh = tuple[float, float, float, float]  # left, top, width, height, as in COCO's files
Point = tuple[float, float]  # x, y
Ring = tuple[Point, ...]  # a closed outline; the last point joins the first
Quad = tuple[Point, Point, Point, Point]


@dataclass(frozen=True, slots=True, eq=False)
class GivenImage:
    """An image that the caller supplies instead of a path under a data root; `load` returns it as 8-bit RGB."""

    name: str  # shown in error messages
    load: Callable[[], Any]


ImageRef = str | GivenImage  # a path relative to the data root, or an image; `images.py` resolves both


class Size(NamedTuple):
    """The size of an image, in pixels."""

    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Text:
    """The one string of an answer, or the accepted references of a target."""

    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Boxes:
    """Boxes in the order in which the model wrote them, with a label for each box or no labels.

    Scores are from 0 to 1, one for each box.  They are None if the model gives no probabilities, and in targets.
    Florence-2's `region_scores` are exp of the mean log-probability of a box's four location tokens; `label_scores`
    are the same over the tokens of its label.

    `xywh` holds the unconverted numbers of a COCO result file if the boxes come from such a file, else None.
    """

    boxes: tuple[Box, ...]
    labels: tuple[str, ...] = ()
    region_scores: tuple[float, ...] | None = None
    label_scores: tuple[float, ...] | None = None
    xywh: tuple[Xywh, ...] | None = None


@dataclass(frozen=True, slots=True)
class Objects:
    """The annotated objects of an image: a target of `detect`, `find` and `propose`, never an answer.

    `xywh`, `categories`, `areas` and `crowd` have one entry for each object.

    - `image` is the image's id in the annotation file, which a result file repeats.
    - `zero` is the position of the object whose annotation id is 0, which pycocotools never counts as found.
    - `xywh` holds the numbers of the annotation file.  Converting them to edges rounds, which could change an IoU that
      lies on a threshold.
    - `categories` are indices into `Question.phrases`.
    - `areas` are the areas of the segmentations, in square pixels, not of the boxes.
    - `crowd` marks a region of many objects.  A crowd that is not detected is not counted as missed.
    - `ids` has one entry for each phrase of the question: its category id in the annotation file.
    """

    xywh: tuple[Xywh, ...]
    categories: tuple[int, ...]
    areas: tuple[float, ...]
    crowd: tuple[bool, ...]
    ids: tuple[int | str, ...]
    image: int | str | None = None
    zero: int | None = None

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The same boxes as (left, top, right, bottom), for drawing and for the oracle."""
        return tuple((x, y, x + width, y + height) for x, y, width, height in self.xywh)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The categories of a federated data set, shared by its images.

    - `frequencies` has "r", "c" or "f" for each phrase of the question: rare, common and frequent in training data.
    - `synonyms` maps labels in lower case to category names in lower case.
    """

    frequencies: tuple[str, ...]
    synonyms: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Federated(Objects):
    """The objects of an image of a federated data set (LVIS), whose images are each annotated for some categories.

    - `absent` are the categories that the image is known not to show, as indices into `Question.phrases`.
    - `incomplete` are the categories of which it may show more objects than are annotated, likewise.
    """

    absent: tuple[int, ...] = field(kw_only=True)
    incomplete: tuple[int, ...] = field(kw_only=True)
    vocabulary: Vocabulary = field(kw_only=True, repr=False)


@dataclass(frozen=True, slots=True)
class Grounded:
    """The boxes of each phrase, in the order of `Question.phrases`; the best box of a phrase is first.

    `types` are the annotated types of each phrase, such as ("bodyparts", "people"); they are in targets only.
    """

    boxes: tuple[tuple[Box, ...], ...]
    types: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Quads:
    """Quadrilaterals with the text in each, as `ocr_regions` answers; `scores` from 0 to 1, None without any."""

    quads: tuple[Quad, ...]
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] | None = field(default=None, repr=False)  # digests of older values are over the others


@dataclass(frozen=True, slots=True)
class Polygons:
    """The outline of one object, with one ring for each of its parts."""

    rings: tuple[Ring, ...]


@dataclass(frozen=True, slots=True)
class Mask:
    """The pixels of one object in COCO's compressed run-length code, column by column over `size`."""

    size: Size
    counts: bytes


@dataclass(frozen=True, slots=True, repr=False)
class Embedding:
    """One or several vectors of unit length, as `embed` answers.

    The similarity of two embeddings is the largest cosine between a vector of one and a vector of the other.  Most
    models have one vector; BLIP-2 has one for each query token of an image.

    `data` holds the numbers as float16, little-endian, vector by vector; `vectors` is the number of vectors.
    """

    data: bytes
    vectors: int = 1

    @classmethod
    def of(cls, numbers: Any) -> Embedding:
        """The embedding of one vector (D,) or several (N, D), which are scaled to unit length.

        ValueError for another shape, a number that is not finite, and a vector of length 0, which has no direction.
        """
        import numpy as np

        array = np.atleast_2d(np.asarray(numbers, np.float64))
        if array.ndim != 2 or not array.size:
            raise ValueError(f"an embedding of shape {np.shape(numbers)}; expected (D,) or (N, D)")
        lengths = np.linalg.norm(array, axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or not lengths.all():
            raise ValueError("a vector of an embedding has length 0, or a number that is not finite")
        return cls((array / lengths).astype("<f2").tobytes(), len(array))

    def __repr__(self) -> str:
        """The size only: the numbers are many."""
        return f"Embedding({self.vectors} x {len(self.data) // (2 * self.vectors)} numbers)"

    @property
    def array(self) -> NDArray[np.float16]:
        """The vectors (N, D)."""
        import numpy as np

        return np.frombuffer(self.data, "<f2").reshape(self.vectors, -1)


@dataclass(frozen=True, slots=True)
class Match:
    """How well an image and a text fit, as `match` answers: higher is better; the scale is the model's own."""

    score: float


Value = Text | Boxes | Objects | Grounded | Quads | Polygons | Mask | Embedding | Match
V = TypeVar("V", bound=Value)
V_co = TypeVar("V_co", bound=Value, covariant=True)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A span of `Question.text` to ground, or the name of a category to detect or find.

    `start` and `end` count characters of `Question.text`; `end` is exclusive.  Both are 0 for a category.
    `said` is a longer description of a category, for prompts (ODinW has some, as GLIP uses them).
    """

    text: str
    start: int = 0
    end: int = 0
    said: str = ""


@dataclass(frozen=True, slots=True, repr=False)
class Question:
    """Everything that a model may see of a sample; the target is not part of it.

    `Kind` lists the fields that each kind uses.

    - `image` is "" for a question about a text alone (see `Kind`).
    - `size` is None if the annotations do not give it.
    - `region` is the box that `name`, `describe`, `outline` and `read` are about; other kinds ignore it.  It is passed
      by keyword.
    - `text` is an expression, a question or a sentence.
    - `phrases` are spans of `text` for `ground`, and category names for `detect` and `find`.
    """

    image: ImageRef
    size: Size | None
    kind: Kind
    region: Box | None = field(default=None, kw_only=True)
    text: str = ""
    phrases: tuple[Phrase, ...] = ()

    def __repr__(self) -> str:
        """The fields; `region` only if there is one, because digests of older questions are taken over this text."""
        names = ("image", "size", "kind", "region", "text", "phrases")
        shown = [f"{name}={getattr(self, name)!r}" for name in names if name != "region" or self.region is not None]
        return f"Question({', '.join(shown)})"

    @property
    def image_name(self) -> str:
        """The image's path under the data root, or the name of an image that the caller supplied; "" without image."""
        return self.image if isinstance(self.image, str) else self.image.name


@dataclass(frozen=True, slots=True)
class Sample(Generic[V_co]):
    """A question with its target.

    - `id` is unique in its split and the same on every machine.
    - `target` is None if the benchmark does not publish it.
    - `cluster` names the image.  Samples of one cluster are not independent, so intervals resample clusters.
    - `excluded` says why the sample is not evaluated, as a plural verb phrase; "" for a sample that is evaluated.
    - `groups` are the names under which the sample is also reported: a domain, a question type, or a data set.
    """

    id: str
    question: Question
    target: V_co | None
    cluster: str
    groups: tuple[str, ...] = ()
    excluded: str = field(default="", kw_only=True)


class Trail(NamedTuple):
    """A short digest of each stage of an answer; two runs that agree at a stage have equal digests there."""

    prompt: str  # the prompt texts
    pixels: str  # the resized image, before normalisation
    tokens_in: str
    tokens_out: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A model's output for one question, and the value parsed from it.

    - `raw` is the output as text, one string for each prompt of the question.
    - `value` has the type that `Kind` lists; None if `raw` could not be parsed.
    - `tokens` counts generated tokens; `truncated` says whether generation hit its limit.
    - `seconds` is the time from the start of the question's first prompt to the end of its last; 0 if the model does
      not measure time.  `batch` is the largest number of outputs that were generated together with it.
    - `trail` is None if the model does not record its stages.
    - `prompts` are the texts that the model was given, one for each string of `raw`, without the frame that a chat
      template puts around them; empty if the model does not record them.
    - `log_probs` has the tokens of each string of `raw`, in order: the text of each and its natural log-probability,
      with the end token, and "" for a token that ends within a letter; empty if they are not kept.
    """

    raw: tuple[str, ...]
    value: Value | None
    tokens: int = 0
    truncated: bool = False
    seconds: float = 0.0
    batch: int = 1
    trail: Trail | None = None
    prompts: tuple[str, ...] = field(default=(), repr=False)
    log_probs: tuple[tuple[tuple[str, float], ...], ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The reason why one question has no answer, such as a corrupt image; other questions are not affected."""

    reason: str


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of one sample, by name; all samples of a task have the same names.

    `readable` is False if the answer could not be parsed.
    """

    values: Mapping[str, float]
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Row(Generic[V_co]):
    """A sample with its answer and score: the input of metrics and reports."""

    sample: Sample[V_co]
    answer: Answer
    score: Score


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and its number of samples.

    `value` is None if the number is not defined; `low` and `high` are None if there is no interval.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


# ---------------------------------------------------------------------------- metrics and tasks

# (clusters,): one weight per cluster, in order of first appearance among the rows
Weights: TypeAlias = "NDArray[np.float64]"
Statistic = Callable[[Weights], float]  # a metric under a weighting; weights of 1 give the metric's value


@dataclass(frozen=True, slots=True)
class Fixed:
    """A Statistic that ignores the weights: a number without an interval."""

    value: float

    def __call__(self, weights: Weights) -> float:
        return self.value


@dataclass(frozen=True, slots=True)
class Biased:
    """A Statistic, in percent, whose resamples are biased; its interval is the basic bootstrap's.

    An image that is drawn twice raises AP, since its objects are found twice.  It lowers CIDEr, since its words become
    more common.
    """

    statistic: Statistic

    def __call__(self, weights: Weights) -> float:
        return self.statistic(weights)


class Metric(Protocol):
    """A number of a run that can be computed under any weighting of its clusters."""

    def prepare(self, rows: Sequence[Row[Any]]) -> Statistic:
        """The metric of these rows, as a function of the weights.  Work that no weight changes is done here, once."""
        ...


@dataclass(slots=True)
class Noted:
    """The number of records that a note is about, and the places of the first of them; 0 for a note on a whole file."""

    count: int = 0
    first: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reading:
    """Whether files are read strictly, and what was converted or dropped while they were read.

    - `strict`: a record that would be converted or dropped is a DataError.
    - `notes`: by sentence, such as "gt.json: annotations of unlisted images, dropped".
    """

    strict: bool = False
    notes: dict[str, Noted] = field(default_factory=dict)

    def said(self) -> tuple[str, ...]:
        """Every note on one line: `gt.json: annotations of unlisted images, dropped: 1 (first: $.annotations[16])`."""
        return tuple(
            f"{what}: {note.count:,} (first: {', '.join(note.first)})" if note.count else what
            for what, note in self.notes.items()
        )


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """The answers of a first run by sample id; a second run is about the best `top` candidates of each query.

    `run`, `model` and `folder` are the first run's id, its model and its folder; `digest` is one of its answers.
    """

    answers: Mapping[str, Answer]
    top: int
    run: str
    model: str
    folder: Path
    digest: str


@dataclass(frozen=True, slots=True)
class Source:
    """Where a task loads its samples: a data root, a split, and annotations that replace the official ones.

    Readers add to `reading` what they convert or drop.  `candidates` are those of a task with `Task.candidates_of`.
    """

    root: Path
    split: str
    annotations: Path | None = None
    reading: Reading = field(default_factory=Reading, compare=False)
    candidates: Candidates | None = field(default=None, compare=False)

    def origin(self, published: str) -> str:
        """Where the annotations come from: `published`, or "" for a user's own."""
        return published if self.annotations is None else ""


@dataclass(frozen=True, slots=True)
class PredictionFormat:
    """Reads and writes a benchmark's official result file.

    - `description` shows one entry of the file.
    - `read(path, samples)` returns an Answer for every sample id.  DataError if the file does not fit the samples.
      Excluded samples need no entry.
    - `read_leniently(path, samples, reading)` also reads a file that needs conversions, and notes them in `reading`.
      None: there is nothing that the format converts.
    - `write(path, rows)` writes a file that both `read` and the official evaluator accept.
    - `folder` is True if `path` is a folder of files.  `ending` is that of the file's name otherwise.
    """

    description: str
    read: Callable[[Path, Sequence[Sample[Any]]], dict[str, Answer]]
    write: Callable[[Path, Sequence[Row[Any]]], None]
    folder: bool = False
    ending: str = ".json"
    read_leniently: Callable[[Path, Sequence[Sample[Any]], Reading], dict[str, Answer]] | None = None


EMBEDDED = "the embedded benchmark"  # the origin of files that no published data set contains


@dataclass(frozen=True, slots=True)
class FileNeed:
    """A file or folder that a task needs under the data root.

    - `path` and `instead` are relative to the root; a task accepts `instead` in place of `path`.
    - `origin` says where to obtain it.
    - `splits` are the splits that need it; () means all.
    - `annotations` is True for a folder of annotation files.  Other folders hold images.
    """

    path: str
    origin: str
    splits: tuple[str, ...] = ()
    instead: str = ""
    annotations: bool = False


@dataclass(frozen=True, slots=True)
class Corpus(Generic[V]):
    """Scores that depend on all samples together, such as CIDEr's.

    - `scores(rows)` returns the scores of every row, in the order of the rows.
    - `counted` names the scores whose sums a run's record contains.
    - `policy` describes scoring rules that the benchmark leaves open; a run's record contains it.
    """

    scores: Callable[[Sequence[Row[V]]], Sequence[Mapping[str, float]]]
    counted: tuple[str, ...] = ()
    policy: str = ""


@dataclass(frozen=True, slots=True)
class Intervals:
    """How a task's intervals are computed.

    - `resamples` is the number of bootstrap resamples of the images; 0: no intervals.
    - `stratified` resamples the images of each data set (a sample's first group) separately.
    """

    resamples: int = 1000
    stratified: bool = False


@dataclass(frozen=True, slots=True)
class Variant(Generic[V]):
    """Another way to score a task.

    - `apply(task)` returns the task that is scored this way.
    - `metrics` are computed from stored scores, so `compare` need not score again.  A metric is NaN if a row lacks its
      scores.
    """

    apply: Callable[[Task[V]], Task[V]]
    metrics: Mapping[str, Metric] = field(default_factory=dict)


def _no_remarks(rows: Sequence[Row[Any]]) -> tuple[str, ...]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task(Generic[V]):
    """A data set and the one right way to score it: a value, not a subclass.

    Identity
        name                what `--task` takes
        version             raised whenever any number could change
        about               one line for `tasks`

    Data
        splits              splits that can be evaluated; the first is the default
        hidden_splits       splits that are answered for a server, which alone has their targets; "all" leaves them out
        train_splits        splits that a model can be trained on
        load                a Source to its Samples, in a fixed order
        kind                the kind of all its questions, for `models --kinds`; None where it is not stated
        candidates_of       the task of the first run whose candidates the samples are; "" for samples of the data alone
        files               what must be on disk
        predictions         the benchmark's official result file
        published           the published counts of each split, which `data check` compares
        seen_in_training    which images the published models were trained on, for reports

    Scoring
        score               the scores of one sample
        corpus              scores that depend on all samples together, if there are any
        metrics             by name, over all samples, in the units that papers print
        headline            the metric that tables quote
        by_group            metrics that are also reported for each group of samples, as "metric group"
        intervals           how intervals are computed
        variants            other ways to score, by name
        marking             the names of the variants that this task is scored by
        remarks             sentences for the record, where official code gives these rows another number
    """

    name: str
    version: int
    about: str
    splits: tuple[str, ...]
    hidden_splits: tuple[str, ...] = ()
    train_splits: tuple[str, ...] = ()
    load: Callable[[Source], Iterator[Sample[V]]]
    score: Callable[[Sample[V], Answer], Score]
    metrics: Mapping[str, Metric]
    headline: str
    predictions: PredictionFormat
    files: tuple[FileNeed, ...] = ()
    seen_in_training: str = ""
    corpus: Corpus[V] | None = None
    by_group: Mapping[str, Metric] = field(default_factory=dict)
    intervals: Intervals = Intervals()
    variants: Mapping[str, Variant[V]] = field(default_factory=dict)
    marking: tuple[str, ...] = ()
    remarks: Callable[[Sequence[Row[V]]], Sequence[str]] = _no_remarks
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    candidates_of: str = ""
    kind: Kind | None = None


# ---------------------------------------------------------------------------- models


class Model(Protocol):
    """Anything that answers a stream of questions."""

    @property
    def fingerprint(self) -> str:
        """Names everything that decides an answer: weights, precision, decoding, prompts, preprocessing and version.

        Stored answers are reused only under the same fingerprint.
        """
        ...

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Facts for the record that do not decide an answer, such as device, driver and batch size."""
        ...

    def answer(self, questions: Iterable[tuple[Ticket, Question]]) -> Iterator[tuple[Ticket, Answer | Failure]]:
        """One Answer or Failure for every ticket, in any order.

        Questions are taken from the iterator as the model has room, so it may decode images ahead and refill batches.
        """
        ...


# ---------------------------------------------------------------------------- runs


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """The identity of a run: its digest is the run's id.  Batch size and device are provenance, not identity.

    - `data` is the name of the data root; `data_hash` is a digest of the annotation files.
    - `version` is the task's; `fingerprint` is the model's.
    - `limit` is the number of images that were drawn with `seed`; None means all.
    """

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
    """The record of a run: metrics, counts, timings, and the provenance needed to dispute a number.

    `status` is "running" before scoring, "complete" for a whole split, "partial" for a limited run, and "incomplete" if
    some questions failed; an incomplete run has no metrics.
    """

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
        """Whether every question of the run has an answer."""
        return self.status in ("complete", "partial")
