"""An engine's kept annotations in the formats of other tools.

    coco          regions with labels and their outlines, with scores; CVAT reads it as "COCO 1.0"
    jsonl         a line for each image, with all annotations
    parquet       a row for each annotation
    webdataset    tar files of images, each with its annotations as JSON and its first text
    label-studio  tasks with the annotations as predictions, those by people as annotations, and a labelling interface

Licences.  An annotation has the licence of its origin; one that a rule made has those of its parents.  An image has its
own.  Without a choice, everything is exported, but an unknown licence is an error.  With a choice, what has another
licence is left out and counted; "unknown" chooses what has none, and "any" chooses all.

A file is written whole or not at all.  Images that changed since they were annotated are an error where a format holds
images.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.data_engine.records import Annotation, Origin, Record
from harness.errors import UsageError
from harness.store.files import disk_errors
from harness.store.lines import encoded

ANY, UNKNOWN = "any", "unknown"
Records = Callable[[], Iterable[Record]]


@dataclass(slots=True)
class Exported:
    """What was written: images, annotations, and by reason what was left out."""

    images: int = 0
    annotations: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Licences:
    """Which licences are exported; None: all that are known, and an unknown one is an error."""

    origins: Mapping[str, Origin]
    chosen: frozenset[str] | None = None

    def of(self, record: Record) -> dict[str, tuple[str, ...]]:
        """The licences of each annotation of a record; "" is unknown."""
        by_id = {annotation.id: annotation for annotation in record.annotations}

        def licences(annotation: Annotation, above: frozenset[str] = frozenset()) -> set[str]:
            origin = self.origins.get(annotation.origin)
            if origin is None or origin.kind != "rule" or origin.licence:
                return {"" if origin is None else origin.licence}
            parents = [by_id[each] for each in annotation.parents if each in by_id and each not in above]
            found = [licences(each, above | {annotation.id}) for each in parents]
            return set().union(*found) if found else {""}

        return {id_: tuple(sorted(licences(annotation))) for id_, annotation in by_id.items()}

    def check(self, records: Iterable[Record]) -> None:
        """UsageError for a choice that nothing has, and without a choice for an unknown licence."""
        images: Counter[str] = Counter()
        origins: dict[str, set[str]] = {}
        for record in records:
            images[record.image.licence or UNKNOWN] += 1
            of = self.of(record)
            for annotation in record.kept():
                origin = self.origins.get(annotation.origin)
                name = annotation.origin if origin is None else origin.name
                for licence in of[annotation.id]:
                    origins.setdefault(licence or UNKNOWN, set()).add(name)
        there = sorted(images.keys() | origins.keys())
        if self.chosen is None:
            parts = [f"{images[UNKNOWN]:,} images"] if images[UNKNOWN] else []
            parts += [f"what {', '.join(sorted(origins[UNKNOWN]))} said"] if UNKNOWN in origins else []
            if parts:
                known = ", ".join(sorted(set(there) - {UNKNOWN}))
                one = f", or --licence NAME for what has that licence ({known})" if known else ""
                raise UsageError(
                    f"the licence of {' and of '.join(parts)} is unknown: "
                    f"give --licence {ANY} to export it nevertheless{one}"
                )
        elif absent := sorted(self.chosen - {*there, ANY}):
            raise UsageError(f"nothing has the licence {absent[0]!r}; there are {', '.join(there)}")

    def kept(self, records: Iterable[Record], counts: Exported) -> Iterator[Permitted]:
        """The records with their kept annotations alone, of the chosen licences; `counts` counts the others."""
        for record in records:
            if not self._allows((record.image.licence,)):
                counts.left_out["images of other licences"] += 1
                continue
            of = self.of(record)
            kept = list(record.kept())
            chosen = tuple(annotation for annotation in kept if self._allows(of[annotation.id]))
            if len(chosen) < len(kept):
                counts.left_out["annotations of other licences"] += len(kept) - len(chosen)
            counts.images += 1
            names = {annotation.id: " and ".join(filter(None, of[annotation.id])) for annotation in chosen}
            yield Permitted(replace(record, annotations=chosen, measures={}, verdicts=()), names)

    def _allows(self, licences: Iterable[str]) -> bool:
        chosen = self.chosen
        return chosen is None or ANY in chosen or all((licence or UNKNOWN) in chosen for licence in licences)


@dataclass(frozen=True, slots=True)
class Permitted:
    """A record with the annotations to export, and the licence of each by its id; "" is unknown."""

    record: Record
    licences: Mapping[str, str]


@dataclass(frozen=True)
class Source:
    """What a writer exports, as often as it needs to pass over it."""

    records: Records
    licences: Licences
    root: Path
    name: str = ""

    def items(self, counts: Exported | None = None) -> Iterator[Permitted]:
        """The records to export, from the first; `counts` counts images and what is left out."""
        return self.licences.kept(self.records(), Exported() if counts is None else counts)

    def origin(self, annotation: Annotation) -> Origin:
        """Who made an annotation; an origin of no name for one that is not listed."""
        known = self.licences.origins.get(annotation.origin)
        return Origin(kind="specialist", name="", fingerprint=annotation.origin) if known is None else known

    def described(self, item: Permitted) -> list[dict[str, Any]]:
        """The annotations of a record as data for JSON, each with its origin and licence."""
        found = []
        for annotation in item.record.annotations:
            origin = self.origin(annotation)
            found.append(
                {
                    "id": annotation.id,
                    "kind": annotation.kind,
                    "length": annotation.length,
                    "value": encoded(annotation.value),
                    "score": annotation.score,
                    "parents": list(annotation.parents),
                    "span": annotation.span,
                    "origin": {"kind": origin.kind, "name": origin.name, "round": origin.round},
                    "fingerprint": origin.fingerprint,
                    "licence": item.licences[annotation.id],
                }
            )
        return found


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A path beside `path`, which it replaces at the end if nothing was raised.

    ResourceError if the disk is full or read-only; UsageError for a path that is a folder, or that is below a file.
    """
    if path.is_dir() or any(above.exists() and not above.is_dir() for above in path.parents):
        raise UsageError(f"{path} cannot be written: {'it is a folder' if path.is_dir() else 'it is below a file'}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            yield partial
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def export(
    records: Records,
    origins: Mapping[str, Origin],
    root: Path,
    to: Path,
    form: str,
    *,
    licences: Collection[str] | None = None,
    name: str = "",
) -> Exported:
    """Writes the kept annotations to a file, or to a folder for webdataset; `root` is the data root of the images.

    `licences` are those to export, as the module says.  `name` describes the engine in formats that have place for it.
    UsageError for an unknown form, for licences as `Licences.check`, and for a folder that holds something;
    DataError for an image that is missing or has changed; ResourceError if the disk is full or pyarrow is missing.
    """
    from harness.data_engine import export_coco, export_lines, label_studio

    writers: dict[str, Callable[[Path, Source], Exported]] = {
        "coco": export_coco.write,
        "jsonl": export_lines.write_jsonl,
        "parquet": export_lines.write_parquet,
        "webdataset": export_lines.write_webdataset,
        "label-studio": label_studio.write,
    }
    if form not in writers:
        raise UsageError(f"there is no format {form!r} to export; there are {', '.join(writers)}")
    permitted = Licences(origins, None if licences is None else frozenset(licences))
    permitted.check(records())
    return writers[form](to, Source(records, permitted, root, name))
