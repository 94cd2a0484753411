"""Lines, parquet and webdataset, read back by the tools that read them."""

from __future__ import annotations

import gc
import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from harness.data_engine import export_lines
from harness.data_engine.export import Exported, export
from harness.data_engine.records import Record
from harness.errors import DataError, UsageError
from tests.harness.data_engine import samples

KINDS = ["outline", "phrase", "region", "region", "region", "text", "text", "written"]  # of a record, sorted
COLUMNS = ["reference", "kind", "labels", "score", "origin_name", "licence", "image_licence"]


@pytest.fixture
def records(miniature: Path) -> list[Record]:
    return samples.records(miniature, 4)


def written(records: list[Record], root: Path, to: Path, form: str) -> Exported:
    return export(lambda: records, samples.ORIGINS, root, to, form)


def test_lines_have_every_annotation(records: list[Record], miniature: Path, tmp_path: Path) -> None:
    written(records, miniature, tmp_path / "a.jsonl", "jsonl")
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == [record.image.reference for record in records]
    assert [line["sha256"] for line in lines] == [record.image.sha256 for record in records]
    first = lines[0]["annotations"]
    assert sorted(each["kind"] for each in first) == KINDS
    assert first[0]["value"] == {"kind": "boxes", "boxes": [[10.5, 20.0, 60.25, 70.0]], "labels": ["car"]}
    [phrase] = [each for each in first if each["kind"] == "phrase"]
    [brief] = [each for each in first if each["id"] in phrase["parents"]]
    assert brief["value"]["texts"][0][slice(*phrase["span"])] == samples.PHRASE


@pytest.fixture
def parquet(records: list[Record], miniature: Path, tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    assert written(records, miniature, path, "parquet").annotations == 32
    return path


def expected(records: list[Record]) -> list[tuple[Any, ...]]:
    return [
        (
            record.image.reference, each.kind, list(getattr(each.value, "labels", ())) or None, each.score,
            samples.ORIGINS[each.origin].name, samples.ORIGINS[each.origin].licence, record.image.licence,
        )
        for record in records
        for each in record.kept()
    ]  # fmt: skip


def as_rows(rows: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The chosen columns; no labels and an empty list of labels are the same."""
    plain = [{**row, "labels": None if row["labels"] is None else list(row["labels"]) or None} for row in rows]
    return [tuple(None if row[name] != row[name] else row[name] for name in COLUMNS) for row in plain]


def test_parquet_is_read_by_pandas(parquet: Path, records: list[Record]) -> None:
    import pandas

    frame = pandas.read_parquet(parquet, columns=COLUMNS)
    assert as_rows(frame.to_dict("records")) == expected(records)
    assert frame[frame.kind == "region"].groupby("origin_name").size().to_dict() == {"detector": 8, "people": 4}


def test_parquet_is_read_by_duckdb(parquet: Path, records: list[Record]) -> None:
    duckdb = pytest.importorskip("duckdb", reason="pip install duckdb")
    found = duckdb.sql(f"SELECT {', '.join(COLUMNS)} FROM '{parquet}'").fetchall()
    assert as_rows([dict(zip(COLUMNS, row, strict=True)) for row in found]) == expected(records)
    boxes = f"SELECT boxes[1][3] - boxes[1][1] FROM '{parquet}' WHERE kind = 'region' AND labels[1] = 'car'"
    assert duckdb.sql(boxes).fetchall() == [(49.75,), (48.75,), (47.75,), (46.75,)]  # from 10.5, 11.5, ... to 60.25


def test_parquet_is_read_by_datasets(parquet: Path, records: list[Record], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="pip install datasets")
    found = datasets.Dataset.from_parquet(str(parquet), cache_dir=str(tmp_path / "cache"))
    assert as_rows(list(found.select_columns(COLUMNS))) == expected(records)


@pytest.mark.slow
def test_parquet_is_read_by_ray_data(parquet: Path, records: list[Record], tmp_path: Path) -> None:
    """In a process of its own, since ray starts others."""
    pytest.importorskip("ray.data", reason="pip install 'ray[data]'")
    code = f"""
import json, ray
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
rows = ray.data.read_parquet({str(parquet)!r}, columns={COLUMNS}).take_all()
print("ROWS", json.dumps([{{k: list(v) if hasattr(v, "tolist") else v for k, v in row.items()}} for row in rows]))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    line = next((line for line in run.stdout.splitlines() if line.startswith("ROWS ")), None)
    assert line is not None, run.stderr[-2000:]
    assert as_rows(json.loads(line.removeprefix("ROWS "))) == expected(records)


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_webdataset_s_own_reader_reads_the_tars(
    records: list[Record], miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    webdataset = pytest.importorskip("webdataset", reason="pip install webdataset")
    monkeypatch.setattr(export_lines, "IMAGES", 3)
    counts = written(records, miniature, tmp_path / "shards", "webdataset")
    assert (counts.images, counts.annotations) == (4, 32)
    files = sorted((tmp_path / "shards").iterdir())
    assert [path.name for path in files] == ["00000.tar", "00001.tar"]
    reader = webdataset.WebDataset([str(path) for path in files], shardshuffle=False).decode("pil")
    found = list(reader)
    del reader
    gc.collect()  # webdataset leaves its files open
    assert [each["__key__"] for each in found] == ["000000000", "000000001", "000000002", "000000003"]
    for record, each in zip(records, found, strict=True):
        assert each["jpg"].size == tuple(record.image.size)
        assert each["json"]["sha256"] == record.image.sha256
        assert sorted(annotation["kind"] for annotation in each["json"]["annotations"]) == KINDS
        assert each["txt"] == samples.TEXT


def test_tar_holds_the_image_s_own_bytes_and_equal_engines_give_equal_files(
    records: list[Record], miniature: Path, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        written(records, miniature, tmp_path / name, "webdataset")
    one, two = (tmp_path / name / "00000.tar" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    with tarfile.open(one) as archive:
        names = archive.getnames()
        image = archive.extractfile("000000000.jpg")
        assert image is not None
        assert image.read() == (miniature / records[0].image.reference).read_bytes()
    assert names[:3] == ["000000000.jpg", "000000000.json", "000000000.txt"]


def test_ending_is_that_of_the_content(tmp_path: Path) -> None:
    second = Image.effect_noise((64, 64), 60).convert("RGB")
    for form, ending in (("PNG", "png"), ("WEBP", "webp"), ("MPO", "jpg"), ("GIF", "gif"), ("TIFF", "tif")):
        root = tmp_path / form
        root.mkdir()
        more = {"save_all": True, "append_images": [second]} if form == "MPO" else {}
        Image.effect_noise((64, 64), 30).convert("RGB").save(root / "a.jpg", form, **more)  # whatever it is called
        written([samples.record(root, "a.jpg")], root, tmp_path / f"to-{form}", "webdataset")
        with tarfile.open(tmp_path / f"to-{form}/00000.tar") as archive:
            assert archive.getnames()[0] == f"000000000.{ending}"
            file = archive.extractfile(archive.getnames()[0])
            assert file is not None
            assert Image.open(io.BytesIO(file.read())).format == form


def test_changed_image_is_refused_and_leaves_no_tar(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 30).convert("RGB").save(tmp_path / "a.jpg")
    record = samples.record(tmp_path, "a.jpg")
    Image.effect_noise((64, 64), 90).convert("RGB").save(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg has changed since it was annotated"):
        written([record], tmp_path, tmp_path / "to", "webdataset")
    assert list((tmp_path / "to").iterdir()) == []


def test_webdataset_refuses_a_folder_that_holds_something(
    records: list[Record], miniature: Path, tmp_path: Path
) -> None:
    (tmp_path / "00007.tar").touch()
    with pytest.raises(UsageError, match="is not an empty folder"):
        written(records, miniature, tmp_path, "webdataset")
