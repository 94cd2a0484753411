"""Kept annotations as lines of JSON, as parquet, and as tar files for webdataset.

- jsonl: a line for each image: `image`, `sha256`, `width`, `height`, `source`, `licence`, and `annotations` (see
  `Source.described`).
- parquet: a row for each annotation, with the columns of the engine's own files (`harness.data_engine.tables`), and the
  image's reference, size, source and licence, and the origin's name and licence.
- webdataset: `00000.tar`, `00001.tar`, ... of `IMAGES` images each: the file of the image as it is, `json` as a line of
  jsonl, and `txt` with the image's first text, if it has one.  Keys are numbers.  Equal engines give equal files.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from harness.core import Text
from harness.data_engine import tables
from harness.data_engine.export import Exported, Permitted, Source, written_aside
from harness.data_engine.images import read_unchanged
from harness.errors import UsageError
from harness.images import FORMATS

IMAGES = 1000  # in a tar file, and in a row group of parquet
ENDINGS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "TIFF": "tif", "PPM": "ppm",
}  # fmt: skip  # MPO: a JPEG of a telephone with a second picture in it
OF_IMAGE = {
    "reference": "string", "width": "int32", "height": "int32", "source": "string", "image_licence": "string",
    "origin_kind": "string", "origin_name": "string", "origin_round": "int32", "licence": "string",
}  # fmt: skip


def write_jsonl(path: Path, source: Source) -> Exported:
    """Writes a line for each image; returns the counts."""
    counts = Exported()
    with written_aside(path) as partial, partial.open("w", encoding="utf-8") as file:
        for item in source.items(counts):
            file.write(json.dumps(_line(source, item), allow_nan=False) + "\n")
            counts.annotations += len(item.record.annotations)
    return counts


def write_parquet(path: Path, source: Source) -> Exported:
    """Writes a row for each annotation; returns the counts."""
    schema = tables.schema_of({**OF_IMAGE, **tables.COLUMNS["annotations"]})
    import pyarrow
    from pyarrow import parquet

    counts = Exported()
    with written_aside(path) as partial, parquet.ParquetWriter(partial, schema, compression="zstd") as file:
        for group in _groups(source.items(counts)):
            rows = [row for item in group for row in _rows(source, item)]
            counts.annotations += len(rows)
            if rows:
                file.write_table(pyarrow.Table.from_pylist(rows, schema))
    return counts


def write_webdataset(path: Path, source: Source) -> Exported:
    """Writes tar files into a folder that is empty or not there; returns the counts.

    UsageError for a folder that holds something, since old and new files would be mixed.
    """
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"--to {path} is not an empty folder; give another, or remove what it holds")
    counts = Exported()
    for number, group in enumerate(_groups(source.items(counts))):
        with (
            written_aside(path / f"{number:05d}.tar") as partial,
            tarfile.open(partial, "w", format=tarfile.USTAR_FORMAT) as archive,
        ):
            for place, item in enumerate(group):
                for ending, data in _members(source, item):
                    member = tarfile.TarInfo(f"{number * IMAGES + place:09d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
                counts.annotations += len(item.record.annotations)
    return counts


def _groups(items: Iterator[Permitted]) -> Iterator[list[Permitted]]:
    group: list[Permitted] = []
    for item in items:
        group.append(item)
        if len(group) == IMAGES:
            yield group
            group = []
    if group:
        yield group


def _members(source: Source, item: Permitted) -> Iterator[tuple[str, bytes]]:
    """The ending and the content of each file of an image."""
    data = read_unchanged(source.root, item.record.image)
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        yield ENDINGS[image.format or ""], data
    yield "json", json.dumps(_line(source, item), allow_nan=False).encode()
    texts = [each.value for each in item.record.annotations if each.kind == "text" and not each.parents]
    if texts and isinstance(texts[0], Text):
        yield "txt", texts[0].texts[0].encode("utf-8", "replace")


def _line(source: Source, item: Permitted) -> dict[str, Any]:
    image = item.record.image
    return {
        "image": image.reference,
        "sha256": image.sha256,
        "width": image.size.width,
        "height": image.size.height,
        "source": image.source,
        "licence": image.licence,
        "annotations": source.described(item),
    }


def _rows(source: Source, item: Permitted) -> Iterator[dict[str, Any]]:
    image = item.record.image
    for annotation in item.record.annotations:
        origin = source.origin(annotation)
        yield tables.annotation_row(annotation) | {
            "reference": image.reference,
            "width": image.size.width,
            "height": image.size.height,
            "source": image.source,
            "image_licence": image.licence,
            "origin_kind": origin.kind,
            "origin_name": origin.name,
            "origin_round": origin.round,
            "licence": item.licences[annotation.id],
        }
