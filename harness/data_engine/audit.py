"""A sample of annotations for people to look at: strata, the draw, and the files.

Strata are kind x origin x score x status.  Annotations that were dropped are sampled too, which shows what filters
cost.  Scores of different origins are not comparable, so score bins are quantiles of one kind of one origin: four bins,
or fewer if not every stratum could have `least` annotations then.  A stratum has `least` annotations (all, if it has
fewer), and the rest of the sample is shared out by size.

The draw.  Each image has one random number, and images come in the order of these numbers; within a stratum, an image
with more annotations comes earlier.  So strata share images, and a person looks at fewer of them.  Within a stratum it
is a simple random sample of annotations: for M annotations of an image, the keys are the order statistics of M
exponential variables, of which the first is the image's number, and the smallest keys are drawn.  All numbers come from
the seed and the image's SHA-256, so the sample does not depend on the order of the records.

An item's weight is the number of annotations that it stands for: the size of its stratum over the number drawn.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.core import Box, Size
from harness.data_engine.records import Annotation, AnnotationKind, Origin, Record, Status, digest
from harness.errors import DataError, UsageError
from harness.store.files import replace_file
from harness.store.lines import encoded

BINS = 4
SECOND = 0.1  # the share of the items that a second person looks at too
SAMPLE, LEAST = 400, 20
SCHEMA = 1
Records = Callable[[], Iterable[Record]]


@dataclass(frozen=True, slots=True, order=True, kw_only=True)
class Stratum:
    """Annotations of one kind, origin, score bin and status; `count` is how many there are."""

    kind: AnnotationKind
    origin: str  # its name, with its round if it is not 0
    scores: str  # such as "0.25 to 0.61", or "no score"
    status: Status
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditItem:
    """An annotation to look at, with what a person needs to judge it.

    `text` is the sentence that a phrase is of, `region` the box that a text or an outline is of, and `label` that
    region's label.  `value` is the annotation's value as data for JSON.  `second` says that two people look at it.
    """

    annotation: str
    image: str
    sha256: str
    size: Size
    stratum: Stratum
    weight: float
    value: dict[str, Any]
    text: str = ""
    span: tuple[int, int] | None = None
    region: Box | None = None
    label: str = ""
    second: bool = False


@dataclass(frozen=True, slots=True)
class AuditSample:
    """The items in the order in which a person sees them: image by image, the images in a random order."""

    seed: int
    items: tuple[AuditItem, ...]

    @property
    def id(self) -> str:
        """A digest of the sample, which verdicts repeat."""
        return digest([self.seed, [msgspec.to_builtins(item) for item in self.items]])


_Group = tuple[AnnotationKind, str, Status]
_Key = tuple[AnnotationKind, str, int, Status]  # with the number of the score bin


def draw(
    records: Records, origins: Mapping[str, Origin], *, sample: int = SAMPLE, least: int = LEAST, seed: int = 0
) -> AuditSample:
    """A stratified random sample of about `sample` annotations, and at least `least` of each stratum that has them.

    `records` is called twice.  UsageError for a size below 1, and if there is no annotation.
    """
    if sample < 1 or least < 1:
        raise UsageError(f"an audit of {sample} annotations, at least {least} a stratum: each is at least 1")
    scores: dict[_Group, array[float]] = {}
    for record in records():
        for annotation, status in _decided(record):
            values = scores.setdefault((annotation.kind, annotation.origin, status), array("d"))
            values.append(np.nan if annotation.score is None else annotation.score)
    if not scores:
        raise UsageError("there is nothing to audit: the engine has no annotations")
    edges = _edges(scores, sample, least)
    counts = _counts(scores, edges)
    sizes = allocate(list(counts.values()), sample, least)
    drawn = _drawn(records, edges, dict(zip(counts, sizes, strict=True)), seed)
    items = [
        _item(record, annotation, _stratum(key, counts[key], edges, origins), counts[key] / len(drawn[key]))
        for key in drawn
        for record, annotation in drawn[key]
    ]
    return AuditSample(seed, _ordered(items, seed))


def allocate(counts: Sequence[int], sample: int, least: int) -> list[int]:
    """How many of each stratum are drawn: `least` or all of it, and a share by size of what is left of the sample."""
    sizes = [min(count, least) for count in counts]
    free = sample - sum(sizes)
    rest = [count - size for count, size in zip(counts, sizes, strict=True)]
    if free <= 0 or not sum(rest):
        return sizes
    shares = [min(part, free * part / sum(rest)) for part in rest]
    extra = [int(share) for share in shares]
    by_remainder = sorted(range(len(rest)), key=lambda place: (extra[place] - shares[place], place))
    for place in by_remainder[: min(free, sum(rest)) - sum(extra)]:
        extra[place] += 1
    return [size + more for size, more in zip(sizes, extra, strict=True)]


def _decided(record: Record) -> Iterator[tuple[Annotation, Status]]:
    status = record.status()
    for annotation in record.annotations:
        verdict = status.get(annotation.id)
        yield annotation, "kept" if verdict is None else verdict.status


def _edges(scores: Mapping[_Group, array[float]], sample: int, least: int) -> dict[tuple[str, str], list[float]]:
    """The inner edges of the score bins of each kind and origin: quantiles, as many as the sample has place for."""
    of: dict[tuple[str, str], list[array[float]]] = {}
    for (kind, origin, _), values in scores.items():
        of.setdefault((kind, origin), []).append(values)
    edges: dict[tuple[str, str], list[float]] = {}
    for bins in range(BINS, 0, -1):
        for name, parts in of.items():
            known = np.concatenate([np.asarray(part) for part in parts])
            known = known[np.isfinite(known)]
            inner = np.quantile(known, np.arange(1, bins) / bins) if len(known) else np.empty(0)
            edges[name] = np.unique(inner).tolist()
        if len(_counts(scores, edges)) * least <= sample:
            break
    return edges


def _counts(scores: Mapping[_Group, array[float]], edges: Mapping[tuple[str, str], list[float]]) -> dict[_Key, int]:
    counts: dict[_Key, int] = {}
    for (kind, origin, status), values in sorted(scores.items()):
        bins = np.where(np.isnan(values), -1, np.searchsorted(edges[kind, origin], values, side="right"))
        for number, count in zip(*np.unique(bins, return_counts=True), strict=True):
            counts[kind, origin, int(number), status] = int(count)
    return counts


def _drawn(
    records: Records, edges: Mapping[tuple[str, str], list[float]], sizes: Mapping[_Key, int], seed: int
) -> dict[_Key, list[tuple[Record, Annotation]]]:
    """The annotations of each stratum with the smallest keys."""
    heaps: dict[_Key, list[tuple[float, str, Record, Annotation]]] = {key: [] for key in sizes}
    for record in records():
        of: dict[_Key, list[Annotation]] = {}
        for annotation, status in _decided(record):
            inner = edges[annotation.kind, annotation.origin]
            score = math.nan if annotation.score is None else annotation.score
            number = -1 if math.isnan(score) else bisect_right(inner, score)
            of.setdefault((annotation.kind, annotation.origin, number, status), []).append(annotation)
        first = _exponential(seed, record.image.sha256)
        for key, candidates in of.items():
            heap, size = heaps[key], sizes[key]
            if len(heap) == size and -first / len(candidates) < heap[0][0]:
                continue  # its first key is too large, and the others are larger
            for order, annotation in _keyed(candidates, first, [seed, *map(_number, (record.image.sha256, *key))]):
                entry = -order, annotation.id, record, annotation
                if len(heap) < size:
                    heapq.heappush(heap, entry)
                elif entry > heap[0]:
                    heapq.heapreplace(heap, entry)
    return {key: [(record, annotation) for _, _, record, annotation in sorted(heap)] for key, heap in heaps.items()}


def _keyed(annotations: list[Annotation], first: float, seeds: list[int]) -> Iterator[tuple[float, Annotation]]:
    """M annotations in a random order, with the order statistics of M exponential variables as keys.

    The smallest is `first` / M; the next is larger by an exponential variable / (M - 1), and so on.
    """
    generator = np.random.default_rng(seeds)
    annotations = sorted(annotations, key=lambda annotation: annotation.id)
    key = 0.0
    for left, place in zip(range(len(annotations), 0, -1), generator.permutation(len(annotations)), strict=True):
        key += (first if left == len(annotations) else float(generator.exponential())) / left
        yield key, annotations[place]


def _exponential(seed: int, sha256: str) -> float:
    """The number of an image: an exponential variable that depends on the seed and the image alone."""
    return -math.log((_number(f"{seed} {sha256}") + 1) / (1 << 52))


def _number(value: Any) -> int:
    """A number below 2^52 that a text determines."""
    return int(hashlib.sha256(str(value).encode()).hexdigest()[:13], 16)


def _stratum(
    key: _Key, count: int, edges: Mapping[tuple[str, str], list[float]], origins: Mapping[str, Origin]
) -> Stratum:
    kind, origin, number, status = key
    ends = ["", *(f"{edge:.3g}" for edge in edges[kind, origin]), ""]
    low, high = ends[number : number + 2] if number >= 0 else ("", "")
    scores = (
        "no score" if number < 0
        else f"{low} to {high}" if low and high
        else f"from {low}" if low else f"below {high}" if high else "any score"
    )  # fmt: skip
    name = _name(origin, origins)
    return Stratum(kind=kind, origin=name, scores=scores, status=status, count=count)


def _name(origin: str, origins: Mapping[str, Origin]) -> str:
    """The name of an origin, with its round, and with its id where another origin has the same."""
    known = origins.get(origin)
    if known is None:
        return origin
    same = [each for each in origins.values() if (each.name, each.round) == (known.name, known.round)]
    parts = [known.name, f"round {known.round}" if known.round else "", f"({origin[:8]})" if len(same) > 1 else ""]
    return " ".join(filter(None, parts))


def _item(record: Record, annotation: Annotation, stratum: Stratum, weight: float) -> AuditItem:
    """The item of an annotation, with what it is of among the record's other annotations."""
    of = {each.id: each for each in record.annotations}
    parents = [of[parent] for parent in annotation.parents if parent in of]
    value: dict[str, Any] = json.loads(json.dumps(encoded(annotation.value)))  # as the file of the sample has it
    item = AuditItem(
        annotation=annotation.id, image=record.image.reference, sha256=record.image.sha256, size=record.image.size,
        stratum=stratum, weight=weight, value=value, span=annotation.span,
    )  # fmt: skip
    if annotation.kind == "phrase":
        return replace(item, text=next((each.value.texts[0] for each in parents if each.kind == "text"), ""))  # type: ignore[union-attr]
    region = next((each for each in parents if each.kind == "region"), None)
    if annotation.kind in ("text", "outline") and region is not None:
        boxes = region.value
        return replace(item, region=boxes.boxes[0], label=(*boxes.labels, "")[0])  # type: ignore[union-attr]
    return item


def _ordered(items: list[AuditItem], seed: int) -> tuple[AuditItem, ...]:
    """The items image by image, in a random order, a share of them for a second person too."""
    items = sorted(items, key=lambda item: (item.sha256, item.annotation))
    generator = np.random.default_rng(seed)
    order = {sha: place for place, sha in enumerate(generator.permutation(sorted({item.sha256 for item in items})))}
    second = set(generator.permutation(len(items))[: round(SECOND * len(items))].tolist())
    items = [replace(item, second=place in second) for place, item in enumerate(items)]
    return tuple(sorted(items, key=lambda item: (order[item.sha256], item.annotation)))


# ---------------------------------------------------------------------------- files


class _Head(msgspec.Struct):
    schema: int
    seed: int
    sample: str


def write_sample(path: Path, sample: AuditSample) -> None:
    """Writes a sample as lines of JSON, the first about all of it."""
    head = {"schema": SCHEMA, "seed": sample.seed, "sample": sample.id}
    lines = [head, *(msgspec.to_builtins(item) for item in sample.items)]
    replace_file(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def read_sample(path: Path) -> AuditSample:
    """The sample of a file that `write_sample` wrote; DataError if it is missing, damaged or edited."""
    try:
        first, *rest = path.read_bytes().splitlines()
        head = msgspec.json.decode(first, type=_Head)
        items = tuple(msgspec.json.decode(line, type=AuditItem) for line in rest)
    except (OSError, ValueError) as error:
        raise DataError(f"the sample {path} cannot be read: {error}; draw it again with `engine audit`") from error
    sample = AuditSample(head.seed, items)
    if head.schema != SCHEMA or sample.id != head.sample:
        raise DataError(f"the sample {path} was edited, cut off, or written by another version; draw it again")
    return sample
