"""An engine folder as a training task, with annotations like those of FLD-5B (arXiv:2311.06242v1, section 4).

`of(ENGINE, ROOT)` is the task of one folder: there is nothing to evaluate, and its split is `train`.  What the engine
kept becomes samples:

    texts of an image           caption, detailed_caption, more_detailed_caption; several of a length are references
    regions                     detect, for those with labels; propose, for all
    regions with labels         name, for each
    texts of a region           describe (brief and longer texts, noun chunks), name (categories)
    regions with a text each    regions: the first description of each
    phrases of a text           ground
    outlines                    outline
    written words               ocr_regions, and ocr: the words in their order

Boxes are taught from left to right.  A region that does not touch its image, or has no area, is left out.  A text or an
outline of a region that was merged into another is of that other region.

Where several origins answer one question, one answer is taught: the category of a region, if it has one as a text, else
its label; the outline of a region and the boxes of a phrase with the highest score; the written words of the origin
that read most.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from harness.core import (
    Box,
    Boxes,
    FileNeed,
    Grounded,
    Kind,
    Phrase,
    PredictionFormat,
    Quads,
    Question,
    Sample,
    Size,
    Source,
    Task,
    Text,
    Value,
)
from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.data_engine.records import Annotation, ImageRow, Record

NAME = "fld"
TRAIN = "train"
ORIGIN = "`python -m harness engine annotate`"
CAPTIONS: Mapping[str, Kind] = {
    "brief": "caption", "detailed": "detailed_caption", "more_detailed": "more_detailed_caption",
}  # fmt: skip
Made = Iterator[Sample[Any]]
X = TypeVar("X")


def of(
    engine: Path,
    root: Path,
    kinds: frozenset[Kind] | None = None,
    *,
    round_: int | None = None,
    images: Callable[[ImageRow], bool] | None = None,
) -> Task[Any]:
    """The task of an engine folder, whose images are under `root`; with `kinds`, its questions of these kinds alone.

    With `round_`, it is of what that round keeps, and of no other file: other rounds do not change its data.  With
    `images`, it is of the images for which that is true.

    DataError if the folder is no engine's.
    """
    from harness.data_engine.shards import Engine

    opened = Engine.open(engine)
    names = ["engine.json", "images.parquet", "origins.jsonl"]
    rounds = opened.lineage(opened.current)
    parts = sorted(path for n in rounds for part in ("raw", "told") if (path := opened.folder(n, part)).is_dir())
    if round_ is not None:
        names, parts = ["images.parquet"], [engine / f"round{round_}" / "told"]
    needs = [FileNeed(_below(root, engine / name), ORIGIN) for name in names]
    needs += [FileNeed(_below(root, path), ORIGIN, annotations=True) for path in parts]
    return Task(
        name=NAME,
        version=1,
        about="what an engine kept, for training",
        splits=(),
        train_splits=(TRAIN,),
        load=partial(load, engine=engine, kinds=kinds, round_=round_, images=images),
        score=_refuse,
        metrics={},
        headline="",
        predictions=PredictionFormat("none: it is not evaluated", _refuse, _refuse),
        files=tuple(needs),
    )


def load(
    source: Source,
    engine: Path,
    kinds: frozenset[Kind] | None = None,
    round_: int | None = None,
    images: Callable[[ImageRow], bool] | None = None,
) -> Made:
    """The samples of the images that an engine kept, image by image; see `of`."""
    from harness.data_engine.shards import Engine

    for record in Engine.open(engine).records(round_):
        if images is not None and not images(record.image):
            continue
        yield from (sample for sample in samples(record) if kinds is None or sample.question.kind in kinds)


def samples(record: Record) -> Made:
    """The samples of a record's kept annotations, as the module says."""
    image = record.image
    kept = list(record.kept())
    regions = {each.id: each for each in kept if each.kind == "region" and _touches(each.value, image.size)}
    of = {each.id: _held(each, record, regions) for each in kept if each.kind in ("text", "outline")}

    def sample(kind: Kind, target: Value, name: str = "", **fields: Any) -> Sample[Any]:
        question = Question(image.reference, image.size, kind, **fields)
        return Sample(f"{image.sha256[:24]} {kind}{name and ' '}{name}", question, target, cluster=image.reference)

    texts = [each for each in kept if each.kind == "text"]
    for length, kind in CAPTIONS.items():
        if found := tuple(_text(each) for each in texts if each.length == length and not each.parents):
            yield sample(kind, Text(found))
    yield from _of_regions(sample, list(regions.values()), [(each, of[each.id]) for each in texts if each.parents])
    for text in texts:
        phrases = [each for each in kept if each.kind == "phrase" and text.id in each.parents]
        if phrases:
            yield _grounding(sample, text, phrases)
    outlines = [(each, parent) for each in kept if each.kind == "outline" and (parent := of[each.id]) is not None]
    for each, parent in _best(outlines, lambda pair: pair[0], lambda pair: pair[1].id):
        yield sample("outline", each.value, each.id, region=_box(parent))
    written = _of_one_origin([each for each in kept if each.kind == "written"])
    if written:
        words = tuple(label for value in written for label in (*value.labels, "")[:1])
        yield sample("ocr_regions", Quads(tuple(value.quads[0] for value in written), words))
        yield sample("ocr", Text((" ".join(words),)))


def _of_regions(
    sample: Any, regions: Sequence[Annotation], texts: Sequence[tuple[Annotation, Annotation | None]]
) -> Made:
    """The samples of regions, and of texts with the region that each is of."""
    ordered = sorted(regions, key=_box)
    labelled = [each for each in ordered if _label(each)]
    if labelled:
        yield sample("detect", Boxes(tuple(map(_box, labelled)), tuple(map(_label, labelled))))
    if ordered:
        yield sample("propose", Boxes(tuple(map(_box, ordered))))
    named = {region.id for text, region in texts if region is not None and text.length == "category"}
    for each in labelled:
        if each.id not in named:
            yield sample("name", Text((_label(each),)), each.id, region=_box(each))
    described: dict[str, str] = {}
    for text, region in texts:
        if region is not None:
            kind: Kind = "name" if text.length == "category" else "describe"
            yield sample(kind, Text((_text(text),)), text.id, region=_box(region))
            if kind == "describe":
                described.setdefault(region.id, _text(text))
    dense = [each for each in ordered if each.id in described]
    if dense:
        yield sample("regions", Boxes(tuple(map(_box, dense)), tuple(described[each.id] for each in dense)))


def _grounding(sample: Any, text: Annotation, phrases: Sequence[Annotation]) -> Sample[Any]:
    """The sample of a text with its phrases in the order of the text."""
    words = _text(text)
    ordered = sorted(_best(phrases, lambda each: each, lambda each: each.span), key=lambda each: each.span or (0, 0))
    asked = tuple(Phrase(words[start:end], start, end) for start, end in (each.span or (0, 0) for each in ordered))
    boxes = tuple(each.value.boxes if isinstance(each.value, Boxes) else () for each in ordered)
    made: Sample[Any] = sample("ground", Grounded(boxes), text.id, text=words, phrases=asked)
    return made


def _best(items: Sequence[X], annotation: Callable[[X], Annotation], key: Callable[[X], object]) -> list[X]:
    """Of the items with one key, the one whose annotation has the highest score; the first, of equal ones."""
    best: dict[object, X] = {}
    for item in items:
        before = best.setdefault(key(item), item)
        if (annotation(item).score or 0) > (annotation(before).score or 0):
            best[key(item)] = item
    return list(best.values())


def _of_one_origin(annotations: Sequence[Annotation]) -> list[Quads]:
    """The quads of the origin with the most annotations; of equal ones, the first."""
    of: dict[str, list[Quads]] = {}
    for each in annotations:
        if isinstance(each.value, Quads):
            of.setdefault(each.origin, []).append(each.value)
    return max(of.values(), key=len, default=[])


def _held(annotation: Annotation, record: Record, regions: Mapping[str, Annotation]) -> Annotation | None:
    """The kept region that an annotation is of: its parent, or what took the place of its parent."""
    status = record.status()
    for parent in annotation.parents:
        seen = set[str]()
        while parent not in regions and parent not in seen and (verdict := status.get(parent)) and verdict.by:
            seen.add(parent)
            parent = verdict.by
        if parent in regions:
            return regions[parent]
    return None


def _box(region: Annotation) -> Box:
    value = region.value
    return value.boxes[0] if isinstance(value, Boxes) else (0.0, 0.0, 0.0, 0.0)


def _label(region: Annotation) -> str:
    value = region.value
    return value.labels[0] if isinstance(value, Boxes) and value.labels else ""


def _text(annotation: Annotation) -> str:
    return annotation.value.texts[0] if isinstance(annotation.value, Text) else ""


def _touches(value: object, size: Size) -> bool:
    if not isinstance(value, Boxes):
        return False
    left, top, right, bottom = value.boxes[0]
    return left < right and top < bottom and right > 0 and bottom > 0 and left < size.width and top < size.height


def _below(root: Path, path: Path) -> str:
    """A path relative to the root, from which it may lead out: an engine is not among its images."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(root))


def _refuse(*_: Any) -> NoReturn:
    raise UsageError(f"{NAME} is for training: an engine folder has nothing to evaluate")
