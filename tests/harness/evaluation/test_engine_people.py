"""People's annotations in an engine: kept whatever specialists say, imported once, replaced by a later version."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

import harness
from harness.core import Boxes
from harness.data_engine import tables
from harness.data_engine.audit import AuditSample
from harness.data_engine.recipes import Recipe, stage
from harness.data_engine.records import Record
from harness.errors import DataError, UsageError
from harness.evaluation.engine_people import import_people
from tests.harness.evaluation.engine_scenes import scenes

RECIPE = Recipe(
    name="people",
    specialists={"detect": ("simulated-detector",), "outline": ("simulated-segmenter",)},
    stages=tuple(stage(name, {}) for name in ("sources", "boxes", "outlines", "parents")),
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("scenes"), 6)


@pytest.fixture
def engine(root: Path, tmp_path: Path) -> Path:
    harness.engine.annotate(root, tmp_path / "engine", recipe=RECIPE)
    return tmp_path / "engine"


def coco(path: Path, engine: Path, box: tuple[float, ...] = (3.0, 3.0, 5.0, 4.0)) -> Path:
    """A file with one small "cow" in each image, by the names of the images' files alone."""
    rows = list(harness.engine.images(engine))
    images = [{"id": place, "file_name": Path(row.reference).name} for place, row in enumerate(rows)]
    objects = [{"image_id": place, "bbox": box, "category_id": 1} for place in range(len(rows))]
    data: dict[str, Any] = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "cow"}]}
    path.write_text(json.dumps(data))
    return path


def cows(engine: Path) -> list[Boxes]:
    records = harness.engine.open(engine).records()
    return [each.value for record in records for each in record.kept("region") if each.value.labels == ("cow",)]  # type: ignore[union-attr]


def test_boxes_of_people_are_kept_beside_specialists_and_imported_once(engine: Path, tmp_path: Path) -> None:
    raw = {path: path.stat().st_mtime_ns for path in engine.glob("round0/raw/*")}
    file = coco(tmp_path / "people.json", engine)
    done = import_people(engine, coco=file, licence="CC BY 4.0")
    assert (done.annotations, done.left_out, done.origin.name) == (6, {}, "people")
    assert cows(engine) == [Boxes(((3.0, 3.0, 8.0, 7.0),), ("cow",))] * 6
    harness.engine.filter(engine, ["boxes.score=0.99", "boxes.smallest=0.9"])
    assert len(cows(engine)) == 6  # whatever a threshold says
    assert {path: path.stat().st_mtime_ns for path in engine.glob("round0/raw/*") if path in raw} == raw
    before = sorted(engine.glob("round0/raw/*"))
    assert import_people(engine, coco=file, licence="CC BY 4.0").annotations == 6
    assert sorted(engine.glob("round0/raw/*")) == before


def test_later_version_of_a_file_replaces_the_earlier(engine: Path, tmp_path: Path) -> None:
    import_people(engine, coco=coco(tmp_path / "people.json", engine))
    import_people(engine, coco=coco(tmp_path / "people.json", engine, (3.0, 3.0, 6.0, 6.0)))
    assert cows(engine) == [Boxes(((3.0, 3.0, 9.0, 9.0),), ("cow",))] * 6
    stages = {verdict.stage for record in harness.engine.open(engine).records() for verdict in record.status().values()}
    assert "sources.earlier" in stages


def verdicts(path: Path, sample: AuditSample, wrong: set[str], by: str) -> Path:
    lines = [
        {"sample": sample.id, "annotation": item.annotation, "by": by}
        | {"verdict": "wrong" if item.annotation in wrong else "right"}
        for item in sample.items
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_what_an_audit_found_right_is_kept_as_peoples_and_the_rest_is_counted(engine: Path, tmp_path: Path) -> None:
    made = harness.engine.audit(engine, sample=30, least=5, today=date(2026, 11, 30))
    items = made.sample.items
    low = next(item for item in items if item.stratum.kind == "region" and item.stratum.status == "dropped")
    other = next(item for item in items if item.annotation != low.annotation)
    files = [
        verdicts(tmp_path / "a.jsonl", made.sample, {other.annotation}, "Ann"),
        verdicts(tmp_path / "b.jsonl", made.sample, set(), "Bob"),
    ]
    done = import_people(engine, verdicts=files)
    assert done.left_out == {"judged wrong, or not unanimously right": 1}
    assert 0 < done.annotations <= len(items) - 1  # equal boxes of two specialists are one
    assert done.origin.name == f"audit {made.sample.id[:8]}"

    def mine(record: Record) -> list[Any]:
        return [each for each in record.kept() if each.origin == done.origin.id]

    record = next(r for r in harness.engine.open(engine).records() if r.image.sha256 == low.sha256)
    assert tuple(low.value["boxes"][0]) in [each.value.boxes[0] for each in mine(record) if each.kind == "region"]
    assert import_people(engine, verdicts=files[::-1]).origin == done.origin


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({}, UsageError, "give either --coco FILE or --verdicts FILE"),
        ({"coco": "a.json", "verdicts": ["b.jsonl"]}, UsageError, "give either --coco FILE or --verdicts FILE"),
        ({"coco": "a.json"}, DataError, "a.json is not there"),
        ({"verdicts": ["b.jsonl"]}, DataError, "the verdicts b.jsonl cannot be read"),
    ],
)
def test_mistake_is_one_line_and_nothing_is_written(
    engine: Path, given: dict[str, Any], error: type[Exception], message: str
) -> None:
    before = tables.rows_digest(row for path in engine.glob("round0/told/*") for row in tables.read(path, "told"))
    with pytest.raises(error, match=message):
        import_people(engine, **given)
    assert before == tables.rows_digest(
        row for path in engine.glob("round0/told/*") for row in tables.read(path, "told")
    )
