"""An engine's audits and exports from Python: files, estimates that are kept, and what is refused."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from PIL import Image

from harness.data_engine import audit as sampling
from harness.data_engine.audit import AuditSample
from harness.data_engine.images import ImageFilter, benchmark_images
from harness.errors import DataError, UsageError
from harness.evaluation import engine_outputs
from tests.harness.data_engine import samples
from tests.harness.data_engine.folders import folder

TODAY = date(2026, 11, 30)


@pytest.fixture
def engine(miniature: Path, tmp_path: Path) -> Path:
    path = tmp_path / "engine"
    folder(path, miniature, samples.records(miniature, 6))
    return path


def verdicts(path: Path, sample: AuditSample, by: str, wrong: int, only: int = 999) -> Path:
    lines = [
        {"sample": sample.id, "annotation": item.annotation, "verdict": "wrong" if n < wrong else "right", "by": by}
        for n, item in enumerate(sample.items[:only])
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_audit_writes_pages_tasks_and_the_sample(engine: Path) -> None:
    made = engine_outputs.audit(engine, sample=40, least=3, today=TODAY)
    assert made.folder == engine / "audit/2026-11-30"
    names = {"page.html", "second.html", "label-studio.json", "label-studio.xml", "sample.jsonl"}
    assert {path.name for path in made.folder.iterdir()} == names
    assert sampling.read_sample(made.folder / "sample.jsonl") == made.sample
    assert engine_outputs.audit(engine, sample=40, least=3, today=TODAY).folder == made.folder  # the same sample
    other = engine_outputs.audit(engine, sample=40, least=3, seed=1, today=TODAY)
    assert other.folder == engine / "audit/2026-11-30-2"


def test_verdicts_are_estimated_and_kept_with_their_sample(engine: Path, tmp_path: Path) -> None:
    engine_outputs.audit(engine, sample=40, least=3, seed=1, today=TODAY)
    made = engine_outputs.audit(engine, sample=40, least=3, today=TODAY)
    ann = verdicts(tmp_path / "a.jsonl", made.sample, "Ann", wrong=10)
    bob = verdicts(tmp_path / "b.jsonl", made.sample, "Bob / the other", wrong=8, only=15)
    result = engine_outputs.audited(engine, [ann, bob])
    assert {each.group for each in result.shares} >= {"kept", "not kept", "region, kept", "region of detector, dropped"}
    [agreement] = result.agreement
    assert (agreement.items, agreement.equal.value) == (15, pytest.approx(100 * 13 / 15))
    kept = {path.name for path in made.folder.iterdir()}
    assert {"verdicts-a.jsonl", "verdicts-b.jsonl", "estimates.json"} <= kept
    stored = json.loads((made.folder / "estimates.json").read_text())
    assert stored["shares"][0]["of"]["wrong"]["value"] == result.shares[0].of["wrong"].value


def test_verdicts_on_another_sample_are_refused(engine: Path, tmp_path: Path) -> None:
    made = engine_outputs.audit(engine, sample=40, least=3, today=TODAY)
    foreign = verdicts(tmp_path / "a.jsonl", AuditSample(7, made.sample.items), "Ann", wrong=1)
    with pytest.raises(DataError, match=r"has verdicts on the sample \w+, which is not among those in"):
        engine_outputs.audited(engine, [foreign])
    ann = verdicts(tmp_path / "a.jsonl", made.sample, "Ann", wrong=1)
    with pytest.raises(DataError, match="two files have verdicts of 'Ann'; each person has one file"):
        engine_outputs.audited(engine, [ann, ann])
    with pytest.raises(UsageError, match="name at least one file"):
        engine_outputs.audited(engine, [])
    (tmp_path / "c.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match=r"c\.jsonl, line 1: .*; a verdict is one of"):
        engine_outputs.audited(engine, [tmp_path / "c.jsonl"])
    (tmp_path / "d.jsonl").write_text("\n")
    with pytest.raises(DataError, match="has no verdicts"):
        engine_outputs.audited(engine, [tmp_path / "d.jsonl"])


def test_export_names_the_engine(engine: Path, tmp_path: Path) -> None:
    counts = engine_outputs.export(engine, "coco", tmp_path / "coco.json")
    assert counts.images == 6
    assert json.loads((tmp_path / "coco.json").read_text())["info"] == {"description": "engine, recipe samples"}
    with pytest.raises(UsageError, match="nothing has the licence 'GPL'"):
        engine_outputs.export(engine, "jsonl", tmp_path / "x", licences=["GPL"])


def test_no_picture_of_a_benchmark_is_exported(miniature: Path, tmp_path: Path) -> None:
    """E8: copies of benchmark images, smaller or compressed again, are dropped, and no format holds one."""
    names = sorted(path.name for path in (miniature / "coco/val2017").iterdir())[:12]
    root = tmp_path / "photos"
    root.mkdir()
    for place, name in enumerate(names):
        with Image.open(miniature / "coco/val2017" / name) as image:
            small = image.resize((image.width // 2, image.height // 2)) if place % 2 else image
            small.convert("RGB").save(root / f"{place:02}.jpg", quality=40)
    known = benchmark_images(miniature, [f"coco/val2017/{name}" for name in names[:8]])
    records = [samples.record(root, f"{place:02}.jpg", place) for place in range(12)]
    rows = ImageFilter()([record.image for record in records], known)
    decided = [replace(record, image=row) for record, row in zip(records, rows, strict=True)]
    folder(tmp_path / "engine", root, decided)
    for form, path in (("coco", "a.json"), ("jsonl", "a.jsonl"), ("parquet", "a.parquet"), ("label-studio", "b.json")):
        assert engine_outputs.export(tmp_path / "engine", form, tmp_path / path).images == 4
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    assert [line["image"] for line in lines] == ["08.jpg", "09.jpg", "10.jpg", "11.jpg"]
    engine_outputs.export(tmp_path / "engine", "webdataset", tmp_path / "shards")
    with tarfile.open(tmp_path / "shards/00000.tar") as archive:
        assert sum(name.endswith(".jpg") for name in archive.getnames()) == 4
    audited = engine_outputs.audit(tmp_path / "engine", sample=40, least=3)
    assert {item.image for item in audited.sample.items} <= {"08.jpg", "09.jpg", "10.jpg", "11.jpg"}
