"""Rows of parquet: every kind of annotation and verdict returns as it was, and other programs read the files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core import Boxes, Mask, Polygons, Quads, Size, Text
from harness.data_engine import tables
from harness.data_engine.records import Annotation, ImageRow, Record, Verdict
from harness.errors import DataError
from tests.harness.data_engine.engines import IMAGE, ONE, image_row, region

BRIEF = Annotation(image=IMAGE.sha256, kind="text", value=Text(("a cat, “so”",)), origin=ONE.id, length="brief")
CAT = region((1.5, 2.0, 30.25, 40.0), score=0.5)
EVERY = (
    BRIEF,
    CAT,
    region((0.0, 0.0, 5.0, 5.0), label="", score=None),
    Annotation(
        image=IMAGE.sha256, kind="phrase", value=Boxes(((1.0, 2.0, 3.0, 4.0), (5.0, 6.0, 7.0, 8.0)), ("a cat",) * 2),
        origin=ONE.id, parents=(BRIEF.id,), span=(0, 5),
    ),
    Annotation(
        image=IMAGE.sha256, kind="outline", value=Polygons((((0.0, 0.0), (4.0, 0.0), (4.0, 4.5)),)), origin=ONE.id,
        parents=(CAT.id,),
    ),
    Annotation(
        image=IMAGE.sha256, kind="outline", value=Mask(Size(4, 4), b"04P1"), origin=ONE.id, parents=(CAT.id,)
    ),
    Annotation(
        image=IMAGE.sha256, kind="written",
        value=Quads((((0.0, 0.0), (9.0, 0.5), (9.0, 3.0), (0.0, 3.0)),), ("STOP",)), origin=ONE.id,
    ),
)  # fmt: skip
VERDICTS = (
    Verdict(annotation=CAT.id, status="dropped", stage="boxes.score", measured=0.5, bound=0.6),
    Verdict(annotation=BRIEF.id, status="superseded", stage="language.rewritten", by="x"),
    Verdict(annotation=CAT.id, status="kept", stage="combine.confirmed"),
)


def written(path: Path, form: tables.Form, rows: Sequence[tables.Row]) -> list[tables.Row]:
    tables.write(path, form, rows, "inputs")
    return tables.read(path, form)


def test_annotation_of_every_kind_survives_a_file(tmp_path: Path) -> None:
    rows = written(tmp_path / "a.parquet", "annotations", [tables.annotation_row(each) for each in EVERY])
    back = [tables.annotation_of(row) for row in rows]
    assert tuple(back) == EVERY
    assert [each.score for each in back] == [each.score for each in EVERY]


def test_record_with_measures_and_verdicts_survives_a_file(tmp_path: Path) -> None:
    measures = {CAT.id: {"area": 0.25, "witnesses": 2.0}}
    record = Record(image=IMAGE, annotations=EVERY, measures=measures, verdicts=VERDICTS)
    rows = written(tmp_path / "told.parquet", "told", tables.told_rows(record))
    assert tables.record_of(IMAGE, rows) == record


def test_told_row_shows_the_verdict_that_holds() -> None:
    rows = {row["id"]: row for row in tables.told_rows(Record(image=IMAGE, annotations=EVERY, verdicts=VERDICTS[:2]))}
    cat, proposal = rows[CAT.id], rows[EVERY[2].id]
    assert (cat["status"], cat["stage"], cat["measured"], cat["bound"]) == ("dropped", "boxes.score", 0.5, 0.6)
    assert (proposal["status"], proposal["stage"], proposal["verdict_places"]) == ("kept", "", [])


def test_image_with_a_64_bit_hash_survives_a_file(tmp_path: Path) -> None:
    image = ImageRow(reference="a/b.jpg", sha256="f" * 64, size=Size(3, 5), hash=2**64 - 1, source="s", licence="l")
    rows = written(tmp_path / "images.parquet", "images", [tables.image_row(each) for each in (image, image_row(1))])
    assert [tables.image_of(row) for row in rows] == [image, image_row(1)]


def test_edited_row_is_refused_by_its_id() -> None:
    row = tables.annotation_row(CAT) | {"labels": ["dog"]}
    with pytest.raises(DataError, match="was edited"):
        tables.annotation_of(row)


def test_inputs_are_in_the_footer_and_absent_for_other_files(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    assert tables.inputs_of(path) is None
    tables.write(path, "annotations", [], "abc")
    assert tables.inputs_of(path) == "abc"
    path.write_bytes(path.read_bytes()[:-9])
    assert tables.inputs_of(path) is None
    with pytest.raises(DataError, match="cannot be read as parquet"):
        tables.read(path, "annotations")


def test_file_of_another_form_or_program_is_refused(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    tables.write(tmp_path / "a.parquet", "answers", [], "abc")
    with pytest.raises(DataError, match="'answers 1'; this harness reads 'annotations 1'"):
        tables.read(tmp_path / "a.parquet", "annotations")
    parquet.write_table(pyarrow.table({"x": [1]}), tmp_path / "b.parquet")
    with pytest.raises(DataError, match="of another program"):
        tables.read(tmp_path / "b.parquet", "annotations")


def test_rows_digest_depends_on_every_value_and_on_the_order() -> None:
    rows = [tables.annotation_row(each) for each in EVERY]
    changed = [*rows[:-1], rows[-1] | {"score": 0.1}]
    assert len({tables.rows_digest(each) for each in (rows, rows[::-1], changed)}) == 3
    assert tables.rows_digest(iter(rows)) == tables.rows_digest(rows)


def test_pandas_reads_verdicts_as_plain_columns(tmp_path: Path) -> None:
    import pandas

    record = Record(image=IMAGE, annotations=EVERY, verdicts=VERDICTS[:2])
    tables.write(tmp_path / "told.parquet", "told", tables.told_rows(record), "abc")
    frame = pandas.read_parquet(tmp_path / "told.parquet")
    dropped = frame[frame.status == "dropped"]
    assert list(dropped.stage) == ["boxes.score"]
    assert [list(box) for box in dropped.boxes.iloc[0]] == [[1.5, 2.0, 30.25, 40.0]]


def test_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    tables.write(path, "annotations", [], "old")
    with pytest.raises(ValueError, match="Could not convert"):
        tables.write(path, "annotations", [tables.annotation_row(CAT) | {"score": "many"}], "new")
    assert tables.inputs_of(path) == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["a.parquet"]


def test_scores_are_not_part_of_the_id_but_of_the_row() -> None:
    other = replace(CAT, score=0.7)
    assert tables.annotation_row(other)["id"] == tables.annotation_row(CAT)["id"]
    assert tables.annotation_of(tables.annotation_row(other)).score == 0.7
