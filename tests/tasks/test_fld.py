"""An engine folder as a training task: what each kind of annotation teaches, and what is left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.core import Answer, Boxes, Grounded, Phrase, Polygons, Quads, Question, Sample, Source, Text
from harness.data import manifest
from harness.data_engine.records import Annotation, Record, Verdict
from harness.errors import DataError, UsageError
from tasks import fld
from tests.harness.data_engine import samples
from tests.harness.data_engine.folders import folder


@pytest.fixture
def record(miniature: Path) -> Record:
    [made] = samples.records(miniature, 1)
    return made


def by_kind(record: Record) -> dict[str, list[Sample[Any]]]:
    found: dict[str, list[Sample[Any]]] = {}
    for sample in fld.samples(record):
        found.setdefault(sample.question.kind, []).append(sample)
    return found


def test_every_kind_of_annotation_teaches_its_questions(record: Record) -> None:
    width, height = record.image.size
    car, house = (10.5, 20.0, 60.25, 70.0), (0.0, 0.0, width / 2, height / 2)
    found = by_kind(record)
    where = record.image.reference, record.image.size
    assert {kind: [(each.question, each.target) for each in samples] for kind, samples in found.items()} == {
        "caption": [(Question(*where, "caption"), Text((samples.TEXT,)))],
        "detect": [(Question(*where, "detect"), Boxes((house, car), ("house", "car")))],  # from left to right
        "propose": [(Question(*where, "propose"), Boxes((house, (5.0, 5.0, 50.0, 90.0), car)))],
        "name": [
            (Question(*where, "name", region=house), Text(("house",))),
            (Question(*where, "name", region=car), Text(("car",))),
        ],
        "describe": [(Question(*where, "describe", region=car), Text(("a shiny car",)))],
        "regions": [(Question(*where, "regions"), Boxes((car,), ("a shiny car",)))],
        "ground": [
            (
                Question(*where, "ground", text=samples.TEXT, phrases=(Phrase("a small house", 19, 32),)),
                Grounded((((0.0, 0.0, 40.0, 40.0), (50.0, 50.0, 90.0, 90.0)),)),
            )
        ],
        "outline": [(Question(*where, "outline", region=car), Polygons((((10.5, 20.0), (60.0, 20.0), (35.0, 70.0)),)))],
        "ocr_regions": [
            (Question(*where, "ocr_regions"), Quads((((5.0, 5.0), (45.0, 8.0), (44.0, 20.0), (4.0, 17.0)),), ("CAFÉ",)))
        ],
        "ocr": [(Question(*where, "ocr"), Text(("CAFÉ",)))],
    }
    assert samples.TEXT[19:32] == "a small house"
    ids = [each.id for each in fld.samples(record)]
    assert len(ids) == len(set(ids))
    assert {each.cluster for each in fld.samples(record)} == {record.image.reference}


def test_longer_texts_and_categories_have_their_own_questions(record: Record) -> None:
    car = record.annotations[0]

    def text(words: str, length: str, *parents: str) -> Annotation:
        return Annotation(
            image=record.image.sha256, kind="text", value=Text((words,)), length=length, origin=car.origin,  # type: ignore[arg-type]
            parents=parents,
        )  # fmt: skip

    made = replace(
        record,
        annotations=(
            car, text("one", "brief"), text("two", "brief"), text("long", "detailed"), text("longer", "more_detailed"),
            text("vehicle", "category", car.id), text("a chunk", "chunk", car.id),
        ),
    )  # fmt: skip
    found = by_kind(made)
    assert found["caption"][0].target == Text(("one", "two"))  # two references
    assert found["detailed_caption"][0].target == Text(("long",))
    assert found["more_detailed_caption"][0].target == Text(("longer",))
    assert [each.target for each in found["name"]] == [Text(("vehicle",))]  # not the label too
    assert [each.target for each in found["describe"]] == [Text(("a chunk",))]


def test_one_answer_is_taught_where_several_origins_answer(record: Record) -> None:
    other = samples.CAPTIONER.id
    outline, phrase, sign = (
        next(each for each in record.annotations if each.kind == kind) for kind in ("outline", "phrase", "written")
    )
    better = replace(outline, origin=other, value=Polygons((((1.0, 1.0), (9.0, 1.0), (9.0, 9.0)),)), score=0.95)
    worse = replace(phrase, origin=other, value=Boxes(((0.0, 0.0, 9.0, 9.0),), (samples.PHRASE,)), score=0.1)
    again = [replace(sign, origin=other, value=Quads(sign.value.quads, (word,))) for word in ("CAFE", "BAR")]  # type: ignore[union-attr]
    found = by_kind(record.extended([better, worse, *again]))
    assert [each.target for each in found["outline"]] == [better.value]
    assert found["ground"][0].target == Grounded((phrase.value.boxes,))  # type: ignore[union-attr]
    assert found["ocr"][0].target == Text(("CAFE BAR",))


def test_text_of_a_merged_region_is_of_the_region_that_took_its_place(record: Record) -> None:
    car, same = record.annotations[:2]
    described = next(each for each in record.annotations if each.value == Text(("a shiny car",)))
    moved = replace(described, parents=(same.id,))  # `same` was merged into `car`
    found = by_kind(replace(record, annotations=(car, same, moved)))
    assert found["describe"][0].question.region == car.value.boxes[0]  # type: ignore[union-attr]
    lost = [Verdict(annotation=car.id, status="dropped", stage="boxes.score")]
    assert by_kind(replace(record, annotations=(car, same, moved)).extended(verdicts=lost)) == {}


@pytest.mark.parametrize("box", [(5.0, 5.0, 5.0, 9.0), (-9.0, -9.0, 0.0, 4.0), (999.0, 0.0, 1009.0, 5.0)])
def test_region_that_does_not_touch_the_image_is_left_out(record: Record, box: Any) -> None:
    flat = replace(record.annotations[0], value=Boxes((box,), ("car",)))
    assert by_kind(replace(record, annotations=(flat,))) == {}


def test_task_of_a_folder_loads_and_names_its_files(miniature: Path, tmp_path: Path) -> None:
    records = samples.records(miniature, 3)
    folder(tmp_path / "engine", miniature, records)
    task = fld.of(tmp_path / "engine", miniature)
    manifest.require(task, miniature, fld.TRAIN)
    loaded = list(task.load(Source(miniature, fld.TRAIN)))
    assert [each.id for each in loaded] == [each.id for record in records for each in fld.samples(record)]
    files = manifest.annotation_files(task, miniature, fld.TRAIN)
    assert [path.name for path in files] == ["engine.json", "images.parquet", "origins.jsonl", "raw", "told"]
    assert list(manifest.within(miniature, loaded, task.files)) == loaded
    before = manifest.digest(files)
    engine = folder(tmp_path / "other", miniature, records)
    dropped = [Verdict(annotation=records[0].annotations[0].id, status="dropped", stage="boxes.score")]
    engine.write_told(0, 0, [records[0].extended(verdicts=dropped), *records[1:]], "c" * 24)
    other = fld.of(tmp_path / "other", miniature)
    assert manifest.digest(manifest.annotation_files(other, miniature, fld.TRAIN)) != before


def test_task_is_not_evaluated(miniature: Path, tmp_path: Path) -> None:
    folder(tmp_path / "engine", miniature, samples.records(miniature, 1))
    task = fld.of(tmp_path / "engine", miniature)
    assert task.splits == ()
    with pytest.raises(UsageError, match="fld is for training"):
        task.score(next(task.load(Source(miniature, fld.TRAIN))), Answer(("",), None))
    with pytest.raises(DataError, match=r"is no engine folder"):
        fld.of(tmp_path, miniature)


def test_kinds_that_a_model_is_not_taught_are_left_out(miniature: Path, tmp_path: Path) -> None:
    folder(tmp_path / "engine", miniature, samples.records(miniature, 2))
    task = fld.of(tmp_path / "engine", miniature, frozenset({"detect", "caption"}))
    kinds = [each.question.kind for each in task.load(Source(miniature, fld.TRAIN))]
    assert kinds == ["caption", "detect"] * 2
