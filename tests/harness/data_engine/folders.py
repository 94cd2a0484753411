"""An engine folder on disk, with every kind of annotation and verdicts, over images of the embedded benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.data_engine.recipes import Recipe
from harness.data_engine.records import Record
from harness.data_engine.shards import Engine
from tests.harness.data_engine import samples


def folder(path: Path, root: Path, records: Sequence[Record]) -> Engine:
    """The engine of the records in a folder; `root` is the data root of their images."""
    engine = Engine.create(path, [record.image for record in records], Recipe(name="samples"), str(root))
    engine.add_origins(samples.ORIGINS.values())
    ordered = sorted(records, key=lambda record: record.image.reference)
    annotations = [annotation for record in ordered for annotation in record.annotations]
    engine.write_part(0, 0, "a" * 24, [], annotations)
    engine.write_told(0, 0, ordered, "b" * 24)
    return Engine.open(path)
