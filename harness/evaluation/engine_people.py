"""What people said becomes part of an engine: files in COCO's format, and what audits found right."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data_engine import audit_verdicts, tables
from harness.data_engine.filtering import filter_annotations, filter_images
from harness.data_engine.people import CocoFile
from harness.data_engine.records import Annotation, ImageRow, Origin, digest
from harness.data_engine.shards import Engine
from harness.errors import UsageError
from harness.evaluation.engine_outputs import sample_of


@dataclass(frozen=True, slots=True)
class Imported:
    """The origin of what was imported, the number of its annotations, and what was left out, by reason."""

    origin: Origin
    annotations: int
    left_out: Mapping[str, int]


def import_people(
    to: str | Path,
    *,
    coco: str | Path | None = None,
    verdicts: Sequence[str | Path] = (),
    name: str | None = None,
    licence: str = "",
) -> Imported:
    """Imports annotations of people into an engine folder, and filters it again.

    `coco` is a file of objects or captions; `verdicts` are files of verdicts on an audit's sample: an annotation that
    every person who judged it found right is kept as theirs.  `name` and `licence` are those of the origin (None: the
    file's name, or that of the audit's sample).  What was imported before is not imported again.

    UsageError unless one of `coco` and `verdicts` is given; DataError for a malformed file, or one of other images.
    """
    if (coco is None) == (not verdicts):
        raise UsageError("give either --coco FILE or --verdicts FILE")
    engine = Engine.open(Path(to))
    imported = _of_coco(engine, Path(coco), name, licence) if coco else _of_audit(engine, verdicts, name, licence)
    filter_images(engine)
    filter_annotations(engine)
    return imported


def _of_coco(engine: Engine, path: Path, name: str | None, licence: str) -> Imported:
    file = CocoFile.read(path, name or path.stem, licence)
    names = file.matched(image.reference for image in engine.images())

    def said(images: Sequence[ImageRow]) -> Iterable[Annotation]:
        for image in images:
            if image.sha256 and image.reference in names:
                yield from file.annotations(names[image.reference], image)

    count = _write(engine, file.origin, said)
    return Imported(file.origin, count, dict(+file.left_out))


def _of_audit(engine: Engine, verdicts: Sequence[str | Path], name: str | None, licence: str) -> Imported:
    _, sample = sample_of(engine.path / "audit", Path(verdicts[0]))
    judged: dict[str, set[str]] = {}
    hashed = hashlib.sha256()
    for path in sorted(map(Path, verdicts)):
        people = audit_verdicts.read_verdicts(path, sample)
        hashed.update(path.read_bytes())
        for decisions in people.values():
            for annotation, decision in decisions.items():
                judged.setdefault(annotation, set()).add(decision)
    fingerprint = f"audit {sample.id} {hashed.hexdigest()[:24]}"
    origin = Origin(kind="human", name=name or f"audit {sample.id[:8]}", fingerprint=fingerprint, licence=licence)
    right = {annotation for annotation, decisions in judged.items() if decisions == {"right"}}
    images = {item.sha256 for item in sample.items if item.annotation in right}
    found: dict[str, list[Annotation]] = {}
    for record in engine.records(dropped=True):
        if record.image.sha256 in images:
            copies = [_as_said_by(origin, each) for each in record.annotations if each.id in right]
            found.setdefault(record.image.sha256, []).extend(copies)
    count = _write(engine, origin, lambda rows: [each for row in rows for each in found.get(row.sha256, ())])
    left_out = Counter({"judged wrong, or not unanimously right": len(judged) - len(right)})
    return Imported(origin, count, dict(+left_out))


def _as_said_by(origin: Origin, annotation: Annotation) -> Annotation:
    """The same assertion by people: without a score, and not merged from others."""
    parents = () if annotation.kind == "region" else annotation.parents
    return replace(annotation, origin=origin.id, score=None, parents=parents)


def _write(engine: Engine, origin: Origin, said: Callable[[Sequence[ImageRow]], Iterable[Annotation]]) -> int:
    """Writes what an origin said of each shard, once; returns the number of annotations."""
    engine.add_origins([origin])
    count = 0
    for number in engine.shards:
        inputs = digest([origin.id, number])
        with engine.locked(f"{number:05d}"):
            found = {each.id: each for each in said(engine.images_of(number))}
            count += len(found)
            if found and tables.inputs_of(engine.folder(0, "raw") / f"{number:05d}-{inputs}.parquet") is None:
                ordered = sorted(found.values(), key=lambda each: (each.image, each.kind, each.id))
                engine.write_part(0, number, inputs, [], ordered)
    return count
