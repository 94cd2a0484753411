"""Annotations and images as rows of parquet, and back.

The columns are flat and plain, so that DuckDB, pandas, Ray Data and `datasets` read the files as they are.  Boxes are
(left, top, right, bottom) in pixels; a quadrilateral has its four corners and a ring all its points as x, y, x, y, ...

A file's footer holds a digest of what the rows were made of; that of images has none.  Equality of two files is that of
`rows_digest`, because versions of pyarrow write the same rows as different bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

from harness.core import Box, Boxes, Mask, Point, Polygons, Quad, Quads, Size, Text
from harness.data_engine.records import Annotation, AnnotationKind, ImageRow, Length, Record, Status, Verdict
from harness.errors import DataError, ResourceError
from harness.store.files import disk_errors

SCHEMA = 1  # raise it whenever a column changes
INPUTS = b"florence2_harness.inputs"  # the footer's key of the digest of inputs
SCHEMA_KEY = b"florence2_harness.schema"
INSTALL = "the data engine keeps its annotations as parquet: pip install 'florence2-harness[parquet]'"
Form = Literal["images", "answers", "annotations", "measures", "told"]
Row = dict[str, Any]

_ANNOTATION = {
    "image": "string",
    "id": "string",
    "kind": "string",
    "length": "string",
    "text": "string",
    "boxes": "list<list<double>>",
    "labels": "list<string>",
    "quads": "list<list<double>>",
    "rings": "list<list<double>>",
    "mask": "string",
    "mask_size": "list<int32>",
    "score": "double",
    "origin": "string",
    "parents": "list<string>",
    "span_start": "int32",
    "span_end": "int32",
}
COLUMNS: Mapping[Form, Mapping[str, str]] = {
    "images": {
        "reference": "string", "sha256": "string", "width": "int32", "height": "int32", "hash": "uint64",
        "source": "string", "licence": "string", "stage": "string", "by": "string",
    },
    "answers": {
        "image": "string", "question": "string", "kind": "string", "text": "string", "region": "list<double>",
        "origin": "string", "raw": "list<string>", "readable": "bool", "failure": "string", "tries": "int32",
    },
    "annotations": _ANNOTATION,
    "measures": {
        "image": "string", "annotation": "string", "origin": "string", "name": "string", "value": "double",
    },
    "told": {
        **_ANNOTATION,
        "status": "string", "stage": "string", "measured": "double", "bound": "double", "by": "string",
        "measure_names": "list<string>", "measure_values": "list<double>",
        "verdict_places": "list<int32>", "verdict_statuses": "list<string>", "verdict_stages": "list<string>",
        "verdict_measured": "list<double>", "verdict_bounds": "list<double>", "verdict_by": "list<string>",
    },
}  # fmt: skip
"""The columns of each form of file.

- `answers` has a row for each question that was answered, or that failed for good after `tries`.
- `measures` has a row for each number that a specialist gave for an annotation, such as its similarity to a crop.
- `told` has a row for each annotation, with the verdict that holds (status "kept" and an empty stage where there is
  none), all its measures, and all its verdicts with their places among those of the image.
"""


# ---------------------------------------------------------------------------- annotations


def annotation_row(annotation: Annotation) -> Row:
    """The row of an annotation."""
    value = annotation.value
    row: Row = dict.fromkeys(_ANNOTATION)
    row.update(
        image=annotation.image,
        id=annotation.id,
        kind=annotation.kind,
        length=annotation.length,
        score=annotation.score,
        origin=annotation.origin,
        parents=list(annotation.parents),
    )
    if annotation.span is not None:
        row["span_start"], row["span_end"] = annotation.span
    if isinstance(value, Text):
        row["text"] = value.texts[0]
    elif isinstance(value, Boxes):
        row["boxes"], row["labels"] = [list(map(float, box)) for box in value.boxes], list(value.labels)
    elif isinstance(value, Quads):
        row["quads"], row["labels"] = [_flat(quad) for quad in value.quads], list(value.labels)
    elif isinstance(value, Polygons):
        row["rings"] = [_flat(ring) for ring in value.rings]
    else:
        row["mask"], row["mask_size"] = value.counts.decode("ascii"), list(value.size)
    return row


def annotation_of(row: Row) -> Annotation:
    """The annotation of a row; DataError where the row's id is not that of its content."""
    value: Text | Boxes | Quads | Polygons | Mask
    labels = tuple(row["labels"] or ())
    if row["text"] is not None:
        value = Text((row["text"],))
    elif row["boxes"] is not None:
        value = Boxes(tuple(cast(Box, tuple(box)) for box in row["boxes"]), labels)
    elif row["quads"] is not None:
        value = Quads(tuple(cast(Quad, _points(quad)) for quad in row["quads"]), labels)
    elif row["rings"] is not None:
        value = Polygons(tuple(_points(ring) for ring in row["rings"]))
    else:
        value = Mask(Size(*row["mask_size"]), row["mask"].encode("ascii"))
    annotation = Annotation(
        image=row["image"],
        kind=cast(AnnotationKind, row["kind"]),
        value=value,
        origin=row["origin"],
        length=cast(Length, row["length"]),
        parents=tuple(row["parents"]),
        span=None if row["span_start"] is None else (row["span_start"], row["span_end"]),
        score=row["score"],
    )
    if annotation.id != row["id"]:
        raise DataError(
            f"the annotation {row['id']} of image {row['image'][:12]} was edited; its id is {annotation.id}"
        )
    return annotation


def _flat(points: Sequence[Point]) -> list[float]:
    return [float(number) for point in points for number in point]


def _points(flat: Sequence[float]) -> tuple[Point, ...]:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


# ---------------------------------------------------------------------------- records


def told_rows(record: Record) -> list[Row]:
    """The rows of a record's annotations, in their order."""
    of: dict[str, list[tuple[int, Verdict]]] = {}
    for place, verdict in enumerate(record.verdicts):
        of.setdefault(verdict.annotation, []).append((place, verdict))
    rows = []
    for annotation in record.annotations:
        verdicts = of.get(annotation.id, [])
        last = verdicts[-1][1] if verdicts else None
        measures = sorted(record.measures.get(annotation.id, {}).items())
        rows.append(
            annotation_row(annotation)
            | {
                "status": last.status if last else "kept",
                "stage": last.stage if last else "",
                "measured": last.measured if last else None,
                "bound": last.bound if last else None,
                "by": last.by if last else None,
                "measure_names": [name for name, _ in measures],
                "measure_values": [float(number) for _, number in measures],
                "verdict_places": [place for place, _ in verdicts],
                "verdict_statuses": [verdict.status for _, verdict in verdicts],
                "verdict_stages": [verdict.stage for _, verdict in verdicts],
                "verdict_measured": [verdict.measured for _, verdict in verdicts],
                "verdict_bounds": [verdict.bound for _, verdict in verdicts],
                "verdict_by": [verdict.by for _, verdict in verdicts],
            }
        )
    return rows


def record_of(image: ImageRow, rows: Sequence[Row]) -> Record:
    """The record of an image and the `told` rows of its annotations; DataError as `annotation_of`."""
    placed: list[tuple[int, Verdict]] = []
    measures: dict[str, dict[str, float]] = {}
    for row in rows:
        if row["measure_names"]:
            measures[row["id"]] = dict(zip(row["measure_names"], row["measure_values"], strict=True))
        columns = ("places", "statuses", "stages", "measured", "bounds", "by")
        for place, status, stage, measured, bound, by in zip(
            *(row[f"verdict_{name}"] for name in columns), strict=True
        ):
            verdict = Verdict(
                annotation=row["id"], status=cast(Status, status), stage=stage, measured=measured, bound=bound, by=by
            )
            placed.append((place, verdict))
    verdicts = tuple(verdict for _, verdict in sorted(placed, key=lambda pair: pair[0]))
    return Record(image=image, annotations=tuple(map(annotation_of, rows)), measures=measures, verdicts=verdicts)


# ---------------------------------------------------------------------------- images


def image_row(image: ImageRow) -> Row:
    """The row of an image."""
    row = {name: getattr(image, name) for name in ("reference", "sha256", "hash", "source", "licence", "stage", "by")}
    return row | {"width": image.size.width, "height": image.size.height}


def image_of(row: Row) -> ImageRow:
    """The image of a row."""
    rest = {name: value for name, value in row.items() if name not in ("width", "height")}
    return ImageRow(size=Size(row["width"], row["height"]), **rest)


# ---------------------------------------------------------------------------- files


def write(path: Path, form: Form, rows: Iterable[Row], inputs: str) -> None:
    """Writes rows whole or not at all, and onto the disk before the file has its name.

    `inputs` is the digest that the footer holds.  ResourceError if the disk is full, or pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    table = arrow.Table.from_pylist(list(rows), _schema(arrow, form, inputs))
    buffer = arrow.BufferOutputStream()
    parquet.write_table(table, buffer, compression="zstd", compression_level=3)
    write_durably(path, buffer.getvalue().to_pybytes())


@contextmanager
def written_aside(path: Path, form: Form, groups: Iterable[Sequence[Row]]) -> Iterator[Path]:
    """Writes row groups, one at a time, into a file beside `path`, onto the disk; the caller may rename that file.

    The footer has no digest.  ResourceError as `write`.
    """
    arrow, parquet = _pyarrow()
    schema = _schema(arrow, form, "")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with disk_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as stream:
                with parquet.ParquetWriter(stream, schema, compression="zstd", compression_level=3) as writer:
                    for rows in groups:
                        writer.write_table(arrow.Table.from_pylist(list(rows), schema), row_group_size=len(rows))
                stream.flush()
                os.fsync(stream.fileno())
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def _schema(arrow: Any, form: Form, inputs: str) -> Any:
    fields = [(name, _type(arrow, kind)) for name, kind in COLUMNS[form].items()]
    return arrow.schema(fields, metadata={INPUTS: inputs.encode(), SCHEMA_KEY: f"{form} {SCHEMA}".encode()})


def write_durably(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all: aside, onto the disk, then renamed.  ResourceError if the disk is full."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def inputs_of(path: Path) -> str | None:
    """The digest in a file's footer; None if the file is not there, damaged, or of another schema."""
    arrow, parquet = _pyarrow()
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, arrow.ArrowException):
        return None
    if metadata.get(SCHEMA_KEY, b"").split()[-1:] != [str(SCHEMA).encode()]:
        return None
    inputs: bytes = metadata.get(INPUTS, b"")
    return inputs.decode() or None


def read(path: Path, form: Form) -> list[Row]:
    """The rows of a file; DataError if it is damaged, or of another schema."""
    return _read(path, form, None)


def read_group(path: Path, form: Form, number: int) -> list[Row]:
    """The rows of one row group of a file; DataError as `read`."""
    return _read(path, form, number)


def _read(path: Path, form: Form, group: int | None) -> list[Row]:
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path, memory_map=False) as file:
            schema = file.schema_arrow
            said = (schema.metadata or {}).get(SCHEMA_KEY, b"").decode()
            if said != f"{form} {SCHEMA}" or schema.names != list(COLUMNS[form]):
                said = said or "of another program"
                raise DataError(f"{path} has the schema '{said}'; this harness reads '{form} {SCHEMA}'")
            table = file.read(use_threads=False) if group is None else file.read_row_group(group, use_threads=False)
    except (OSError, arrow.ArrowException) as error:
        raise DataError(f"{path} cannot be read as parquet: {error}; restore it, or make the engine again") from error
    rows: list[Row] = table.to_pylist()
    return rows


def rows_digest(rows: Iterable[Row]) -> str:
    """A digest of rows in their order: equal where every value is."""
    sha = hashlib.sha256()
    for row in rows:
        sha.update(json.dumps(row, ensure_ascii=True, sort_keys=True, allow_nan=False).encode() + b"\n")
    return sha.hexdigest()


def schema_of(columns: Mapping[str, str]) -> Any:
    """The pyarrow schema of columns by name; ResourceError where pyarrow is not installed."""
    arrow, _ = _pyarrow()
    return arrow.schema([(name, _type(arrow, kind)) for name, kind in columns.items()])


def _type(arrow: Any, kind: str) -> Any:
    if kind.startswith("list<"):
        return arrow.list_(_type(arrow, kind[5:-1]))
    return getattr(arrow, {"double": "float64", "bool": "bool_"}.get(kind, kind))()


def _pyarrow() -> tuple[Any, Any]:
    """pyarrow and its module of parquet; ResourceError where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ResourceError(INSTALL) from error
    return pyarrow, pyarrow.parquet
